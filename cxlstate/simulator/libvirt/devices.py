"""What libvirt adds to a domain's devices when it is defined, and where it plugs them in.

Sources: libvirt 11.3 `virDomainDiskDefPostParse`, `virDomainDefAddConsoleCompat`,
`qemuDomainDefAddDefaultDevices`, `qemu_domain_address.c`; looked at on Debian 13.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from cxlstate.formats.domain_xml import drives
from cxlstate.formats.xml import Element
from cxlstate.simulator.libvirt import validate
from cxlstate.simulator.libvirt.definitions import drawn_mac
from cxlstate.simulator.libvirt.qemu import EMULATOR
from cxlstate.simulator.libvirt.refused import UNSUPPORTED, XML, Refused
from cxlstate.simulator.libvirt.text import add, reordered, under

_BUSES: Final = {"vd": "virtio", "sd": "scsi", "hd": "ide", "fd": "fdc"}
_VIDEO_SLOT: Final = 1
_ROOT_PORT: Final = 0x10
_VNC: Final = 8  # characters of a password


def complete(root: Element) -> None:
    """Raises Refused."""
    devices = under(root, "devices")
    q35 = "q35" in (_machine(root) or "")
    emulator = under(devices, "emulator")
    emulator.text = emulator.text or EMULATOR
    _disks(devices)
    _interfaces(root, devices)
    validate.check(devices)
    _consoles(devices)
    _graphics(devices)
    _no_ide(devices, q35=q35)
    _defaults(devices, q35=q35)
    _controllers(devices, q35=q35)
    (_plug_into_root_ports if q35 else _plug_into_slots)(devices)


def source(disk: Element) -> str | None:
    """The path of a disk's file or block device."""
    one = disk.find("source")
    return None if one is None else one.get("file") or one.get("dev")


def target(device: Element) -> str:
    """The name of a disk in the guest, or of an interface on the host."""
    one = device.find("target")
    return "" if one is None else one.get("dev", "")


def mac(interface: Element) -> str:
    """The MAC of an interface, in lower case."""
    one = interface.find("mac")
    return "" if one is None else one.get("address", "").lower()


def _machine(root: Element) -> str | None:
    kind = root.find("os/type")
    return None if kind is None else kind.get("machine")


def _disks(devices: Element) -> None:
    seen: dict[str, str | None] = {}
    for one in devices.findall("disk"):
        name = target(one)
        if name in seen:
            both = f"disk sources '{seen[name]}' and '{source(one)}'"
            raise Refused(f"target '{name}' duplicated for {both}", XML)
        seen[name] = source(one)
        one.set("type", one.get("type", "file"))
        one.set("device", one.get("device", "disk"))
        reordered(one, "type", "device")
        driver = under(one, "driver")
        driver.set("name", driver.get("name", "qemu"))
        driver.set("type", driver.get("type", "raw"))
        reordered(driver, "name", "type")
        place = under(one, "target")
        place.set("bus", place.get("bus") or _BUSES.get(name[:2], "ide"))
        if one.get("device") == "cdrom":
            under(one, "readonly")
        drive = drives.drive_of(one)
        if drive and place.get("bus") != "fdc" and one.find("address") is None:
            words = {word: str(getattr(drive, word)) for word in ("controller", "bus", "target", "unit")}
            add(one, "address", {"type": "drive", **words})


def _no_ide(devices: Element, *, q35: bool) -> None:
    """IDE is built into i440fx, and can be had nowhere else (qemuValidateDomainDeviceDefControllerIDE)."""
    if q35 and devices.find("disk/target[@bus='ide']") is not None:
        why = "IDE controllers are unsupported for this QEMU binary or machine type"
        raise Refused(why, UNSUPPORTED)


def _interfaces(root: Element, devices: Element) -> None:
    taken = {mac(one) for one in devices.findall("interface")}
    for number, one in enumerate(devices.findall("interface")):
        address = under(one, "mac")
        seed = f"{root.findtext('uuid')} {number}"
        while address.get("address") is None:
            drawn = drawn_mac(seed)
            seed += "'"
            if drawn not in taken:
                address.set("address", drawn)
                taken.add(drawn)
        address.set("address", mac(one))
        model = under(one, "model")
        model.set("type", model.get("type", "rtl8139"))


def _consoles(devices: Element) -> None:
    """The first serial port is a console, too, and the other way round."""
    serial, console = devices.find("serial"), devices.find("console")
    if serial is None and console is not None and _aims_at(console, "serial"):
        serial = add(devices, "serial", {"type": console.get("type", "pty")})
    if console is None and serial is not None:
        console = add(devices, "console", {"type": serial.get("type", "pty")})
        add(console, "target", {"type": "serial"})
    given = [one.get("port") for one in devices.findall("serial/target")]
    free = (port for port in map(str, itertools.count()) if port not in given)
    for one in devices.findall("serial"):
        place = under(one, "target")
        place.set("type", place.get("type", "isa-serial"))
        place.set("port", place.get("port") or next(free))
        if place.find("model") is None:
            add(place, "model", {"name": place.get("type", "")})
    for number, one in enumerate(devices.findall("console")):
        place = under(one, "target")
        place.set("type", place.get("type", "serial"))
        place.set("port", place.get("port", str(number)))
    for number, one in enumerate(devices.findall("channel/target[@type='virtio']/.."), start=1):
        if one.find("address") is None:
            at = {"type": "virtio-serial", "controller": "0", "bus": "0", "port": str(number)}
            add(one, "address", at)


def _aims_at(console: Element, kind: str) -> bool:
    place = console.find("target")
    return place is None or place.get("type", kind) == kind


def _graphics(devices: Element) -> None:
    for one in devices.findall("graphics"):
        length = len(one.get("passwd", ""))
        if one.get("type") == "vnc" and length > _VNC:
            why = f"VNC password is {length} characters long, only {_VNC} permitted"
            raise Refused(why, UNSUPPORTED)
        if one.find("listen") is None:
            at = {"type": "address"} | ({"address": one.get("listen", "")} if one.get("listen") else {})
            add(one, "listen", at)
    if devices.find("graphics") is not None and devices.find("video") is None:
        video = add(devices, "video")
        add(video, "model", {"type": "cirrus", "vram": "16384", "heads": "1", "primary": "yes"})


def _defaults(devices: Element, *, q35: bool) -> None:
    for kind in ("mouse", "keyboard"):
        if devices.find(f"input[@type='{kind}'][@bus='ps2']") is None:
            add(devices, "input", {"type": kind, "bus": "ps2"})
    if devices.find("audio") is None:
        add(devices, "audio", {"id": "1", "type": "none"})
    if q35 and devices.find("watchdog") is None:
        add(devices, "watchdog", {"model": "itco", "action": "reset"})
    if devices.find("memballoon") is None:
        add(devices, "memballoon", {"model": "virtio"})


def _controllers(devices: Element, *, q35: bool) -> None:
    wanted = [("usb", "qemu-xhci" if q35 else "piix3-uhci")]
    buses = {one.get("bus") for one in devices.findall("disk/target")}
    if q35 or "sata" in buses:
        wanted.append(("sata", ""))
    wanted.append(("pci", "pcie-root" if q35 else "pci-root"))
    wanted += [(bus, "") for bus in ("scsi", "ide") if bus in buses]
    if devices.find("channel/target[@type='virtio']") is not None:
        wanted.append(("virtio-serial", ""))
    for kind, model in wanted:
        if devices.find(f"controller[@type='{kind}'][@index='0']") is None:
            model_too = {"model": model} if model else {}
            add(devices, "controller", {"type": kind, "index": "0", **model_too})
    usb, sata, video = (devices.find(path) for path in ("controller[@type='usb']", _SATA, "video"))
    if usb is not None and not q35:
        _at(usb, 0, 1, 2)
    if sata is not None:
        _at(sata, 0, 0x1F, 2)
    if video is not None:
        _at(video, 0, _VIDEO_SLOT if q35 else 2, 0)


_SATA: Final = "controller[@type='sata']"


def _on_pci(devices: Element) -> Iterator[Element]:
    """Devices that need a place on PCI and have none, in the order in which they get it."""
    found = [
        *devices.findall("filesystem"),
        *devices.findall("interface"),
        *(one for kind in ("usb", "scsi", "virtio-serial") for one in _of_kind(devices, kind)),
        *devices.findall("disk/target[@bus='virtio']/.."),
        *devices.findall("memballoon[@model='virtio']"),
        *devices.findall("rng"),
    ]
    yield from (one for one in found if one.find("address") is None)


def _of_kind(devices: Element, kind: str) -> list[Element]:
    return devices.findall(f"controller[@type='{kind}']")


def _at(one: Element, bus: int, slot: int, function: int, *, more: bool = False) -> None:
    if one.find("address") is None:
        place = {
            "type": "pci",
            "domain": "0x0000",
            "bus": f"{bus:#04x}",
            "slot": f"{slot:#04x}",
            "function": f"{function:#x}",
        }
        add(one, "address", place | ({"multifunction": "on"} if more else {}))


def _used(devices: Element, part: str) -> set[int]:
    return {int(one.get(part, "0"), 0) for one in devices.findall("*/address[@type='pci']")}


def _plug_into_root_ports(devices: Element) -> None:
    """A bus for each device, and one more that is free."""
    used = _used(devices, "bus")
    for one in list(_on_pci(devices)):
        bus = next(number for number in range(1, len(used) + 2) if number not in used)
        _at(one, bus, 0, 0)
        used.add(bus)
    for number in range(1, max(used | {0}) + 2):
        if devices.find(f"controller[@type='pci'][@index='{number}']") is None:
            port = add(
                devices, "controller", {"type": "pci", "index": str(number), "model": "pcie-root-port"}
            )
            add(port, "model", {"name": "pcie-root-port"})
            add(port, "target", {"chassis": str(number), "port": f"{_ROOT_PORT + number - 1:#x}"})
            slot, function = 2 + (number - 1) // 8, (number - 1) % 8
            _at(port, 0, slot, function, more=function == 0)


def _plug_into_slots(devices: Element) -> None:
    """All on one bus."""
    used = _used(devices, "slot") | {0, 1}
    for one in list(_on_pci(devices)):
        slot = next(number for number in range(2, len(used) + 3) if number not in used)
        _at(one, 0, slot, 0)
        used.add(slot)
