"""A guest that boots in seconds even where it is emulated: a kernel, busybox and the real guest agent.

The kernel and busybox are downloaded from this machine's Debian and kept; nothing is installed.
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"

# In the order in which they need each other.
_MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_console",
)
_PROGRAMS = ("/usr/sbin/qemu-ga", "/usr/bin/flock", "/usr/bin/dash", "/usr/bin/head")
"""What busybox does not have, or has in a form of its own: its `head -c` takes more than it was told."""

_INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
/bin/busybox ln -sf dash /bin/sh
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in {" ".join(_MODULES)}; do [ ! -e /$module.ko ] || insmod /$module.ko; done
echo '-----BEGIN SSH HOST KEY KEYS-----' >/dev/console
cat /etc/ssh/*.pub >/dev/console
echo '-----END SSH HOST KEY KEYS-----' >/dev/console
until [ -e /dev/vport*p1 ]; do sleep 0.1; done
while :; do qemu-ga -m virtio-serial -p /dev/vport*p1 -t /run -f /run/pid; sleep 0.1; done
"""

DOMAIN = """\
<domain type='qemu'>
  <name>vm</name>
  <memory unit='MiB'>192</memory>
  <vcpu>1</vcpu>
  <os>
    <type machine='q35'>hvm</type>
    <kernel>{folder}/kernel</kernel><initrd>{folder}/initrd</initrd><cmdline>console=ttyS0</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <serial type='pty'><log file='{console}'/><target port='0'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  </devices>
</domain>
"""


def build(folder: Path) -> None:
    """Make `kernel` and `initrd` in a folder."""
    packages = unpacked()
    (kernel,) = (packages / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, folder / "kernel")
    files: dict[str, tuple[int, bytes]] = {
        "init": (0o755, _INIT.encode()),
        "bin/busybox": (0o755, next(packages.glob("**/bin/busybox")).read_bytes()),
        "etc/ssh/ssh_host_ed25519_key.pub": (0o644, f"{KEY} root@tiny\n".encode()),
    }
    for name in _MODULES:
        for path in (packages / "lib/modules").rglob(f"{name}.ko*"):
            content = path.read_bytes()
            files[f"{name}.ko"] = (0o644, lzma.decompress(content) if path.suffix == ".xz" else content)
    for program in _PROGRAMS:
        files[f"bin/{Path(program).name}"] = (0o755, Path(program).read_bytes())
        for library in _libraries(program):
            files[library.lstrip("/")] = (0o755, Path(library).read_bytes())
    (folder / "initrd").write_bytes(gzip.compress(_cpio(files), 1))


def _libraries(program: str) -> list[str]:
    said = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return re.findall(r"(/\S+) \(0x", said)


def unpacked() -> Path:
    """Both packages, unpacked in a folder that is kept."""
    listed = subprocess.run(
        ["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"Depends: (linux-image-\S+)", listed)
    if not found:
        pytest.skip("apt knows no kernel for the guest")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxlstate-lab"
    place = cache / f"tiny-{found[1]}"
    if not place.exists():
        draft = cache / f"tiny-draft-{os.getpid()}"
        draft.mkdir(parents=True)
        command = ["apt-get", "download", "-q", found[1], "busybox-static"]
        if subprocess.run(command, cwd=draft, capture_output=True, check=False).returncode:
            shutil.rmtree(draft)
            pytest.skip("the guest's kernel cannot be downloaded")
        for package in draft.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, draft], check=True)
            package.unlink()
        draft.rename(place)
    return place


def _cpio(files: dict[str, tuple[int, bytes]]) -> bytes:
    """An archive as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    folders = {str(parent) for name in files for parent in Path(name).parents} | {"proc", "sys", "dev", "run"}
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in sorted(folders - {"."})]
    entries += [(name, stat.S_IFREG | mode, content) for name, (mode, content) in files.items()]
    archive = b""
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        numbers = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08X" % one for one in numbers)
        for part in (header + name.encode() + b"\0", content):
            archive += part + bytes(-len(part) % 4)
    return archive
