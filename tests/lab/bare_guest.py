"""A machine that *is* a guest, without a host around it: with an NVDIMM, and booted ten times faster.

For what happens inside a guest: namespaces, disks, file systems. What is in its NVDIMM is lost with its
power, as in CXL memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import pytest

from tests.lab import guest_image
from tests.lab.build import _ensure
from tests.lab.guest_image import GUEST
from tests.lab.host import LabHost
from tests.lab.image import _GUEST_FROM, Image, _hash_sources, cache_directory
from tests.lab.qemu import QEMU, Machine, accelerator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BARE = replace(
    GUEST,
    packages=(*GUEST.packages, "python3-minimal", "xfsprogs", "btrfs-progs"),
    disk_mib=2 * 1024,
)
NVDIMM_MIB, LABEL_MIB = 1024, 16


def ensure_bare_guest(log: Callable[[str], None] = lambda _: None) -> Image:
    """Return its image, built first if it is not there."""
    name = f"bare-{_hash_sources(hashlib.sha256(repr(BARE).encode()), _GUEST_FROM)}"
    return _ensure(Image(cache_directory() / name), _build, log)


def _build(draft: Image, work: Path, log: Callable[[str], None]) -> None:
    """As the guest of the host is built, whose image is named by the text of that module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guest_image, "GUEST", BARE)
        guest_image.build_guest(draft, work, log)


@dataclass(frozen=True)
class BareMachine(Machine):
    """QEMU's arguments for it."""

    def arguments(self) -> list[str]:
        """Return QEMU's arguments: the drive and the control socket are those of a host."""
        of_host = super().arguments()
        kept = of_host[of_host.index("-drive") :]
        return [
            *(QEMU, *accelerator(self.kvm), "-machine", "q35,nvdimm=on", "-cpu", "max,-la57,-erms,-fsrm"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "std"),
            *("-smp", "2", "-m", "1G,slots=2,maxmem=4G"),
            *("-object", "memory-backend-ram,id=ram0,size=1G", "-numa", "node,nodeid=0,memdev=ram0"),
            *("-object", f"memory-backend-ram,id=nv0,size={NVDIMM_MIB}M"),
            *("-device", f"nvdimm,id=nvd0,memdev=nv0,slot=0,label-size={LABEL_MIB}M,node=0"),
            *kept,
        ]


class BareGuest(LabHost):
    """The machine, in the hands that a host is in. Its user is root: `lab-root`."""

    def __init__(self, image: Image, workdir: Path) -> None:
        """Prepare it in `workdir`; nothing runs yet."""
        super().__init__(image, workdir)
        of_host = self._machine
        self._machine = BareMachine(
            of_host.flavour, of_host.kvm, of_host.disk, of_host.port, of_host.directory, of_host.sockets
        )

    @classmethod
    def started(cls, workdir: Path) -> Self:
        """Return one that answers, on a fresh disk."""
        image = ensure_bare_guest()
        guest = cls(image, workdir)

        def boot() -> None:
            guest.create_disk(image.packed_disk)
            guest.boot()

        try:
            guest._try(boot)
        except BaseException:
            guest.close()
            raise
        return guest

    def grow_disk(self, mib: int) -> None:
        """Make its disk larger, as `virsh blockresize` does: the guest sees it at once."""
        self.monitor.command("block_resize", device="d0", size=mib << 20)
