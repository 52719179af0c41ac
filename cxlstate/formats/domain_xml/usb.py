"""How many devices USB has room for, as libvirt counts (`src/conf/domain_addr.c`). Pure."""

from __future__ import annotations

from typing import Final

from cxlstate.formats.domain_xml.read import number
from cxlstate.formats.xml import Element

_PORTS: Final = {
    "piix3-uhci": 2,
    "piix4-uhci": 2,
    "vt82c686b-uhci": 2,
    "pci-ohci": 3,
    "ehci": 6,
    "ich9-ehci1": 6,
    "ich9-uhci1": 0,
    "ich9-uhci2": 0,
    "ich9-uhci3": 0,
    "nec-xhci": 4,
    "qemu-xhci": 4,
    "qusb1": 8,
    "qusb2": 8,
}
"""Of controllers, by model (virDomainUSBAddressControllerModelToPorts); others have two."""

_OF_A_HUB: Final = 8


def free_ports(devices: Element | None) -> int:
    """Ports without a device. Where no controller is written, libvirt adds one."""
    if devices is None:
        return _PORTS["piix3-uhci"]
    ports = 0 if devices.find("controller[@type='usb']") is not None else _PORTS["piix3-uhci"]
    for one in devices.findall("controller[@type='usb']"):
        written = one.get("ports")
        default = _PORTS.get(one.get("model", ""), _PORTS["piix3-uhci"])
        ports += default if written is None else number(written, "the ports of a USB controller")
    hubs, taken = devices.findall("hub[@type='usb']"), devices.findall("*/address[@type='usb']")
    return ports + _OF_A_HUB * len(hubs) - len(taken)
