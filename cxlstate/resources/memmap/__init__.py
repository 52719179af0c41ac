"""`host.memmap`: ranges of memory that the kernel is to leave alone."""

from __future__ import annotations

from cxlstate.core.machine import HOST_ONLY
from cxlstate.core.reconciler import Kind, Place, Shape


class MemmapKind(Kind):
    """What is known of it where no spec names it."""

    kind = "memmap"
    place = Place("memmap", Shape.ONE, HOST_ONLY)
    informs = True
    reboots = True


kind = MemmapKind()
