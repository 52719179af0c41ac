"""Dax devices: CXL memory that programs and guests map (`host.dax`)."""

from __future__ import annotations

from cxlstate.core.machine import HOST_ONLY
from cxlstate.core.read import Exists
from cxlstate.core.reconciler import Kind, Place, Shape
from cxlstate.formats import ours


class DaxKind(Kind):
    """What is known of it where no spec names it."""

    kind = "dax"
    place = Place("dax", Shape.MAP, HOST_ONLY)
    traces = Exists(ours.RESTORE)
    informs = True
    holds = True
    measures = True
    reboots = True


kind = DaxKind()
