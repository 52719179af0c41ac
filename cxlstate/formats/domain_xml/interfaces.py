"""Edits of interfaces, and of the serial console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cxlstate.core.domain import Interface
from cxlstate.core.path import Path
from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.impossible import Impossible, lacking
from cxlstate.formats.domain_xml.meaning import is_model
from cxlstate.formats.domain_xml.read import console, document, interface
from cxlstate.formats.xml import (
    Element,
    child,
    element,
    place,
    set_attribute,
    take_out,
    take_out_all,
    take_out_if_empty,
)


def edit(root: Element, wished: tuple[Interface, ...]) -> None:
    """Those that the wish names, by their MAC address."""
    for index, one in enumerate(wished):
        path: Path = ("interfaces", index)
        found = [each for each in root.findall("devices/interface") if interface(each).mac == one.mac]
        if one.absent:
            for each in found:  # libvirt lets several have one address
                take_out(each)
        elif found:
            _fill(found[0], one, path)
        else:
            _add(root, one, path)


def _add(root: Element, wished: Interface, path: Path) -> None:
    if wished.network is None and wished.bridge is None:
        there = [interface(one).mac for one in root.findall("devices/interface")]
        raise lacking("mac", wished.mac, "network or bridge", there, path)
    new = element("interface", {"type": "network"})
    new.append(element("mac", {"address": wished.mac}))
    new.append(element("model", {"type": wished.model or "virtio"}))
    _fill(new, wished, path)
    place(child(root, "devices", order.DOMAIN), new, order.DEVICES)


def _fill(one: Element, wished: Interface, path: Path) -> None:
    there = interface(one)
    if wished.network not in (None, there.network):
        _source(one, "network", wished.network or "")
    if wished.bridge not in (None, there.bridge):
        _source(one, "bridge", wished.bridge or "")
    if wished.model is not None and not is_model(wished.model, there.model):
        _not_virtio(one, wished, (*path, "model"))
        child(one, "model", order.INTERFACE).set("type", wished.model)
        take_out_all(one, "address")  # of a device of another kind
    if wished.link not in (None, there.link):
        child(one, "link", order.INTERFACE).set("state", "up" if wished.link else "down")


_OF_VIRTIO: Final = ("iommu", "ats", "packed", "page_per_vq")
"""Attributes of `<driver>` that libvirt takes of virtio alone (virDomainCheckVirtioOptionsAreAbsent)."""


def _not_virtio(one: Element, wished: Interface, path: Path) -> None:
    """What only virtio has. Impossible where the connection needs it (qemuValidateDomainDeviceDefNetwork)."""
    if wished.model != "virtio" and one.get("type") == "vdpa":
        raise Impossible(f"{wished.mac} has to be virtio: it is vdpa", path, "write model: virtio")
    if (wished.model or "").startswith("virtio"):
        return
    needs = one.get("type") == "vhostuser" or one.find("teaming[@type='persistent']") is not None
    if needs:
        why = f"{wished.mac} has to be virtio: it is {one.get('type')}, or one of a team"
        raise Impossible(why, path, "write model: virtio")
    for name in _OF_VIRTIO:
        if (driver := one.find("driver")) is not None:
            set_attribute(driver, name, None)


_OWN: Final = (
    *("ip", "route", "portForward", "backend", "script", "downscript", "backenddomain"),
    *("target", "guest", "vlan"),
)
"""What tells how an interface is connected that is plugged into no network or bridge.

Of others libvirt refuses it (virDomainNetDefValidate, qemuValidateDomainDeviceDefNetwork, and when the VM
starts qemuBuildHostNetProps and virDomainActualNetDefValidate), or it means nothing there.
"""


_OF_A_SWITCH: Final = ("virtualport", "vlan")
"""What is said to the switch behind an interface.

Another kind of switch refuses it when the VM starts (virDomainActualNetDefValidate; `networkAllocatePort`
in src/network/bridge_driver.c), or, a Linux bridge since libvirt 11.0, tags with it.
"""


def kept(xml: str, wished: tuple[Interface, ...]) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Interfaces that move to another switch of the same type, where from, and what they keep of it.

    Whether the new one is of the same kind, a definition does not say.
    """
    there = {interface(one).mac: one for one in document(xml).findall("devices/interface")}
    for index, one in enumerate(wished):
        found = None if one.absent else there.get(one.mac)
        if found is None:
            continue
        was = interface(found)
        pairs = ((one.network, was.network), (one.bridge, was.bridge))
        tags = tuple(tag for tag in _OF_A_SWITCH if found.find(tag) is not None)
        for old in (old for new, old in pairs if tags and None not in (new, old) and new != old):
            yield index, old or "", tags


def _source(one: Element, kind: str, name: str) -> None:
    """Another network or bridge: what libvirt knew of the old one (port, bridge, port group) goes."""
    old = one.get("type", "user")
    if old != kind:
        take_out_all(one, *_OF_A_SWITCH, "script", "portForward")
        if (backend := one.find("backend")) is not None and backend.get("type") is not None:
            take_out(backend)
        set_attribute(one, "managed", None)
    if old not in ("network", "bridge"):
        take_out_all(one, *_OWN)
    if old == "hostdev":
        take_out_all(one, "driver")  # vfio
        if one.find("model") is None:  # else libvirt's choice, an rtl8139 (qemuDomainDefaultNetModel)
            child(one, "model", order.INTERFACE).set("type", "virtio")
    if old == "hostdev" or kind == "bridge":
        _take_out_with(one, "teaming", type="transient")
    if kind == "bridge":
        _without_floor(one)
    set_attribute(one, "type", kind)
    source = one.find("source")
    if source is not None:
        take_out(source)
    place(one, element("source", {kind: name}), order.INTERFACE)


_PORTS: Final = 4
"""ISA serial ports (VIR_MAX_ISA_SERIAL_PORTS)."""


def _free_port(devices: Element) -> int:
    """The lowest one, as libvirt numbers those without one; a number twice is refused.

    Both in virDomainChrIsaSerialDefPostParse.
    """
    given = [one.get("port") for one in devices.findall("serial/target")]
    free = [port for port in range(_PORTS) if str(port) not in given]
    free = free[len(devices.findall("serial")) - len([port for port in given if port is not None]) :]
    if not free:
        why = f"the VM has {_PORTS} serial ports, and so no room for a console"
        raise Impossible(why, ("console",), "leave out console")
    return free[0]


def _take_out_with(one: Element, tag: str, **attributes: str) -> None:
    """Every child of a name with these attributes."""
    for found in one.findall(tag):
        if all(found.get(key) == value for key, value in attributes.items()):
            take_out(found)


def _without_floor(one: Element) -> None:
    """A least bandwidth is a network's to give (virNetDevBandwidthParse), `average` anybody's."""
    inbound = one.find("bandwidth/inbound")
    if inbound is None or inbound.get("floor") is None:
        return
    set_attribute(inbound, "floor", None)
    if inbound.get("average") is None:
        take_out(inbound)
        take_out_if_empty(one.find("bandwidth"))


def edit_console(root: Element, *, wished: bool | None) -> None:
    """A serial port that `virsh console` reaches."""
    if wished is None or wished == console(root):
        return
    devices = child(root, "devices", order.DOMAIN)
    if not wished:
        for path in ("serial[@type='pty']", "console[@type='pty']"):
            for one in devices.findall(path):
                take_out(one)
        if root.find("os/bios[@useserial='yes']") is not None and devices.find("serial") is None:
            why = "the firmware of the VM writes to a serial port (<bios useserial='yes'>), and none is left"
            raise Impossible(why, ("console",))
        return
    port = _free_port(devices)
    serial = element("serial", {"type": "pty"})
    serial.append(element("target", {"type": "isa-serial", "port": str(port)}))
    place(devices, serial, order.DEVICES, first=True)  # which `virsh console` opens
    if port == 0 and devices.find("console") is None:
        first = element("console", {"type": "pty"})
        first.append(element("target", {"type": "serial", "port": "0"}))
        place(devices, first, order.DEVICES)
