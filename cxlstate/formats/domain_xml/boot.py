"""Edits of how the guest starts: machine type, firmware, kernel, and what system it is."""

from __future__ import annotations

from lxml import etree

from cxlstate.core.domain import Domain
from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.impossible import Impossible
from cxlstate.formats.domain_xml.meaning import chipset, is_machine
from cxlstate.formats.domain_xml.read import LIBOSINFO, ROM, firmware
from cxlstate.formats.xml import Element, child, element, place, set_attribute, take_out_all


def edit(root: Element, wish: Domain) -> None:
    """All of `<os>` that a wish names, and the note for virt-manager."""
    if wish.machine is not None:
        _machine(root, wish.machine)
    if wish.firmware is not None and firmware(root) not in (wish.firmware, ROM):
        _firmware(root, wish.firmware or "bios")
    for tag, wished in (("kernel", wish.kernel), ("initrd", wish.initrd), ("cmdline", wish.cmdline)):
        if wished:
            child(_os(root), tag, order.OS).text = wished
        elif wished is not None:
            take_out_all(root.find("os"), tag)
    _check_kernel(root, wish)
    if wish.os_variant is not None:
        _variant(root, wish.os_variant)


def _check_kernel(root: Element, wish: Domain) -> None:
    """QEMU ends with "-append only allowed with -kernel option" (in system/vl.c)."""
    if root.findtext("os/kernel"):
        return
    for word, wished in (("initrd", wish.initrd), ("cmdline", wish.cmdline)):
        if wished:
            why = f"the VM has {word} and no kernel of the host to start with it"
            raise Impossible(why, ("os", word), f"add os.kernel, or leave out os.{word}")


def _os(root: Element) -> Element:
    one = child(root, "os", order.DOMAIN)
    if one.find("type") is None:
        place(one, element("type", text="hvm"), order.OS)
    return one


def _machine(root: Element, wished: str) -> None:
    type_ = child(_os(root), "type", order.OS)
    there = type_.get("machine")
    if is_machine(wished, there):
        return
    if there is not None and chipset(there) != chipset(wished) and _has_slots(root):
        raise Impossible(
            f"{there} cannot become {wished}: the devices have addresses on the buses of {chipset(there)}",
            ("os", "machine"),
            f"write os.machine: {chipset(there)}",
        )
    type_.set("machine", wished)


def _has_slots(root: Element) -> bool:
    places = ("devices/controller[@type='pci']", "devices//address[@type='pci']")
    return any(root.find(path) is not None for path in places)


def _firmware(root: Element, wished: str) -> None:
    one = _os(root)
    take_out_all(one, "loader", "nvram", "varstore", "firmware")
    set_attribute(one, "firmware", wished if wished == "efi" else None)
    if wished == "efi":  # libvirt: "UEFI requires ACPI on this architecture"
        child(child(root, "features", order.DOMAIN), "acpi", order.FEATURES)


def _variant(root: Element, wished: str) -> None:
    metadata = child(root, "metadata", order.DOMAIN)
    outer, inner = f"{{{LIBOSINFO}}}libosinfo", f"{{{LIBOSINFO}}}os"
    known = metadata.find(outer)
    if known is None:
        known = etree.Element(outer, nsmap={"libosinfo": LIBOSINFO})
        etree.SubElement(known, inner)
        place(metadata, known, (outer,))
    set_attribute(child(known, inner, (inner,)), "id", wished)
