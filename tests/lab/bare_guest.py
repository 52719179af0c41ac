"""A machine that *is* a guest, without a host around it: with an NVDIMM, and booted ten times faster.

For what happens inside a guest: namespaces, disks, file systems. What is in its NVDIMM is lost with its
power, as in CXL memory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tests.lab.errors import EmulatorError, LabError
from tests.lab.guest_variants import ensure_variant
from tests.lab.host import COUNTS, LabHost
from tests.lab.qemu import QEMU, Machine, accelerator
from tests.lab.steps import tool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.image import Image

NVDIMM_MIB, LABEL_MIB = 1024, 16
SEED = "seed.iso"
CLOUD_SECONDS = 2400.0
"""For a boot: with cloud-init a minute, and on a busy machine ten of them."""


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

    machine: ClassVar[type[BareMachine]] = BareMachine

    def __init__(self, image: Image, workdir: Path) -> None:
        """Prepare it in `workdir`; nothing runs yet."""
        super().__init__(image, workdir)
        of_host = self._machine
        self._machine = self.machine(
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


class CloudMachine(BareMachine):
    """With the seed of a first boot, as long as there is one."""

    def arguments(self) -> list[str]:
        """Return QEMU's arguments."""
        seed = self.directory / SEED
        drive = ("-drive", f"file={seed},format=raw,if=none,id=seed,readonly=on")
        given = [*drive, "-device", "virtio-blk-pci,drive=seed,bus=pcie.0"] if seed.exists() else []
        return [*super().arguments(), *given]


class CloudGuest(BareGuest):
    """A cloud image in the same machine: nobody can log in until cloud-init has been told who may."""

    machine: ClassVar[type[BareMachine]] = CloudMachine
    MAC: ClassVar = "52:54:00:12:34:56"  # QEMU's own, of a machine's first network card

    @classmethod
    def first_booted(cls, workdir: Path, seed: bytes, *, mib: int) -> Self:
        """Return one on a fresh disk of `mib` that has told its host keys, as cloud-init does at its end."""
        image = ensure_variant("cloud")
        guest = cls(image, workdir)
        (guest.workdir / SEED).write_bytes(seed)
        guest.create_disk(image.packed_disk)
        tool(["qemu-img", "resize", "-q", str(guest.disk), f"{mib}M"])
        try:
            guest.start_and_wait("-----END SSH HOST KEY KEYS-----")
        except BaseException:
            guest.close()
            raise
        return guest

    def start_and_wait(self, line: str) -> None:
        """Switch it on, and wait until it has said this on its console."""
        COUNTS["boots"] += 1
        self._start()
        deadline = time.monotonic() + CLOUD_SECONDS
        while line not in self.console:
            if not self._running().running():
                raise EmulatorError(self.last_words)
            if time.monotonic() > deadline:
                msg = f"no {line} on the console within {CLOUD_SECONDS:g} s; see {self.workdir}"
                raise LabError(msg)
            time.sleep(1)

    def wait_off(self) -> None:
        """Wait until it has switched itself off, and take its seed away."""
        self._running().wait(CLOUD_SECONDS)
        self._process = None
        (self.workdir / SEED).unlink(missing_ok=True)
