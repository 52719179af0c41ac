"""The seed of a first boot in a domain: a disk that is only read, and a console that is kept. Pure."""

from __future__ import annotations

from string import ascii_lowercase
from typing import Final
from urllib.parse import quote

from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.read import disk, document
from cxlstate.formats.xml import Element, child, element, place, plain

_LOGS: Final = "/var/log/libvirt/qemu"
_SERIAL: Final = ("source", "protocol", "log", "target")


def give(root: Element, name: str, path: str) -> None:
    """A disk that every kernel of a cloud has a driver for: some of theirs know no CD-ROM drive (AHCI).

    What its serial console says is kept in a file, where nothing else is said of it: cloud-init tells the
    host keys there, and the hypervisor vouches for it.
    """
    devices = child(root, "devices", order.DOMAIN)
    taken = {disk(one).target for one in devices.findall("disk")}
    target = next(one for letter in reversed(ascii_lowercase) if (one := f"vd{letter}") not in taken)
    new = element("disk", {"type": "file", "device": "disk"})
    for tag, attributes in (
        ("driver", {"name": "qemu", "type": "raw"}),
        ("source", {"file": path}),
        ("target", {"dev": target, "bus": "virtio"}),
        ("readonly", {}),
    ):
        new.append(element(tag, attributes))
    place(devices, new, order.DEVICES)
    serial = devices.find("serial")
    if serial is not None and serial.get("type") == "pty" and serial.find("log") is None:
        file = f"{_LOGS}/{quote(name, safe='@:+,')}-serial0.log"
        place(serial, element("log", {"file": file, "append": "off"}), _SERIAL)


def given(xml: str, path: str) -> str | None:
    """The `<disk>` with this source, as libvirt takes it for a detach; None: there is none."""
    for one in document(xml).findall("devices/disk"):
        if disk(one).path == path:
            return plain(one)
    return None
