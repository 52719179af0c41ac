"""Building the host image: Debian with its guests in a folder, the folder as a disk, GRUB, one saved boot."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.errors import LabError
from tests.lab.guest_image import build_guest
from tests.lab.host import LabHost
from tests.lab.image import Image, cache_directory, current_guest, current_image
from tests.lab.qemu import QEMU, Direct, accelerator
from tests.lab.steps import Recipe, bootstrap, make_disk, make_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_STABLE = Recipe(
    variant="important",
    packages=(
        *("linux-image-amd64", "initramfs-tools", "systemd-sysv", "openssh-server", "grub-pc", "sudo"),
        *("kmod", "udev"),
        *("libvirt-daemon-system", "libvirt-clients", "qemu-system-x86", "qemu-utils", "ovmf", "apparmor"),
        *("ndctl", "daxctl", "cxl", "python3", "iptables", "dnsmasq-base", "iproute2", "numactl"),
        *("pciutils", "cloud-guest-utils", "e2fsprogs", "curl"),
    ),
    tree="rootfs",
    customize="customize.sh",
    disk_mib=8 * 1024,
)
HOSTS = {"stable": _STABLE, "newest": replace(_STABLE, backports=True)}
"""`newest` has the kernel, QEMU and libvirt of the backports, and no guests in it."""
GUEST_FILES = Path("srv/images")
"""Where the host has the guest's disk, kernel and initial file system."""
_KVM_PROBE_SECONDS = 5.0


def ensure_image(log: Callable[[str], None] = lambda _: None, *, name: str = "stable") -> Image:
    """Return the current image of the host called `name`, built first if it is not there.

    Safe to call from several processes: one builds, the others wait. An image appears whole or
    not at all.
    """
    return _ensure(current_image(name), partial(_build_host, name), log)


def ensure_guest(log: Callable[[str], None] = lambda _: None) -> Image:
    """Return the current image of the guest, likewise."""
    return _ensure(current_guest(), build_guest, log)


def _ensure(
    image: Image, build: Callable[[Image, Path, Callable[[str], None]], None], log: Callable[[str], None]
) -> Image:
    """Return `image`, built first if it is not there: beside its place, and then moved to it."""
    if image.manifest.exists():
        return image
    with _locked(image.directory.with_suffix(".lock")):
        if image.manifest.exists():
            return image
        if os.geteuid() != 0:
            msg = "building the image needs root, for mmdebstrap; starting does not"
            raise LabError(msg)
        with tempfile.TemporaryDirectory(prefix="building-", dir=cache_directory()) as name:
            draft = Image(Path(name) / "image")
            draft.directory.mkdir()
            begin = time.monotonic()
            build(draft, Path(name), lambda text: log(f"{time.monotonic() - begin:4.0f} s  {text}"))
            draft.directory.rename(image.directory)
    return image


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_host(name: str, draft: Image, work: Path, say: Callable[[str], None]) -> None:
    """Build a host image, and the guest that is in it if it is not there."""
    recipe, root = HOSTS[name], work / "root"

    def log(text: str) -> None:
        say(f"{name} host: {text}")

    if recipe.backports:
        make_key(draft.identity)
        log("installing Debian into a folder")
        bootstrap(recipe, root, identity=draft.identity)
        guest_key = ""
    else:
        guest = ensure_guest(say)
        for part in (guest.identity.name, f"{guest.identity.name}.pub"):
            shutil.copy2(guest.directory / part, draft.directory / part)
        log("installing Debian into a folder")
        bootstrap(recipe, root, identity=draft.identity)
        _put_guest(guest, root)
        guest_key = guest.host_key
    log("making the disk")
    make_disk(root, draft.disk, mib=recipe.disk_mib)
    shutil.copyfile((root / "vmlinuz").resolve(), draft.kernel)
    shutil.copyfile((root / "initrd.img").resolve(), draft.initrd)
    host_key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().strip()
    log("trying KVM")
    draft.describe(host_key=host_key, guest_key=guest_key, kvm=_kvm_works(draft, work))
    log(f"installing GRUB, with {'KVM' if draft.kvm else 'emulation: KVM does not work here'}")
    _first_boot(draft, work / "first")
    log("booting once, to save the running machine")
    _save_boot(draft, work / "warm")
    log("done")


def _put_guest(guest: Image, root: Path) -> None:
    """Put the files of the guest into the host, and root's key to it."""
    images = root / GUEST_FILES
    images.mkdir(parents=True)
    shutil.copyfile(guest.packed_disk, images / "guest.qcow2")
    shutil.copyfile(guest.kernel, images / "guest.vmlinuz")
    shutil.copyfile(guest.initrd, images / "guest.initrd")
    shutil.copy2(guest.identity, root / "root/.ssh/id_ed25519")
    (root / "root/.ssh/known_hosts").write_text(f"cxl-guest {guest.host_key}\n")


def _kvm_works(image: Image, directory: Path) -> bool:
    """Tell whether the image's kernel reaches its first line with KVM: the device may exist and fail."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    console = directory / "kvm-console.log"
    direct = Direct(image.kernel, image.initrd, "console=ttyS0 earlyprintk=ttyS0 panic=-1")
    argv = [QEMU, *accelerator(kvm=True), "-machine", "q35", "-cpu", "max", "-m", "1G"]
    argv += ["-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{console}"]
    with subprocess.Popen(
        [*argv, *direct.arguments()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            deadline = time.monotonic() + _KVM_PROBE_SECONDS
            while time.monotonic() < deadline and child.poll() is None:
                if console.exists() and b"Linux version" in console.read_bytes():
                    return True
                time.sleep(0.05)
        finally:
            child.kill()
    return False


def _first_boot(image: Image, directory: Path) -> None:
    """Boot the disk with QEMU's own loader; the host installs its GRUB, and libvirt gets to know its QEMU."""
    direct = Direct(image.kernel, image.initrd, "root=/dev/vda1 ro console=ttyS0 quiet")
    with LabHost(image, directory, disk=image.disk) as host:
        host.boot(direct=direct)
        host.run(["grub-install", "/dev/vda"])
        host.run(["update-grub"])
        host.run(["virsh", "domcapabilities"])
        host.shutdown()


def _save_boot(image: Image, directory: Path) -> None:
    """Boot by GRUB to a settled state and keep the machine as it runs then."""
    with LabHost(image, directory, disk=image.warm_disk) as host:
        host.create_disk(image.disk)
        host.boot()
        host.save(image.warm_state)
