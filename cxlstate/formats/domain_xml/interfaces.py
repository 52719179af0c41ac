"""Edits of interfaces, and of the serial console."""

from __future__ import annotations

from cxlstate.core.domain import Interface
from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.read import console, interface
from cxlstate.formats.xml import Element, child, element, place, set_attribute, take_out, take_out_all


def edit(root: Element, wished: tuple[Interface, ...]) -> None:
    """Those that the wish names, by their MAC address."""
    for one in wished:
        found = next(
            (each for each in root.findall("devices/interface") if interface(each).mac == one.mac), None
        )
        if one.absent:
            if found is not None:
                take_out(found)
        elif found is not None:
            _fill(found, one)
        else:
            _add(root, one)


def _add(root: Element, wished: Interface) -> None:
    if wished.network is None and wished.bridge is None:
        raise ValueError(f"a new interface {wished.mac} needs a network or a bridge")
    new = element("interface", {"type": "network"})
    new.append(element("mac", {"address": wished.mac}))
    new.append(element("model", {"type": wished.model or "virtio"}))
    _fill(new, wished)
    place(child(root, "devices", order.DOMAIN), new, order.DEVICES)


def _fill(one: Element, wished: Interface) -> None:
    there = interface(one)
    if wished.network not in (None, there.network):
        _source(one, "network", wished.network or "")
    if wished.bridge not in (None, there.bridge):
        _source(one, "bridge", wished.bridge or "")
    if wished.model not in (None, there.model):
        child(one, "model", order.INTERFACE).set("type", wished.model or "")
        take_out_all(one, "address")  # of a device of another kind
    if wished.link not in (None, there.link):
        child(one, "link", order.INTERFACE).set("state", "up" if wished.link else "down")


def _source(one: Element, kind: str, name: str) -> None:
    """Another network or bridge: what libvirt knew of the old one (port, bridge, port group) goes."""
    if one.get("type") != kind:
        take_out_all(one, "virtualport", "portForward", "backend")
        set_attribute(one, "managed", None)
    set_attribute(one, "type", kind)
    source = one.find("source")
    if source is not None:
        take_out(source)
    place(one, element("source", {kind: name}), order.INTERFACE)


def edit_console(root: Element, *, wished: bool | None) -> None:
    """A serial port that `virsh console` reaches."""
    if wished is None or wished == console(root):
        return
    devices = child(root, "devices", order.DOMAIN)
    if not wished:
        for path in ("serial[@type='pty']", "console[@type='pty']"):
            for one in devices.findall(path):
                take_out(one)
        return
    port = len(devices.findall("serial"))
    serial = element("serial", {"type": "pty"})
    serial.append(element("target", {"type": "isa-serial", "port": str(port)}))
    place(devices, serial, order.DEVICES)
    if port == 0 and devices.find("console") is None:
        first = element("console", {"type": "pty"})
        first.append(element("target", {"type": "serial", "port": "0"}))
        place(devices, first, order.DEVICES)
