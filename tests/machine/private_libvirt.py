"""A libvirtd of its own for a test: in a mount namespace in which its folders are empty."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cxlstate.formats.sh import quote
from cxlstate.machine.local import LocalTransport
from tests.machine.web import wait_for

TOOLS = ("libvirtd", "virsh", "qemu-system-x86_64", "unshare", "nsenter")

# The user that QEMU is to run as has to exist even where qemu.conf names another.
_SETUP = r"""
set -e
mount --make-rprivate /
for folder in /run /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/libvirt; do
    mount -t tmpfs tmpfs "$folder"
done
cat >/etc/libvirt/qemu.conf <<'END'
user = "root"
group = "root"
security_driver = "none"
stdio_handler = "file"
cgroup_controllers = []
namespaces = []
END
echo 'auth_unix_rw = "none"' >/etc/libvirt/libvirtd.conf
{ cat /etc/passwd; echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin'; } >/run/passwd
{ cat /etc/group; echo 'libvirt-qemu:x:64055:'; } >/run/group
mount --bind /run/passwd /etc/passwd
mount --bind /run/group /etc/group
exec libvirtd
"""

_DOMAIN = """
<domain type='qemu'>
  <name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type machine='q35'>hvm</type></os><features><acpi/></features>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/><source file='{disk}'/><target dev='vdb' bus='virtio'/>
    </disk>
  </devices>
</domain>
"""


class Inside(LocalTransport):
    """This machine as it looks in the mount namespace of a process."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._enter = f"nsenter --target {pid} --mount sh -c "

    def start(self, command: str):
        return super().start(self._enter + quote(command))


@dataclass
class Libvirt:
    pid: int
    folder: Path

    def run(self, *words: str) -> str:
        entered = ["nsenter", "--target", str(self.pid), "--mount", *words]
        return subprocess.run(entered, check=True, capture_output=True, text=True).stdout

    def virsh(self, *words: str) -> str:
        return self.run("virsh", "--connect", "qemu:///system", "--quiet", *words)

    def paused(self, name: str, disk: Path) -> None:
        """A guest that has not begun to run, with a disk."""
        xml = self.folder / "domain.xml"
        xml.write_text(_DOMAIN.format(name=name, disk=disk, emulator=shutil.which("qemu-system-x86_64")))
        self.virsh("create", str(xml), "--paused")


@contextmanager
def libvirtd(folder: Path) -> Iterator[Libvirt]:
    with (
        (folder / "libvirtd.log").open("wb") as log,
        subprocess.Popen(["unshare", "--mount", "sh", "-c", _SETUP], stdout=log, stderr=log) as daemon,
    ):
        made = Libvirt(daemon.pid, folder)
        try:
            wait_for(lambda: _answers(made))
            yield made
        finally:
            if daemon.poll() is None:
                for name in made.virsh("list", "--name").split("\n"):
                    if name.strip():
                        made.virsh("destroy", "--domain", name.strip())
                daemon.terminate()


def _answers(made: Libvirt) -> bool:
    try:
        made.virsh("list", "--name")
    except subprocess.CalledProcessError:
        return False
    return True
