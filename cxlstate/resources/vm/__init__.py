"""Virtual machines of libvirt (`vms`)."""

from __future__ import annotations

from cxlstate.core.machine import ROOT_ONLY
from cxlstate.core.reconciler import Kind, Place, Shape


class VmKind(Kind):
    """What is known of it where no spec names it."""

    kind = "vm"
    place = Place("vms", Shape.MAP, ROOT_ONLY)
    has_guest = True
    informs = True


kind = VmKind()
