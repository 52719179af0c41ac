"""The images of the host and of its guests: what they consist of, and where they are kept.

An image is made once and then only read: `build.py` makes it, `host.py` starts machines from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.qemu import QEMU

HERE = Path(__file__).parent
_GUEST_FROM = ("guest_image.py", "steps.py", "prepare.sh", "customize-guest.sh", "rootfs-guest")
_HOST_FROM = ("image.py", "build.py", "qemu.py", "steps.py", "prepare.sh", "customize.sh", "rootfs")


@dataclass(frozen=True)
class Image:
    """The files of one image, all in one folder."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The disk after a clean shutdown; boots by BIOS and GRUB."""
        return self.directory / "disk.raw"

    @property
    def packed_disk(self) -> Path:
        """The disk of a guest, as the host has it."""
        return self.directory / "guest.qcow2"

    @property
    def warm_disk(self) -> Path:
        """The disk at the moment when `warm_state` was saved."""
        return self.directory / "warm.qcow2"

    @property
    def warm_state(self) -> Path:
        """The running machine: memory and devices."""
        return self.directory / "warm.state"

    @property
    def kernel(self) -> Path:
        """Its kernel, for a boot without GRUB."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Its initial file system."""
        return self.directory / "initrd.img"

    @property
    def identity(self) -> Path:
        """The private SSH key which all users of the host and its guests accept."""
        return self.directory / "id_ed25519"

    @property
    def manifest(self) -> Path:
        """What is to be known about the image; written last."""
        return self.directory / "manifest.json"

    @property
    def host_key(self) -> str:
        """The public SSH key of the machine."""
        return str(self._read("host_key"))

    @property
    def guest_key(self) -> str:
        """The public SSH key of the guests in a host; of a guest, its own."""
        return str(self._read("guest_key"))

    @property
    def kvm(self) -> bool:
        """Whether KVM worked when the image was made, and so runs its machines."""
        return bool(self._read("kvm"))

    def describe(self, *, host_key: str, guest_key: str, kvm: bool) -> None:
        """Write the manifest."""
        self.manifest.write_text(
            json.dumps({"host_key": host_key, "guest_key": guest_key, "kvm": kvm}) + "\n"
        )

    def _read(self, name: str) -> object:
        """Return one entry of the manifest."""
        return json.loads(self.manifest.read_text())[name]


def cache_directory() -> Path:
    """Return the folder of the images: never inside the checkout."""
    named = os.environ.get("CXLSTATE_LAB_CACHE")
    if named:
        return Path(named).resolve()
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "cxlstate-lab"


def current_image(name: str = "stable") -> Image:
    """Return the host `name` that belongs to this checkout and this QEMU, whether it is there or not."""
    return Image(cache_directory() / f"{name}-{_image_key(name)}")


def current_guest() -> Image:
    """Return the guest image that belongs to this checkout, whether it is there or not."""
    return Image(cache_directory() / f"guest-{_guest_key()}")


def _image_key(name: str) -> str:
    """Return a hash of all the host is made from: the QEMU which saved its state, and its guests, too."""
    digest = hashlib.sha256(f"{name} {_qemu_version()}".encode())
    digest.update(b"kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) else b"no kvm")
    digest.update(_guest_key().encode())
    return _hash_sources(digest, _HOST_FROM)


def _guest_key() -> str:
    """Return a hash of all the guest is made from."""
    return _hash_sources(hashlib.sha256(), _GUEST_FROM)


def _hash_sources(digest: hashlib._Hash, names: tuple[str, ...]) -> str:
    """Add the files and folders to `digest`, and return it, shortened."""
    for name in names:
        source = HERE / name
        files = [source] if source.is_file() else sorted(source.rglob("*"))
        for file in files:
            if file.is_file():
                digest.update(f"\0{file.relative_to(HERE)}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _qemu_version() -> str:
    """Return the line QEMU calls itself by."""
    try:
        result = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        msg = f"{QEMU} does not run ({error}); install what the lab needs: tests/lab/setup.sh"
        raise LabError(msg) from error
    return result.stdout.splitlines()[0]
