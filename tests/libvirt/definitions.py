"""Small domains and networks that start in a second. There is no system in the guests."""

from __future__ import annotations

import subprocess
from html import escape
from pathlib import Path

import pytest

SECRET = "s3c'r<&>"
MAC = "52:54:00:fc:10:bd"

NETWORK = """\
<network>
  <name>default</name>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='on' delay='0'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='192.168.122.2' end='192.168.122.254'/>
    </dhcp>
  </ip>
</network>
"""

_DOMAIN = """\
<domain type='{kind}'>
  <name>{name}</name>
  <memory unit='MiB'>64</memory>
  <vcpu>2</vcpu>
  <iothreads>1</iothreads>
  <os><type>hvm</type></os>
  <features><acpi/></features>
  <!-- somebody's note -->
  <devices>{devices}</devices>
</domain>
"""

INTERFACE = f"""
    <interface type='network'>
      <mac address='{MAC}'/><source network='default'/><model type='virtio'/>
    </interface>"""

GRAPHICS = "<graphics type='vnc' port='-1' passwd='s3c&apos;r&lt;&amp;&gt;'/>"


def domain(name: str = "vm", *, devices: str = "", kind: str = "qemu") -> str:
    return _DOMAIN.format(name=escape(name), kind=kind, devices=devices)


def disk(path: Path, size: int = 1 << 20) -> str:
    """A new qcow2 image, and the device that it is."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size)], check=True)
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{path}'/>"
        "<target dev='vda' bus='virtio'/></disk>"
    )


def connect(uri: str):
    libvirt = pytest.importorskip("libvirt")
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    return libvirt.open(uri)
