"""The emulated machine: QEMU's arguments for each flavour. `process.py` has the life of one QEMU."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

QEMU = "qemu-system-x86_64"

# A fifth level of page tables makes each walk of a nested guest's memory a third longer. Without
# `rep movsb` as the way to copy, the kernel moves words, which is what emulation is good at.
_PROCESSOR = "max,-la57,-erms,-fsrm"
_COMMON = (
    *("-nodefaults", "-no-user-config", "-display", "none"),
    # GRUB hangs when there is neither a display nor a serial terminal; the kernel has no driver
    # to load for this one.
    *("-vga", "std"),
    *("-smp", "4,sockets=2,cores=2"),
    *("-numa", "node,nodeid=0,cpus=0-1,memdev=m0", "-numa", "node,nodeid=1,cpus=2-3,memdev=m1"),
)


@dataclass(frozen=True)
class Flavour:
    """A kind of emulated host."""

    name: str
    about: str
    arguments: tuple[str, ...]
    resumable: bool
    """Whether QEMU can save and resume a machine with these devices."""


def _memory(node_gib: int) -> tuple[str, ...]:
    """Return the memory of the two nodes."""
    backends = (f"memory-backend-ram,id=m{node},size={node_gib}G" for node in (0, 1))
    return tuple(word for backend in backends for word in ("-object", backend))


FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        Flavour(
            name="hmem",
            about="1 GiB of Soft Reserved memory at 4 GiB, as firmware hands CXL memory over",
            arguments=(
                "-machine",
                "q35,sata=off,smbus=off,i8042=off",
                "-cpu",
                _PROCESSOR,
                "-m",
                "8G",
                *_memory(4),
            ),
            resumable=True,
        ),
        Flavour(
            name="cxl",
            about="the same, and a 512 MiB CXL type 3 device to make regions of",
            arguments=(
                *("-machine", "q35,sata=off,smbus=off,i8042=off,cxl=on"),
                # Inside a VM the kernel will not flush caches, and so commits no CXL decoder.
                *("-cpu", f"{_PROCESSOR},-hypervisor"),
                *("-m", "6G,maxmem=16G,slots=4", *_memory(3)),
                *("-object", "memory-backend-ram,id=vmem0,share=on,size=512M"),
                *("-device", "pxb-cxl,bus_nr=12,bus=pcie.0,id=cxl.1"),
                *("-device", "cxl-rp,port=0,bus=cxl.1,id=rp0,chassis=0,slot=2"),
                *("-device", "cxl-type3,bus=rp0,volatile-memdev=vmem0,id=cxl-vmem0"),
                *("-M", "cxl-fmw.0.targets.0=cxl.1,cxl-fmw.0.size=4G"),
            ),
            resumable=False,
        ),
    )
}


def flavour_named(name: str) -> Flavour:
    """Return the flavour called `name`."""
    try:
        return FLAVOURS[name]
    except KeyError:
        msg = f"no flavour {name!r}; there are: {', '.join(FLAVOURS)}"
        raise LabError(msg) from None


def accelerator(kvm: bool) -> list[str]:  # noqa: FBT001 - the one thing that is asked
    """Return QEMU's arguments for KVM, or for emulation on several threads."""
    return ["-accel", "kvm" if kvm else "tcg,thread=multi"]


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def create_overlay(base: Path, overlay: Path) -> None:
    """Make `overlay`, an empty layer over the disk `base`, which stays as it is."""
    base_format = "qcow2" if base.suffix == ".qcow2" else "raw"
    # Side by side the layers name each other without a path, so that their folder can move.
    name = base.name if base.parent == overlay.parent else str(base.resolve())
    options = ["-q", "-f", "qcow2", "-F", base_format, "-b", name]
    _qemu_img("create", *options, str(overlay))


def _qemu_img(*arguments: str) -> None:
    """Run qemu-img."""
    result = subprocess.run(["qemu-img", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        msg = f"qemu-img {arguments[0]}: {result.stderr.strip()}"
        raise LabError(msg)


@dataclass(frozen=True)
class Direct:
    """A boot that skips GRUB: QEMU loads the kernel itself."""

    kernel: Path
    initrd: Path
    command_line: str

    def arguments(self) -> list[str]:
        """Return the arguments for it."""
        return [
            *("-kernel", str(self.kernel), "-initrd", str(self.initrd)),
            *("-append", self.command_line),
        ]


@dataclass(frozen=True)
class Machine:
    """What is the same in every start of one emulated host."""

    flavour: Flavour
    kvm: bool
    disk: Path
    port: int
    directory: Path
    """Where `console.log`, `qemu.log` and `qemu.pid` go."""
    sockets: Path
    """A short path for the control socket: the system allows 108 bytes."""

    def arguments(self) -> list[str]:
        """Return QEMU's arguments."""
        forward = f"hostfwd=tcp:127.0.0.1:{self.port}-:22"
        disk_format = "raw" if self.disk.suffix == ".raw" else "qcow2"
        drive = f"file={_escape(self.disk)},format={disk_format},if=none,id=d0,cache=unsafe,discard=unmap"
        return [
            QEMU,
            *accelerator(self.kvm),
            *self.flavour.arguments,
            *_COMMON,
            *("-drive", drive, "-device", "virtio-blk-pci,drive=d0,bus=pcie.0"),
            *("-netdev", f"user,id=n0,restrict=on,{forward}"),
            # Switched on, it holds packets back: see LabHost.freeze_network.
            *("-object", "filter-buffer,id=freezer,netdev=n0,interval=4000000000,status=off"),
            *("-device", "virtio-net-pci,netdev=n0,bus=pcie.0,romfile="),
            *("-serial", f"file:{self.directory / 'console.log'}"),
            *("-pidfile", str(self.directory / "qemu.pid")),
            *("-qmp", f"unix:{self.control_socket},server=on,wait=off"),
        ]

    @property
    def control_socket(self) -> Path:
        """QEMU's control socket."""
        return self.sockets / "qmp"


def _escape(path: Path) -> str:
    """Return `path` as a value in a comma-separated QEMU option."""
    return str(path).replace(",", ",,")
