"""Edits of NVDIMMs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from cxlstate.core.domain import Nvdimm
from cxlstate.core.path import Path
from cxlstate.core.units import format_cpus, format_size
from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.impossible import Impossible
from cxlstate.formats.domain_xml.meaning import MODULE_STEP, meant_alignsize, pair
from cxlstate.formats.domain_xml.memory import set_size
from cxlstate.formats.domain_xml.read import NVDIMM, cells, nvdimm
from cxlstate.formats.xml import Element, child, element, place, set_attribute, take_out, take_out_all


def edit(root: Element, wished: tuple[Nvdimm, ...]) -> None:
    """Those that the wish names; Impossible where two would be in one slot, or one device twice."""
    elements = root.findall(NVDIMM)
    there, before = tuple(map(nvdimm, elements)), _paths(root)
    for index, (one, found) in enumerate(zip(wished, pair(wished, there), strict=True)):
        if one.absent:
            if found is not None:
                take_out(elements[found])
        elif found is not None:
            _fill(elements[found], one, there[found])
        else:
            _add(root, one, ("nvdimm", index))
    _check(root, wished, before)


def _add(root: Element, wished: Nvdimm, path: Path) -> None:
    if wished.path is None or wished.size is None:
        why = f"a new NVDIMM of {wished.path} needs a size, and the VM has none of that path"
        raise Impossible(why, path, "write size: 4GiB, or as large as its device is")
    new = element("memory", {"model": "nvdimm"})
    # Else "target NUMA node needs to be specified for memory device" (qemu_domain.c).
    _fill(new, wished, Nvdimm(), node=0)
    place(child(root, "devices", order.DOMAIN), new, order.DEVICES)


def _fill(one: Element, wished: Nvdimm, there: Nvdimm, node: int | None = None) -> None:
    if wished.path not in (None, there.path):
        _source(one, "path").text = wished.path
    alignsize = meant_alignsize(wished, there)
    if alignsize is not None:
        set_size(_source(one, "alignsize"), alignsize)
    if wished.pmem:
        _source(one, "pmem")
    elif wished.pmem is False:
        take_out_all(one.find("source"), "pmem")
    if wished.size not in (None, there.size):
        _size(one, wished.size or 0)
    node = node if wished.node is None else wished.node
    if node not in (None, there.node):
        _target(one, "node").text = str(node)
    if wished.label is not None:
        set_size(child(_target(one, "label"), "size", ("size",)), wished.label)
    if wished.access not in (None, nvdimm(one).access):  # of another cell, it may be another one
        set_attribute(one, "access", wished.access)
    if wished.slot not in (None, there.slot):
        _slot(one, wished.slot or 0)


def _source(one: Element, tag: str) -> Element:
    return child(child(one, "source", order.MEMORY), tag, order.MEMORY_SOURCE)


def _target(one: Element, tag: str) -> Element:
    return child(child(one, "target", order.MEMORY), tag, order.MEMORY_TARGET)


def _size(one: Element, wished: int) -> None:
    """Of another size, it may reach into where the next one begins, so `base` goes."""
    set_size(_target(one, "size"), wished)
    if (address := one.find("address")) is not None:
        set_attribute(address, "base", None)


def _slot(one: Element, wished: int) -> None:
    """Another slot has another address in the guest, so `base` goes."""
    address = child(one, "address", order.MEMORY)
    set_attribute(address, "type", "dimm")
    set_attribute(address, "slot", str(wished))
    set_attribute(address, "base", None)


def _paths(root: Element) -> list[str | None]:
    """Of all memory devices: virtio-pmem has the same memory another way."""
    return [one.findtext("source/path") for one in root.findall("devices/memory")]


def _check(root: Element, wished: Sequence[Nvdimm], before: Sequence[str | None]) -> None:
    slots = [nvdimm(one).slot for one in root.findall("devices/memory")]
    for index, one in enumerate(wished):
        if not one.absent and one.slot is not None and slots.count(one.slot) > 1:
            raise Impossible(
                f"two memory devices would be in slot {one.slot}",
                ("nvdimm", index, "slot"),
                f"write slot: {next(slot for slot in count() if slot not in slots)}",
            )
    _check_places(root, wished)
    paths = _paths(root)
    for index, one in enumerate(wished):
        names = [name for name in (one.path, *one.names) if name is not None]
        if one.absent or sum(map(paths.count, names)) <= max(1, sum(map(before.count, names))):
            continue
        if sum(it.findtext("source/path") in names for it in root.findall(NVDIMM)) > 1:
            raise Impossible(
                f"{one.path} would be two NVDIMMs: the VM has it in another slot than {one.slot}",
                ("nvdimm", index, "slot"),
                "leave out slot",
            )
        raise Impossible(
            f"{one.path} is a memory device of the VM already, and no NVDIMM",
            ("nvdimm", index),
            f"leave out nvdimm[{index}]",
        )


def _check_places(root: Element, wished: Sequence[Nvdimm]) -> None:
    """In a cell (virDomainMemoryDefValidate), and larger than the label area (virDomainMemoryTargetDef…)."""
    ids = frozenset(cell.id for cell in cells(root))
    now = tuple(map(nvdimm, root.findall(NVDIMM)))
    for index, (one, found) in enumerate(zip(wished, pair(wished, now), strict=True)):
        it = Nvdimm() if found is None or one.absent else now[found]
        if one.node is not None and it.node is not None and it.node not in ids:
            raise Impossible(
                f"an NVDIMM would be in NUMA cell {it.node}, and the VM has the cells {format_cpus(ids)}",
                ("nvdimm", index, "node"),
                f"write node: {max((cell for cell in ids if cell < it.node), default=0)}",
            )
        if it.label is not None and it.size is not None and it.label >= it.size:
            least = (it.label // MODULE_STEP + 1) * MODULE_STEP
            raise Impossible(
                f"of {format_size(it.size)} from {it.path}, {format_size(it.label)} would be the label area",
                ("nvdimm", index, "label" if one.size is None else "size"),
                f"write label: {format_size(it.size // 2)}"
                if one.size is None
                else f"write size: {format_size(least)}",
            )
