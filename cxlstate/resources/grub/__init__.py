"""`host.grub`: arguments on the kernel command line of every boot entry."""

from __future__ import annotations

from cxlstate.core.address import Address, AllOf
from cxlstate.core.machine import HOST_AND_GUEST
from cxlstate.core.read import Exists
from cxlstate.core.reconciler import How, Kind, Need, Place, Shape
from cxlstate.formats import ours


class GrubKind(Kind):
    """What is known of it where no spec names it."""

    kind = "grub"
    place = Place("grub", Shape.ONE, HOST_AND_GUEST)
    keeps = ("/etc/default/grub", ours.GRUB_DROP_IN, "/boot/grub/grub.cfg")
    traces = Exists(ours.GRUB_DROP_IN)
    """It stays until nothing of ours is on any command line."""
    gathers = (Need(Address("memmap"), How.KNOWS), Need(AllOf("module"), How.KNOWS))
    """Those who export kernel arguments."""
    informs = True
    reboots = True


kind = GrubKind()
