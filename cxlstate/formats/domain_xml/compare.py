"""What of a wish is not there, by meaning. Pure.

What libvirt adds, re-orders, rounds or expands is no difference; nor is what the wish does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from cxlstate.core.change import Leaf
from cxlstate.core.domain import Cell, CpuNumbers, Disk, Domain, Interface, MemNode, Nvdimm, Topology
from cxlstate.core.path import Path
from cxlstate.core.units import format_cpus, format_size
from cxlstate.formats.domain_xml.meaning import (
    CELL_STEP,
    MODULE_STEP,
    is_machine,
    is_model,
    kib,
    meant_alignsize,
    pair,
)
from cxlstate.formats.domain_xml.read import ROM

T = TypeVar("T")
Pins = tuple[tuple[int, CpuNumbers], ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """`path` is in the words of a spec, with the index in the wish; values as people write them.

    `entry` names the device that the index stands for: its slot, path, target or MAC address.
    """

    path: Path
    old: Leaf
    new: Leaf
    entry: str = ""


def differences(wish: Domain, live: Domain, *, running: bool = False) -> tuple[Difference, ...]:
    """Where `live` is not what is wished.

    `running`: it was read from the XML of a domain that runs. There libvirt has rounded memory up
    and put the host's CPU in the place of `host-model`.
    """
    return (
        *_memory(wish, live, running=running),
        *_vcpus(wish, live),
        *_numatune(wish, live),
        *_cpu(wish, live, running=running),
        *_nvdimms(wish, live, running=running),
        *_disks(wish, live),
        *_interfaces(wish, live),
        *_os(wish, live),
    )


def _leaf(
    path: Path,
    wished: T | None,
    live: T | None,
    show: Callable[[T], Leaf],
    same: Callable[[T, T], bool] = lambda one, other: one == other,
) -> Iterator[Difference]:
    if wished is None or (live is not None and same(wished, live)):
        return
    yield Difference(path, None if live is None else show(live), show(wished))


def _moved(path: Path, wished: str | None, live: str | None, instead: str | None) -> Iterator[Difference]:
    """Where a device is; `instead` is told of one that is somewhere else, and will not be there any more."""
    for one in _leaf(path, wished, live, _itself):
        yield one if live is not None else replace(one, old=instead)


def _whole(path: Path, wished: T | None, live: T | None, show: Callable[[T], Leaf]) -> Iterator[Difference]:
    """An entry of a list that is there and should not be, or the other way round."""
    yield Difference(path, None if live is None else show(live), None if wished is None else show(wished))


def _itself(value: T) -> T:
    return value


def _same_size(step: int) -> Callable[[int, int], bool]:
    """Whether it may have been rounded up to a whole number of steps, or of KiB."""

    def same(wished: int, live: int) -> bool:
        return kib(wished) == kib(live) or wished <= live < wished + step

    return same


_same_kib: Final = _same_size(0)


# Memory and CPUs --------------------------------------------------------------------------------------


def _memory(wish: Domain, live: Domain, *, running: bool) -> Iterator[Difference]:
    step = CELL_STEP * max(1, len(live.cells or ())) if running else 0
    yield from _leaf(("memory",), wish.memory, live.memory, format_size, _same_size(step))
    yield from _leaf(("hugepages",), wish.hugepages, live.hugepages, _page, _same_kib)


def _page(size: int) -> str:
    return format_size(size) if size else "the host's default size"


def _vcpus(wish: Domain, live: Domain) -> Iterator[Difference]:
    yield from _leaf(("vcpu",), wish.vcpu, live.vcpu, _itself)
    yield from _leaf(("maxvcpus",), wish.max_vcpu, live.max_vcpu or live.vcpu, _itself)
    yield from _pins("vcpupin", wish.vcpupin, live.vcpupin)
    yield from _leaf(("emulatorpin",), wish.emulatorpin, live.emulatorpin, format_cpus)
    yield from _leaf(("iothreads",), wish.iothreads, live.iothreads or 0, _itself)
    yield from _pins("iothreadpin", wish.iothreadpin, live.iothreadpin)


def _pins(word: str, wished: Pins | None, live: Pins | None) -> Iterator[Difference]:
    there = dict(live or ())
    for index, (number, cpus) in enumerate(wished or ()):
        yield from _leaf((word, index), cpus, there.get(number), format_cpus)


def _numatune(wish: Domain, live: Domain) -> Iterator[Difference]:
    yield from _leaf(("numatune", "mode"), wish.numa_mode, live.numa_mode, _itself)
    yield from _leaf(("numatune", "nodeset"), wish.numa_nodeset, live.numa_nodeset, format_cpus)
    there = {one.cellid: one for one in live.memnodes or ()}
    for index, one in enumerate(wish.memnodes or ()):
        path: Path = ("numatune", "memnode", index)
        other = there.pop(one.cellid, None)
        if other is None:
            yield from _whole(path, one, other, _memnode)
        else:
            yield from _leaf((*path, "mode"), one.mode, other.mode, _itself)
            yield from _leaf((*path, "nodeset"), one.nodeset, other.nodeset, format_cpus)
    for other in there.values() if wish.memnodes is not None else ():
        yield from _whole(("numatune", "memnode"), None, other, _memnode)


def _memnode(one: MemNode) -> str:
    return f"cell {one.cellid} {one.mode} from node {format_cpus(one.nodeset)}"


def _cpu(wish: Domain, live: Domain, *, running: bool) -> Iterator[Difference]:
    # A running domain shows the model that host-model came to (virQEMUCaps, `update-cpu`).
    is_expanded = running and (wish.cpu_mode, live.cpu_mode) == ("host-model", "custom")
    if not is_expanded:
        yield from _leaf(("cpu", "mode"), wish.cpu_mode, live.cpu_mode, _itself)
    yield from _leaf(("cpu", "topology"), wish.topology, live.topology, _topology, _same_topology)
    there = {one.id: one for one in live.cells or ()}
    for index, one in enumerate(wish.cells or ()):
        path: Path = ("cpu", "numa", index)
        other = there.pop(one.id, None)
        if other is None:
            yield from _whole(path, one, other, _cell)
        else:
            same = _same_size(CELL_STEP if running else 0)
            yield from _leaf((*path, "cpus"), one.cpus, other.cpus, format_cpus)
            yield from _leaf((*path, "memory"), one.memory, other.memory, format_size, same)
    for other in there.values() if wish.cells is not None else ():
        yield from _whole(("cpu", "numa"), None, other, _cell)


def _topology(one: Topology) -> str:
    """Dies and clusters, which few have, where there are several."""
    words = [("sockets", one.sockets), ("dies", one.dies), ("clusters", one.clusters)]
    words += [("cores", one.cores), ("threads", one.threads)]
    few = ("dies", "clusters")
    return ", ".join(f"{name} {count}" for name, count in words if name not in few or (count or 1) > 1)


def _same_topology(wished: Topology, live: Topology) -> bool:
    has = replace(live, dies=live.dies or 1, clusters=live.clusters or 1)
    return replace(wished, dies=wished.dies or has.dies, clusters=wished.clusters or has.clusters) == has


def _cell(one: Cell) -> str:
    return f"cell {one.id}: CPUs {format_cpus(one.cpus) or 'none'}, {format_size(one.memory)}"


# Devices ----------------------------------------------------------------------------------------------


def _nvdimms(wish: Domain, live: Domain, *, running: bool) -> Iterator[Difference]:
    there = live.nvdimm or ()
    pairs = pair(wish.nvdimm or (), there)
    for index, (one, found) in enumerate(zip(wish.nvdimm or (), pairs, strict=True)):
        path: Path = ("nvdimm", index)
        other = None if found is None else there[found]
        if other is None or one.absent:
            yield from _presence(path, one, other, absent=one.absent, show=_nvdimm)
        else:
            name = other.path or "" if other.slot is None else f"slot {other.slot}"
            yield from _named(name, _of_nvdimm(path, one, other, running=running))


def _named(entry: str, found: Iterator[Difference]) -> Iterator[Difference]:
    return (replace(one, entry=entry) for one in found)


def _of_nvdimm(path: Path, one: Nvdimm, other: Nvdimm, *, running: bool) -> Iterator[Difference]:
    yield from _leaf((*path, "path"), one.path, other.path, _itself)
    same = _same_size(MODULE_STEP if running else 0)
    yield from _leaf((*path, "size"), one.size, other.size, format_size, same)
    yield from _leaf((*path, "label"), one.label, other.label, format_size, _same_kib)
    alignsize = meant_alignsize(one, other)
    yield from _leaf((*path, "alignsize"), alignsize, other.alignsize, format_size, _same_kib)
    yield from _leaf((*path, "pmem"), one.pmem, other.pmem, _itself)
    yield from _leaf((*path, "access"), one.access, other.access, _itself)
    yield from _leaf((*path, "node"), one.node, other.node, _itself)
    yield from _leaf((*path, "slot"), one.slot, other.slot, _itself)


def _presence(
    path: Path, wished: T, live: T | None, *, absent: bool, show: Callable[[T], Leaf]
) -> Iterator[Difference]:
    if absent and live is not None:
        yield from _whole(path, None, live, show)
    elif not absent and live is None:
        yield from _whole(path, wished, None, show)


def _nvdimm(one: Nvdimm) -> str:
    size = "" if one.size is None else f"{format_size(one.size)} "
    slot = "" if one.slot is None else f" in slot {one.slot}"
    derived = one.alignsize is None and one.least_align is not None
    how = f" ({one.access}, aligned to {format_size(one.least_align or 0)})" if derived else ""
    return (f"{size}from {one.path}{slot}" if one.path else f"an NVDIMM{slot}") + how


def _by(key: Callable[[T], Hashable], there: Sequence[T] | None) -> Mapping[Hashable, T]:
    """The first of each key, as libvirt would find it."""
    return {key(one): one for one in reversed(there or ())}


def _disks(wish: Domain, live: Domain) -> Iterator[Difference]:
    there = _by(lambda one: one.target, live.disks)
    for index, one in enumerate(wish.disks or ()):
        path: Path = ("disks", index)
        other = there.get(one.target)
        if other is None or one.absent:
            yield from _presence(path, one, other, absent=one.absent, show=_disk)
        else:
            yield from _named(one.target, _of_disk(path, one, other))


def _of_disk(path: Path, one: Disk, other: Disk) -> Iterator[Difference]:
    yield from _moved((*path, "path"), one.path, other.path, other.source)
    yield from _leaf((*path, "format"), one.format, other.format, _itself)
    yield from _leaf((*path, "bus"), one.bus, other.bus, _itself)
    yield from _leaf((*path, "cache"), one.cache, other.cache or "default", _itself)
    if (one.device or other.device) != "cdrom":  # which is readonly by nature
        yield from _leaf((*path, "readonly"), one.readonly, other.readonly, _itself)
    yield from _leaf((*path, "device"), one.device, other.device, _itself)


def _disk(one: Disk) -> str:
    words = [one.device if one.device != "disk" else None, one.format, one.bus]
    more = ", ".join(filter(None, words))
    return f"{one.path or one.source or 'no path'}{f' ({more})' if more else ''}"


def _interfaces(wish: Domain, live: Domain) -> Iterator[Difference]:
    there = _by(lambda one: one.mac, live.interfaces)
    for index, one in enumerate(wish.interfaces or ()):
        path: Path = ("interfaces", index)
        other = there.get(one.mac)
        if other is None or one.absent:
            yield from _presence(path, one, other, absent=one.absent, show=_interface)
        else:
            yield from _named(one.mac, _of_interface(path, one, other))


def _of_interface(path: Path, one: Interface, other: Interface) -> Iterator[Difference]:
    yield from _moved((*path, "network"), one.network, other.network, other.source)
    yield from _moved((*path, "bridge"), one.bridge, other.bridge, other.source)
    yield from _leaf((*path, "model"), one.model, other.model, _itself, is_model)
    up = other.link is not False
    yield from _leaf((*path, "link"), one.link, up, lambda up: "up" if up else "down")


def _interface(one: Interface) -> str:
    where = f"network {one.network}" if one.network else f"bridge {one.bridge}" if one.bridge else one.source
    return f"{one.mac} in {where or 'elsewhere'}"


# The rest ---------------------------------------------------------------------------------------------


def _is_firmware(wished: str, live: str) -> bool:
    """It cannot be told what a ROM is that was named by hand."""
    return live in (wished, ROM)


def _os(wish: Domain, live: Domain) -> Iterator[Difference]:
    yield from _leaf(("os", "machine"), wish.machine, live.machine, _itself, is_machine)
    yield from _leaf(("os", "firmware"), wish.firmware, live.firmware, _itself, _is_firmware)
    for word, wished, there in (
        ("kernel", wish.kernel, live.kernel),
        ("initrd", wish.initrd, live.initrd),
        ("cmdline", wish.cmdline, live.cmdline),
    ):
        if wished is not None and wished != (there or ""):
            yield Difference(("os", word), there, wished or None)
    yield from _leaf(("os_variant",), wish.os_variant, live.os_variant, _itself)
    yield from _leaf(("console",), wish.console, live.console, _itself)
