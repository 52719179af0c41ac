"""The default host: a Debian cloud server with 318 GiB of RAM and 96 GiB of CXL memory above it.

What it is made of stands in `default_host/`: files, and `machine.json` with what differs from a bare one.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from cxlstate.core.diagnostic import fail
from cxlstate.simulator import guests
from cxlstate.simulator.folder import FILE, ROOT, save
from cxlstate.simulator.host import Host
from cxlstate.simulator.loader import CONFIGURATION
from cxlstate.simulator.mkconfig import mkconfig
from cxlstate.simulator.world import Power, Region, World

KERNELS = ("6.12.117+deb13-amd64", "6.12.107+deb13-amd64")

_MADE_OF = Path(__file__).parent / "default_host"
_OF_A_KERNEL = ("modules.dep", "modules.builtin")


def create(directory: Path, power: Power | None = None, seed: dict[str, bytes] | None = None) -> None:
    """Make the default host and boot it once; the folder appears whole or not at all.

    With what a domain's start gives it, it is the machine in that domain, perhaps with a seed for its boot.
    """
    host = guests.host_of(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{directory.name}-", dir=directory.parent, ignore_cleanup_errors=True
        ) as folder:
            draft = Path(folder) / "draft"
            draft.mkdir()
            _fill(draft, power, host, seed)
            draft.rename(directory)
    except OSError as error:
        if directory.is_dir() and any(directory.iterdir()):
            return  # somebody else made it at the same moment, or it holds something: reading tells
        raise fail(
            "CXC401",
            f"cannot create a simulated host in {directory}",
            found=error.strerror or str(error),
            expected="a path where a folder can be created",
            hint="name another folder after `sim:`",
        ) from error


def _fill(directory: Path, power: Power | None, of: Path, seed: dict[str, bytes] | None) -> None:
    root = directory / ROOT
    for path in (_MADE_OF / FILE, *(_MADE_OF / ROOT).rglob("*")):
        copy = directory / path.relative_to(_MADE_OF)
        if path.is_file():  # folders get modes of their own: those of the package may be read-only
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    for folder in ("var/lib/dpkg/updates", "var/lib/apt/lists", "boot/grub"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "etc/shadow").chmod(0o640)
    (root / "usr/bin").mkdir(parents=True)
    for shell in ("bash", "sh"):
        (root / "usr/bin" / shell).touch(0o755)
    (root / "bin").symlink_to("usr/bin")
    for kernel in KERNELS:
        for name in (f"vmlinuz-{kernel}", f"initrd.img-{kernel}"):
            (root / "boot" / name).touch()
        modules = root / "lib/modules" / kernel
        modules.mkdir(parents=True)
        for name in _OF_A_KERNEL:
            shutil.copyfile(_MADE_OF / name, modules / name)
    host = Host.load(directory)
    if power is not None:
        _in_a_domain(host.world, power)
        guests.plug_in(of, host.world)
    _, configuration = mkconfig(host.files)
    host.files.write(CONFIGURATION, configuration or b"", mode=0o600)
    host.boot()
    host.first_boot(seed)
    save(host.world, directory)


def _in_a_domain(world: World, power: Power) -> None:
    """The same Debian, in a machine with little of anything."""
    world.cpus = ["0-1"]
    world.firmware = [Region(*one) for one in guests.FIRMWARE]
    world.autoload = ["ext4"]
    world.power = power
