"""Whether the guest of a VM is still to be made: what a VM tells of that."""

from __future__ import annotations

from collections.abc import Iterator

from cxlstate.core.address import Address
from cxlstate.core.exports import DiskImage, GuestToBe, Inputs
from cxlstate.core.reconciler import Resource
from cxlstate.formats import cloud_init
from cxlstate.resources.vm.devices import is_written_to
from cxlstate.resources.vm.probe import Host, Live, Missing, Seen, is_provisioned
from cxlstate.resources.vm.spec import VmSpec


def guest_to_be(
    me: Resource[VmSpec], host: Host | None, live: Seen | None, inputs: Inputs
) -> GuestToBe | None:
    """None where the spec does not provision a guest.

    New is a guest whose VM is not there and none of whose disks was there before: one that is there may have
    been used by another guest, or by this one. Disks come after the seed, so that a seed that is there was
    settled before them.
    """
    if not is_provisioned(me):
        return None
    macs = tuple(one.mac for one in me.spec.interfaces or () if one.state == "present")
    if isinstance(live, Live):
        return GuestToBe(defined=True, new=False, seeded=is_seeded(me.name, live), macs=macs)
    root = next((image for _, _, image in _disks(me.spec, host, inputs)), None)
    disks = {path: there for path, there, _ in _disks(me.spec, host, inputs)}
    used = tuple(path for path, there in disks.items() if there)
    new = (host is not None and host.seed) or not any(there is not False for there in disks.values())
    defined = False if isinstance(live, Missing) else None
    known = tuple(path for path, there in disks.items() if there is not None)
    return GuestToBe(defined, new, disks=known, used=used, macs=macs, root=root)


def is_seeded(name: str, live: Live) -> bool:
    """Whether the seed of its guest's first boot is among its disks."""
    disks = [one for domain in (live.inactive, live.active) if domain for one in domain.disks or ()]
    return any(one.path == cloud_init.seed(name) for one in disks)


def _disks(
    spec: VmSpec, host: Host | None, inputs: Inputs
) -> Iterator[tuple[str, bool | None, DiskImage | None]]:
    """The paths of the disks that it writes to, whether each is there (None: not known), and its image."""
    images = dict(inputs.all(DiskImage))
    for disk in spec.disks or ():
        if disk.state == "absent" or not is_written_to(disk):
            continue
        image = images.get(Address.parse(disk.image)) if disk.image else None
        if image:
            yield image.path, image.there, image
        elif disk.path:
            found = host.opened.get(disk.path) if host else None
            yield disk.path, found.stat is not None if found else None, None
