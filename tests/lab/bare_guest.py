"""A machine that *is* a guest, without a host around it: with an NVDIMM, and booted ten times faster.

For what happens inside a guest: namespaces, disks, file systems. What is in its NVDIMM is lost with its
power, as in CXL memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.lab.guest_variants import ensure_variant
from tests.lab.host import LabHost
from tests.lab.qemu import QEMU, Machine, accelerator

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.image import Image

NVDIMM_MIB, LABEL_MIB = 1024, 16


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
        image = ensure_variant("bare")
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
