"""`host.mtrr`: memory types of physical ranges, by memory type range registers."""

from __future__ import annotations

from cxlstate.core.machine import HOST_ONLY
from cxlstate.core.read import Exists
from cxlstate.core.reconciler import Kind, Place, Shape
from cxlstate.formats import ours


class MtrrKind(Kind):
    """What is known of it where no spec names it."""

    kind = "mtrr"
    place = Place("mtrr", Shape.MAP, HOST_ONLY)
    traces = Exists(ours.RESTORE)
    informs = True
    reboots = True


kind = MtrrKind()
