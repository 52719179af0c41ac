"""Edits of memory: the guest's cells, hugepages, where it comes from, and the sums."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cxlstate.core.domain import Cell, CpuNumbers, Domain, MemNode
from cxlstate.core.path import Path
from cxlstate.core.units import format_cpus, format_size
from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.impossible import Impossible
from cxlstate.formats.domain_xml.meaning import KIB, cpus, kib, size
from cxlstate.formats.domain_xml.read import (
    cell_id,
    cells,
    hugepages,
    max_vcpu,
    memnode,
    memory_devices,
    nodeset,
    number,
    nvdimm,
    plain_memory,
    sized,
)
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

_IN_SLOTS: Final = ("dimm", "nvdimm", "virtio-mem")
"""Models that take a slot of `<maxMemory>`; all of them did before libvirt 9.1 or so."""

_NOT_HUGE: Final = (("source", "type", "anonymous"), ("allocation", "mode", "ondemand"))
"""What libvirt takes no hugepages with (qemuValidateDomainDefMemory); before a file, they are taken."""


Modules = tuple[tuple[int | None, int | None], ...]
"""Size and slot of each memory device."""


@dataclass(frozen=True, slots=True)
class Before:
    """What a domain had when its edit began; sizes in bytes, None where it says nothing of them."""

    vcpus: int
    total: int | None
    bare: int | None
    unplugged: int
    modules: Modules
    cells: frozenset[int]


def before(root: Element) -> Before:
    """The same, of a document."""
    total, ids = sized(root.find("memory")), frozenset(cell.id for cell in cells(root))
    return Before(max_vcpu(root), total, plain_memory(root), _unplugged(root), _modules(root), ids)


def _modules(root: Element) -> Modules:
    return tuple((sized(one.find("target/size")), nvdimm(one).slot) for one in root.findall("devices/memory"))


def set_size(one: Element, wished: int, attribute: str | None = None) -> None:
    """Write bytes into the text or an attribute, in KiB as libvirt does; nothing if it says so already."""
    said = one.text if attribute is None else one.get(attribute)
    if said and kib(size(said, one.get("unit"))) == kib(wished):
        return
    value, unit = (wished, "b") if wished % KIB else (wished // KIB, "KiB")
    if attribute is None:
        one.text = str(value)
    else:
        one.set(attribute, str(value))
    one.set("unit", unit)


# Cells ------------------------------------------------------------------------------------------------


def edit_cells(root: Element, wish: Domain, was: Before) -> None:
    """The guest's NUMA nodes: those wished, else what follows for the ones there."""
    there = cells(root)
    wanted = _derived(root, wish, there, was) if wish.cells is None else wish.cells
    if wanted == there:
        return
    known = {cell_id(one, position): one for position, one in enumerate(root.findall("cpu/numa/cell"))}
    for cell in wanted:
        _cell(root, cell, known.get(cell.id))
    gone = known.keys() - {cell.id for cell in wanted}
    _forget_cells(root, [known[number_] for number_ in gone], gone)


def _derived(root: Element, wish: Domain, there: Sequence[Cell], was: Before) -> Sequence[Cell]:
    count = max_vcpu(root)
    if not there:
        if all(one.absent for one in wish.nvdimm or ()):
            return ()
        # Else "At least one numa node has to be configured when enabling memory hotplug" (qemu_domain.c).
        bare = was.bare if wish.memory is None else wish.memory
        if bare is None:
            raise Impossible("nothing says how much memory the VM has", ("memory",), "write memory: 4GiB")
        return (Cell(0, frozenset(range(count)), bare),)
    if len(there) == 1:
        (only,) = there
        follows = wish.vcpu is not None and only.cpus == frozenset(range(was.vcpus))
        memory = only.memory if wish.memory is None else wish.memory
        return (Cell(only.id, frozenset(range(count)) if follows else only.cpus, memory),)
    has = sum(cell.memory for cell in there)
    if wish.memory is not None and kib(wish.memory) != kib(has):
        raise Impossible(
            f"the guest has {len(there)} NUMA cells with {format_size(has)} in all: "
            f"which of them gets what of {format_size(wish.memory)}?",
            ("memory",),
            "write cpu.numa with the memory of each cell",
        )
    return there


def _cell(root: Element, wished: Cell, one: Element | None) -> None:
    if one is None:
        numa = child(child(root, "cpu", order.DOMAIN), "numa", order.CPU)
        one = element("cell", {"id": str(wished.id), "cpus": format_cpus(wished.cpus)})
        if not wished.cpus:
            set_attribute(one, "cpus", None)
        set_size(one, wished.memory, "memory")
        place(numa, one, order.NUMA, by="id")
        return
    if cpus(one.get("cpus")) != wished.cpus:
        set_attribute(one, "cpus", format_cpus(wished.cpus) or None)
    set_size(one, wished.memory, "memory")


def _forget_cells(root: Element, elements: Iterable[Element], gone: Collection[int]) -> None:
    """Cells that are no more, and what other elements say of them."""
    names = {str(one) for one in gone}
    for one in elements:
        take_out(one)
    for path, keys in (
        ("cpu/numa/cell/distances/sibling", ("id",)),
        ("cpu/numa/interconnects/*", ("initiator", "target")),
        ("numatune/memnode", ("cellid",)),
    ):
        for one in root.findall(path):
            if any(one.get(key) in names for key in keys):
                take_out(one)
    for one in (*root.iterfind("cpu/numa/cell/distances"), *root.iterfind("cpu/numa/interconnects")):
        take_out_if_empty(one)
    take_out_if_empty(root.find("cpu/numa"))
    take_out_if_empty(root.find("numatune"))
    _forget_pages(root, frozenset(gone))


def check_cells(root: Element, wish: Domain, was: Before) -> None:
    """Impossible where a memory device, or an expander bus of PCI, is in a cell that is gone."""
    wished = {one.path: index for index, one in enumerate(wish.nvdimm or ()) if not one.absent}
    gone = was.cells - {cell.id for cell in cells(root)}
    for one in root.findall("devices/*"):
        node = (one.findtext("target/node") or "").strip()
        if node in map(str, gone):
            path = one.findtext("source/path") if one.get("model") == "nvdimm" else None
            why = f"{path or f'a {one.tag!s} device'} is in NUMA cell {node}, which the spec takes out"
            if path is not None and path in wished:
                raise Impossible(why, ("nvdimm", wished[path]), "write node: 0")
            cure = f"write nvdimm: [{{path: {path}, node: 0}}]" if path else "leave out cpu.numa"
            raise Impossible(why, ("cpu", "numa"), cure)


def _forget_pages(root: Element, gone: CpuNumbers) -> None:
    """Huge pages of single cells."""
    for page in root.findall("memoryBacking/hugepages/page[@nodeset]"):
        nodes = cpus(page.get("nodeset"))
        if nodes <= gone:
            take_out(page)
        elif nodes & gone:
            page.set("nodeset", format_cpus(nodes - gone))


# Sums -------------------------------------------------------------------------------------------------


def edit_sums(root: Element, wish: Domain, was: Before) -> None:
    """`<memory>`, `<currentMemory>` and `<maxMemory>`, which follow from the rest, if that has changed."""
    if wish.memory is None and wish.cells is None and _modules(root) == was.modules:
        return
    bare = plain_memory(root) if cells(root) else was.bare if wish.memory is None else wish.memory
    if bare is None:
        return
    path: Path = ("cpu", "numa") if wish.cells else ("memory",)
    _check_limit(root, bare, was.bare, path)
    total = bare + memory_devices(root)
    if total > _MOST:
        raise Impossible(f"{format_size(total)} in all: libvirt takes less than 8EiB", path)
    set_size(child(root, "memory", order.DOMAIN), total)
    _current_memory(root, total, was)
    _max_memory(root, total)


def _check_limit(root: Element, bare: int, before: int | None, path: Path) -> None:
    """The kernel ends QEMU where the guest uses more than `<hard_limit>` of what its cgroup is charged for.

    Huge pages and dax devices are not charged (mm/hugetlb_cgroup.c, drivers/dax).
    """
    one = root.find("memtune/hard_limit")
    limit = sized(one) if one is not None else None
    if limit is None or bare <= limit or bare <= (before or 0) or hugepages(root) is not None:
        return
    name = (root.findtext("name") or "").strip()
    raise Impossible(
        f"memtune has a hard limit of {format_size(limit)}, at which the kernel ends the VM",
        path,
        f"`virsh memtune {shlex.quote(name)} --hard-limit {kib(bare + HEADROOM)} --config`",
    )


_MOST: Final = (1 << 63) - 1
"""Bytes, after they were rounded up (virDomainParseMemory, virMemoryMaxValue)."""

HEADROOM: Final = 2 << 30
"""Bytes that QEMU itself may take, generously: libvirt says that nobody can tell (formatdomain, memtune)."""


def _current_memory(root: Element, total: int, was: Before) -> None:
    """What the balloon leaves to the guest: all of it, unless somebody has chosen less; that stays."""
    one = root.find("currentMemory")
    if one is None:
        return
    current = sized(one) or 0
    if was.total is None or kib(current + was.unplugged) >= kib(was.total) or current > total:
        set_size(one, total - _unplugged(root))


def _unplugged(root: Element) -> int:
    """Bytes of virtio-mem that are not requested: `<memory>` counts them in, `<currentMemory>` does not."""
    size, requested = (
        sum(sized(one) or 0 for one in root.findall(f"devices/memory[@model='virtio-mem']/target/{tag}"))
        for tag in ("size", "requested")
    )
    return max(0, size - requested)


def _max_memory(root: Element, total: int) -> None:
    devices = [one for one in root.findall("devices/memory") if one.get("model") in _IN_SLOTS]
    one = root.find("maxMemory")
    if one is None and not devices:
        return
    if one is None:
        one = child(root, "maxMemory", order.DOMAIN)
    if not one.text or total > (sized(one) or 0):
        set_size(one, total)
    highest = max((nvdimm(device).slot or 0 for device in devices), default=0)
    slots = max(len(devices), highest + 1) if devices else 0
    if slots > number(one.get("slots", "0"), "the slots of maxMemory"):
        # libvirt writes it first
        rest = dict(one.attrib)
        one.attrib.clear()
        one.attrib.update({"slots": str(slots), **{key: rest[key] for key in rest if key != "slots"}})


# Where it comes from ----------------------------------------------------------------------------------


def edit_hugepages(root: Element, wished: int | None) -> None:
    """Pages of one size for all of it; 0 is the host's default size."""
    there = hugepages(root)
    if wished is None or (there is not None and kib(there) == kib(wished)):
        return
    for tag, key, value in _NOT_HUGE:
        if root.find(f"memoryBacking/{tag}[@{key}='{value}']") is not None:
            why = f"the memory of the VM has <{tag} {key}='{value}'/>, with which there are no huge pages"
            raise Impossible(why, ("hugepages",))
    pages = child(child(root, "memoryBacking", order.DOMAIN), "hugepages", order.MEMORY_BACKING)
    take_out_all(pages, "page")
    if wished:
        page = element("page")
        set_size(page, wished, "size")
        place(pages, page, ("page",))


_NODESET: Final = "write numatune.nodeset: '0', or other nodes of the host"


def edit_numatune(root: Element, wish: Domain) -> None:
    """Mode, nodes, and those of single cells."""
    _numa_memory(root, wish.numa_mode, wish.numa_nodeset)
    if wish.memnodes is not None:
        _memnodes(root, wish.memnodes)
    one = root.find("numatune/memory")
    if wish.memnodes and one is not None and nodeset(one) is None:
        raise Impossible("numatune.memnode without the nodes of all cells", ("numatune", "memnode"), _NODESET)
    _check_memnodes(root, wish.memnodes or ())
    if (wish.numa_mode is None and wish.memnodes is None) or one is None:
        return
    if any(
        (one.get("mode") == "restrictive") != (memnode(cell).mode == "restrictive")
        for cell in root.findall("numatune/memnode")
    ):
        wanted = one.get("mode", "strict")
        modes = ", ".join(
            f"{{cellid: {cell.cellid}, mode: {wanted}, nodeset: '{format_cpus(cell.nodeset)}'}}"
            for cell in map(memnode, root.findall("numatune/memnode"))
        )
        raise Impossible(
            "mode restrictive is one of all cells or of none",
            ("numatune", "mode"),
            f"write numatune.memnode: [{modes}]",
        )


def _numa_memory(root: Element, mode: str | None, nodes: CpuNumbers | None) -> None:
    one = root.find("numatune/memory")
    has_mode = None if one is None else one.get("mode", "strict")
    if mode in (None, has_mode) and nodes in (None, nodeset(one)):
        return
    one = child(child(root, "numatune", order.DOMAIN), "memory", order.NUMATUNE)
    if mode not in (None, has_mode):
        one.set("mode", mode or "strict")
    if nodes not in (None, nodeset(one)):
        set_attribute(one, "placement", None)
        one.set("nodeset", format_cpus(nodes or frozenset()))
    if nodeset(one) is None and one.get("placement") != "auto":
        raise Impossible("numatune has a mode and no nodes", ("numatune", "mode"), _NODESET)


def _check_memnodes(root: Element, wished: Sequence[MemNode]) -> None:
    """libvirt: "must correspond to existing guest's NUMA cell" (virDomainNumatuneNodeParseXML)."""
    ids = frozenset(cell.id for cell in cells(root))
    there = f"its cells are {format_cpus(ids)}" if ids else "it has none"
    for index, one in enumerate(wished):
        if one.cellid not in ids:
            raise Impossible(
                f"numatune.memnode names NUMA cell {one.cellid} of the VM, and {there}",
                ("numatune", "memnode", index, "cellid"),
                f"write cpu.numa with a cell {one.cellid}, or leave out numatune.memnode[{index}]",
            )


def _memnodes(root: Element, wished: Sequence[MemNode]) -> None:
    there = {memnode(one): one for one in root.findall("numatune/memnode")}
    for other, one in there.items():
        if other not in wished:
            take_out(one)
    for new in wished:
        if new not in there:
            numatune = child(root, "numatune", order.DOMAIN)
            attributes = {"cellid": str(new.cellid), "mode": new.mode, "nodeset": format_cpus(new.nodeset)}
            place(numatune, element("memnode", attributes), order.NUMATUNE, by="cellid")
    take_out_if_empty(root.find("numatune"))
