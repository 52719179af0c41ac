"""Building the image of the guests that run inside the host: a small Debian that starts quickly."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.lab.steps import Recipe, bootstrap, make_disk, make_key, tool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab.image import Image

_SECTOR = 512
_BOOT_CODE = 440  # of the first sector: then come the disk's number and the partitions

GUEST = Recipe(
    variant="minbase",
    packages=(
        *("linux-image-amd64", "systemd-sysv", "openssh-server", "grub-pc", "kmod", "udev", "acpid"),
        *("ndctl", "daxctl", "iproute2", "cloud-guest-utils", "e2fsprogs", "sudo", "qemu-guest-agent"),
    ),
    tree="rootfs-guest",
    customize="customize-guest.sh",
    disk_mib=3 * 1024,
)


def build_guest(draft: Image, work: Path, log: Callable[[str], None]) -> None:
    """Build the guest image, and the lab's key pair with it."""
    make_key(draft.identity)
    root = work / "root"
    log("guest: installing Debian into a folder")
    bootstrap(GUEST, root, identity=draft.identity)
    log("guest: making the disk")
    make_disk(root, draft.disk, mib=GUEST.disk_mib)
    shutil.copyfile((root / "vmlinuz").resolve(), draft.kernel)
    shutil.copyfile((root / "initrd.img").resolve(), draft.initrd)
    key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().strip()
    draft.describe(host_key=key, guest_key=key, kvm=False)
    _install_grub(root / "boot/grub/i386-pc", draft.disk)
    log("guest: packing the disk")
    tool(["qemu-img", "convert", "-O", "qcow2", str(draft.disk), str(draft.packed_disk)])
    draft.disk.unlink()
    log("guest: done")


def _install_grub(modules: Path, disk: Path) -> None:
    """Put GRUB before the partition, where the images say by themselves that they lie: no boot is needed."""
    with disk.open("r+b") as file:
        file.write((modules / "boot.img").read_bytes()[:_BOOT_CODE])
        file.seek(_SECTOR)
        file.write((modules / "core.img").read_bytes())
