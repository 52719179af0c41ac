"""A kernel source tree, its patches, and the proof that a kernel built from it runs (`kernel`)."""

from __future__ import annotations

from cxlstate.core.machine import HOST_AND_GUEST
from cxlstate.core.reconciler import Kind, Place, Shape


class KernelKind(Kind):
    """What is known of it where no spec names it."""

    kind = "kernel"
    place = Place("kernel", Shape.ONE, HOST_AND_GUEST)
    reboots = True


kind = KernelKind()
