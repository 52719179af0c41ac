"""What the first boot of a guest makes of its image (`vms.NAME.guest.provision`)."""

from __future__ import annotations

from cxlstate.core.machine import VM_AND_GUEST
from cxlstate.core.read import Exists
from cxlstate.core.reconciler import Kind, Place, Shape
from cxlstate.formats import ours


class ProvisionKind(Kind):
    """What is known of it where no spec names it."""

    kind = "provision"
    place = Place("provision", Shape.ONE, VM_AND_GUEST)
    traces = Exists(ours.seed("*"))
    comes_first = True


kind = ProvisionKind()
