"""Edits of NVDIMMs."""

from __future__ import annotations

from collections import Counter

from cxlstate.core.domain import Nvdimm
from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.meaning import meant_alignsize, pair
from cxlstate.formats.domain_xml.memory import set_size
from cxlstate.formats.domain_xml.read import NVDIMM, nvdimm
from cxlstate.formats.xml import Element, child, element, place, set_attribute, take_out, take_out_all


def edit(root: Element, wished: tuple[Nvdimm, ...]) -> None:
    """Those that the wish names; ValueError where two would be in one slot, or one device twice."""
    elements = root.findall(NVDIMM)
    there = tuple(map(nvdimm, elements))
    for one, found in zip(wished, pair(wished, there), strict=True):
        if one.absent:
            if found is not None:
                take_out(elements[found])
        elif found is not None:
            _fill(elements[found], one, there[found])
        else:
            _add(root, one)
    _check(root, wished)


def _add(root: Element, wished: Nvdimm) -> None:
    if wished.path is None or wished.size is None:
        raise ValueError("a new NVDIMM needs a path and a size")
    new = element("memory", {"model": "nvdimm"})
    # Else "target NUMA node needs to be specified for memory device" (qemu_domain.c).
    _fill(new, wished, Nvdimm(), node=0)
    place(child(root, "devices", order.DOMAIN), new, order.DEVICES)


def _fill(one: Element, wished: Nvdimm, there: Nvdimm, node: int | None = None) -> None:
    if wished.access not in (None, there.access):
        set_attribute(one, "access", wished.access)
    if wished.path not in (None, there.path):
        _source(one, "path").text = wished.path
    alignsize = meant_alignsize(wished, there)
    if alignsize is not None:
        set_size(_source(one, "alignsize"), alignsize)
    if wished.pmem:
        _source(one, "pmem")
    elif wished.pmem is False:
        take_out_all(one.find("source"), "pmem")
    if wished.size is not None:
        set_size(_target(one, "size"), wished.size)
    node = node if wished.node is None else wished.node
    if node not in (None, there.node):
        _target(one, "node").text = str(node)
    if wished.label is not None:
        set_size(child(_target(one, "label"), "size", ("size",)), wished.label)
    if wished.slot not in (None, there.slot):
        _slot(one, wished.slot or 0)


def _source(one: Element, tag: str) -> Element:
    return child(child(one, "source", order.MEMORY), tag, order.MEMORY_SOURCE)


def _target(one: Element, tag: str) -> Element:
    return child(child(one, "target", order.MEMORY), tag, order.MEMORY_TARGET)


def _slot(one: Element, wished: int) -> None:
    """Another slot has another address in the guest, so `base` goes."""
    address = child(one, "address", order.MEMORY)
    set_attribute(address, "type", "dimm")
    set_attribute(address, "slot", str(wished))
    set_attribute(address, "base", None)


def _check(root: Element, wished: tuple[Nvdimm, ...]) -> None:
    slots = Counter(nvdimm(one).slot for one in root.findall("devices/memory"))
    del slots[None]
    for slot, count in slots.items():
        if count > 1:
            raise ValueError(f"two memory devices would be in slot {slot}")
    paths = Counter(one.findtext("source/path") for one in root.findall(NVDIMM))
    for one in wished:
        if not one.absent and one.path is not None and paths[one.path] > 1:
            raise ValueError(f"{one.path} would be two NVDIMMs; say of the other one that it is absent")
