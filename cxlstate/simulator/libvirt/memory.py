"""A domain's memory when it is defined: sums, NUMA cells, memory devices and their slots.

Sources: libvirt 11.3 `virDomainDefPostParseMemory`, `virDomainMemoryDefValidate`,
`virDomainMemoryDefCheckConflict`, `virDomainDefMemtuneValidate`, `virDomainNumaDefParseXML`,
`qemuDomainAssignMemoryDeviceSlots`, `qemuDomainDefValidateMemoryHotplug`.
"""

from __future__ import annotations

from collections.abc import Iterable

from cxlstate.core.units import format_cpus
from cxlstate.formats.domain_xml import meaning
from cxlstate.formats.domain_xml.read import max_vcpu
from cxlstate.formats.xml import Element
from cxlstate.simulator.libvirt.refused import INTERNAL, UNSUPPORTED, XML, Refused
from cxlstate.simulator.libvirt.schema import SIZE_ATTRIBUTES, SIZES
from cxlstate.simulator.libvirt.text import add, reordered, under

_LEAST_LABEL = 128  # KiB
_IN_SLOTS = ("dimm", "nvdimm")


def settle(root: Element) -> None:
    """Sizes in KiB, sums as they have to be, every memory device in a slot. Raises Refused."""
    in_kib(root)
    modules = root.findall("devices/memory")
    for one in modules:
        _check_label(one)
    _settle_cells(root)
    _settle_sums(root, modules)
    _settle_slots(root, modules)
    _check_modules(root, modules)


def in_kib(root: Element) -> None:
    """As libvirt writes all sizes."""
    for path in SIZES:
        for one in root.findall(path):
            one.text = str(meaning.kib(meaning.size(one.text or "", one.get("unit"))))
            one.set("unit", "KiB")
    for path, attribute in SIZE_ATTRIBUTES:
        for one in root.findall(path):
            one.set(attribute, str(meaning.kib(meaning.size(one.get(attribute, ""), one.get("unit")))))
            one.set("unit", "KiB")


def kib(root: Element, path: str) -> int:
    """KiB that an element says; none where there is no such element."""
    return int(root.findtext(path) or 0)


def total(modules: Iterable[Element]) -> int:
    """KiB of memory devices together."""
    return sum(kib(one, "target/size") for one in modules)


def cells(root: Element) -> list[Element]:
    """The guest's NUMA nodes."""
    return root.findall("cpu/numa/cell")


def plain(root: Element) -> int:
    """KiB of RAM without memory devices."""
    if found := cells(root):
        return sum(int(one.get("memory", "0")) for one in found)
    return kib(root, "memory") - total(root.findall("devices/memory"))


def set_sums(root: Element, memory: int, current: int) -> None:
    """Write `<memory>` and `<currentMemory>`."""
    for tag, number in (("memory", memory), ("currentMemory", current)):
        one = under(root, tag)
        one.text = str(number)
        one.set("unit", "KiB")


def _check_label(one: Element) -> None:
    if one.find("target/label") is None:
        return
    label = kib(one, "target/label/size")
    if label < _LEAST_LABEL:
        raise Refused("nvdimm label must be at least 128KiB", XML)
    if label >= kib(one, "target/size"):
        raise Refused("label size must be smaller than NVDIMM size", XML)


def _settle_cells(root: Element) -> None:
    highest = -1
    for number, one in enumerate(cells(root)):
        one.set("id", one.get("id", str(number)))
        if one.get("cpus") is not None:
            cpus = meaning.cpus(one.get("cpus"))
            one.set("cpus", format_cpus(cpus))
            highest = max(highest, *cpus)
        reordered(one, "id", "cpus", "memory", "unit")
    if highest >= max_vcpu(root):
        raise Refused("Number of CPUs in <numa> exceeds the <vcpu> count", INTERNAL)
    _check_hugepages(root)
    for page in root.findall("memoryBacking/hugepages/page"):
        nowhere = [node for node in meaning.cpus(page.get("nodeset")) if node >= len(cells(root))]
        if nowhere:
            raise Refused(f"hugepages: node {min(nowhere)} not found")


def _check_hugepages(root: Element) -> None:
    """As qemuValidateDomainDefMemory does."""
    backing = root.find("memoryBacking")
    if backing is None or backing.find("hugepages") is None:
        return
    if backing.find("allocation[@mode='ondemand']") is not None:
        raise Refused("hugepages are not allowed with memory allocation ondemand", UNSUPPORTED)
    if backing.find("source[@type='anonymous']") is not None:
        raise Refused("hugepages are not allowed with anonymous memory source", UNSUPPORTED)


def _settle_sums(root: Element, modules: list[Element]) -> None:
    devices = total(modules)
    memory = plain(root) + devices if cells(root) else kib(root, "memory")
    if devices > memory:
        raise Refused("Total size of memory devices exceeds the total memory size", XML)
    if memory == devices:
        where = "via <memory> or in the <numa> configuration"
        raise Refused(f"Memory size must be specified {where}", XML)
    current = kib(root, "currentMemory")
    set_sums(root, memory, memory if current > memory else current or memory)
    most = root.find("maxMemory")
    if most is None:
        return
    reordered(most, "slots", "unit")
    if kib(root, "maxMemory") < memory:
        raise Refused("maximum memory size must be equal or greater than the actual memory size", XML)


def _settle_slots(root: Element, modules: list[Element]) -> None:
    """The first that is free, for one that names none."""
    if root.find("maxMemory") is None:
        return
    used = {slot(one) for one in modules}
    for one in modules:
        if slot(one) is not None or one.get("model") not in _IN_SLOTS:
            continue
        free = next((number for number in range(_slots(root)) if number not in used), None)
        if free is None:
            raise Refused("failed to find an empty memory slot", INTERNAL)
        add(one, "address", {"type": "dimm", "slot": str(free)})
        used.add(free)


def slot(one: Element) -> int | None:
    """Where a memory device is plugged in."""
    address = one.find("address[@type='dimm']")
    return None if address is None or address.get("slot") is None else int(address.get("slot", ""), 0)


def _slots(root: Element) -> int:
    most = root.find("maxMemory")
    return 0 if most is None else int(most.get("slots", "0"))


def _check_modules(root: Element, modules: list[Element]) -> None:
    count, taken = len(cells(root)), [slot(one) for one in modules]
    for one in modules:
        node = one.findtext("target/node")
        if node is not None and not count:
            raise Refused("can't add memory backend as guest has no NUMA nodes configured")
        if node is not None and int(node) >= count:
            has = f"as the guest has only '{count}' NUMA nodes configured"
            raise Refused(f"can't add memory backend for guest node '{node}' {has}")
        if slot(one) is not None and taken.count(slot(one)) > 1:
            why = f"memory device slot '{slot(one)}' is already being used by another memory device"
            raise Refused(why, UNSUPPORTED)
    if root.find("maxMemory") is not None:
        _check_plugged(root, modules, count)
    elif modules:
        why = "cannot use/hotplug a memory device when domain 'maxMemory' is not defined"
        raise Refused(why, UNSUPPORTED)


def _check_plugged(root: Element, modules: list[Element], cells_: int) -> None:
    if not cells_:
        raise Refused("At least one numa node has to be configured when enabling memory hotplug", UNSUPPORTED)
    slots = _slots(root)
    plugged = [one for one in modules if one.get("model") in _IN_SLOTS]
    for one in plugged:
        if (slot(one) or 0) >= slots:
            raise Refused(f"memory device slot '{slot(one)}' exceeds slots count '{slots}'", UNSUPPORTED)
        if one.find("target/node") is None:
            raise Refused("target NUMA node needs to be specified for memory device", UNSUPPORTED)
    if len(plugged) > slots:
        why = f"count of memory devices requiring memory slots '{len(plugged)}' exceeds slots count '{slots}'"
        raise Refused(why, UNSUPPORTED)
