"""The physical address space of a machine for people: what is where, on which node, cached how.

Pure: `READS` are asked along by `show`, and `memory_map` puts the answers together. What cannot be
read leaves its column open, and a note says why.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Final, TypeVar

from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.read import File, Links, Names, Read
from cxlstate.core.units import format_size
from cxlstate.formats import dax, iomem, kernel_cmdline, memmap, mtrr, restore
from cxlstate.formats.iomem import HiddenAddresses, Range

IOMEM: Final = dax.IOMEM
MTRR: Final = File("/proc/mtrr")
COMMAND_LINE: Final = File("/proc/cmdline")
LINKS: Final = Links(f"{restore.LINKS}/*")
BLOCKS: Final = Names("/sys/devices/system/node/node*/memory*")
BLOCK_SIZE: Final = File("/sys/devices/system/memory/block_size_bytes")

READS: Final[frozenset[Read]] = frozenset(
    {MTRR, COMMAND_LINE, LINKS, BLOCKS, BLOCK_SIZE, dax.PAT, *dax.MEMORY}
)


class Kind(StrEnum):
    """What a range is to somebody who sets up CXL memory. `OTHER` is firmware, kernel, devices."""

    RAM = "ram"
    SOFT_RESERVED = "soft-reserved"
    PERSISTENT = "persistent"
    CXL = "cxl"
    DAX = "dax"
    MEMMAP = "memmap"
    PCI = "pci"
    HOLE = "hole"
    OTHER = "other"


MEMORY: Final = frozenset(Kind) - {Kind.PCI, Kind.HOLE, Kind.OTHER}
DEFAULT: Final = "default"
"""The type of what no register covers, where /proc/mtrr does not let it be told."""

_KINDS: Final = (
    (Kind.RAM, re.compile(r"System RAM")),
    (Kind.SOFT_RESERVED, re.compile(rf"{iomem.SOFT_RESERVED}|hmem\.\d+$")),
    (Kind.PERSISTENT, re.compile(r"Persistent Memory|namespace\d")),
    (Kind.CXL, re.compile(r"CXL Window|region\d+$")),
    (Kind.DAX, re.compile(r"dax\d+\.\d+$")),
    (Kind.PCI, re.compile(r"PCI ")),
)
_BLOCK = re.compile(r".*/node(\d+)/memory(\d+)", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """Bytes from `start` up to but not including `end`; `depth` as /proc/iomem nests them.

    `nodes` and `type` (what the MTRRs come to) are None where they could not be read, and empty where
    they say nothing.
    """

    start: int
    end: int
    depth: int
    kind: Kind
    name: str
    nodes: tuple[int, ...] | None = ()
    type: str | None = ""
    details: tuple[str, ...] = ()
    link: str = ""
    problem: str = ""

    @property
    def size(self) -> int:
        """Bytes in it."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """Rows by address, the registers in use, and what could not be read or is odd."""

    rows: tuple[Row, ...] = ()
    registers: tuple[mtrr.Register, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Seen:
    """The answers, parsed. None: could not be read. Names of `nodes` are numbers, of `asked` arguments."""

    registers: tuple[mtrr.Register, ...] | None
    nodes: tuple[Range, ...] | None
    asked: tuple[Range, ...]
    devices: tuple[dax.Device, ...]
    links: dict[str, str]
    pat: str | None


def memory_map(answers: Answers) -> MemoryMap:
    """The map, of the answers to `READS`. Never fails."""
    notes: list[str] = []

    def told(what: str, parse: Callable[[Answers], T]) -> T | None:
        try:
            return parse(answers)
        except ReadFailed as failed:
            notes.append(f"{what}: {failed.reason}")
        except HiddenAddresses as error:
            notes.append(f"{what}: {error}; connect as root, or as a user with passwordless sudo")
        except ValueError as error:
            notes.append(f"{what}: {error}")
        return None

    ranges = told("memory", lambda said: iomem.parse_iomem(said.text(IOMEM)))
    if ranges is None:
        return MemoryMap(notes=tuple(notes))
    items = told("memmap", _items) or ()
    devices = told("dax devices", dax.read_devices) or ()
    firmware = told("firmware's map", lambda said: iomem.parse_firmware(said.files(dax.FIRMWARE))) or ()
    soft = [part for one in devices if one.region == dax.HMEM for part in one.ranges]
    ranges = iomem.with_soft_reserved(ranges, firmware, soft)
    bound = any(one.driver == dax.DEVDAX for one in devices)
    seen = _Seen(
        registers=told("memory types", lambda said: mtrr.parse(said.text(MTRR))),
        nodes=told("nodes", _nodes),
        asked=tuple(_region(text, item) for text, item in items if isinstance(item, memmap.Region)),
        devices=devices,
        links=(told("links", _links) or {}) if devices else {},
        pat=told("PAT records", lambda said: said.text(dax.PAT)) if bound else None,
    )
    limits = [_limit(text, item) for text, item in items if isinstance(item, memmap.Limit)]
    return MemoryMap(_rows(ranges, seen), seen.registers or (), (*limits, *notes))


# What the answers say ---------------------------------------------------------------------------------


def _items(answers: Answers) -> tuple[tuple[str, memmap.Item], ...]:
    """Every item of every `memmap=` that the kernel was started with, as it was written."""
    return tuple(
        (text, memmap.parse_item(text))
        for argument in kernel_cmdline.parse(answers.text(COMMAND_LINE))
        if argument.name == "memmap" and argument.value
        for text in argument.value.split(",")
    )


def _region(text: str, item: memmap.Region) -> Range:
    return Range(item.start, item.start + item.size, f"memmap={text}")


def _limit(text: str, item: memmap.Limit) -> str:
    return f"memmap={text} has taken away all RAM above {format_size(item.size)}: it says no address"


def _links(answers: Answers) -> dict[str, str]:
    """Our links by the device they point to."""
    return {posixpath.basename(target): path for path, target in answers.files(LINKS).items()}


def _nodes(answers: Answers) -> tuple[Range, ...]:
    """Which memory is on which node, neighbouring blocks joined. A block can be on two of them.

    `block_size_bytes` is hex without a prefix (Documentation/admin-guide/mm/memory-hotplug.rst).
    """
    size = int(answers.text(BLOCK_SIZE), 16)
    matches = [match for path in answers.files(BLOCKS) if (match := _BLOCK.fullmatch(path))]
    found: list[Range] = []
    for node, number in sorted((int(match[1]), int(match[2])) for match in matches):
        block = Range(number * size, (number + 1) * size, str(node))
        if found and found[-1].name == block.name and found[-1].end == block.start:
            found[-1] = replace(found[-1], end=block.end)
        else:
            found.append(block)
    return tuple(found)


# Rows -------------------------------------------------------------------------------------------------


def _rows(ranges: Iterable[Range], seen: _Seen) -> tuple[Row, ...]:
    whole = _with_devices(ranges, seen.devices)
    ends = [one.end for one in whole] + [one.block.end for one in seen.registers or ()]
    holes = iomem.gaps(Range(0, max(ends)), (one for one in whole if one.depth == 0))
    whole += [replace(one, name="(hole)") for one in holes]
    pieces = [row for one in whole for row in _joined(_pieces(one, seen))]
    return tuple(_joined(sorted(pieces, key=lambda row: (row.start, row.depth))))


def _with_devices(ranges: Iterable[Range], devices: Iterable[dax.Device]) -> list[Range]:
    """With every device as wide as it is: the kernel lists one only while a driver has it.

    kmem lists less of it (`dax_kmem_range` in drivers/dax/kmem.c).
    """
    names = {one.name for one in devices}
    kept = [one for one in ranges if one.name not in names]
    for device in devices:
        inside = [one.depth for one in ranges if one.name == device.name]
        for part in device.ranges:
            around = [one.depth for one in kept if one.start <= part.start and part.end <= one.end]
            depth = min(inside, default=max(around, default=-1) + 1)
            kept.append(replace(part, name=device.name, depth=depth))
    return kept


def _pieces(one: Range, seen: _Seen) -> Iterator[Row]:
    """A range, cut where its type, its node or what asked for it may change."""
    kind = _kind(one.name)
    blocks = [register.block for register in seen.registers or ()]
    edges = {edge for block in blocks for edge in (block.base, block.end)}
    others = [*(seen.asked if one.depth == 0 else ()), *(seen.nodes or () if kind is Kind.RAM else ())]
    edges |= {edge for other in others for edge in (other.start, other.end)}
    cuts = sorted({one.start, one.end} | {edge for edge in edges if one.start < edge < one.end})
    for start, end in pairwise(cuts):
        yield _row(replace(one, start=start, end=end), kind, seen)


def _row(one: Range, kind: Kind, seen: _Seen) -> Row:
    if kind is Kind.DAX:
        device = next((device for device in seen.devices if device.name == one.name), None)
        return _dax_row(one, device, seen)
    asked = () if one.depth else tuple(other.name for other in seen.asked if other.overlaps(one))
    if asked and kind is Kind.OTHER:
        kind = Kind.MEMMAP
    memory_type = _type(kind, one, seen.registers)
    bare = kind is Kind.RAM and memory_type == mtrr.UNCACHABLE
    return Row(
        one.start,
        one.end,
        one.depth,
        kind,
        one.name,
        _nodes_of(one, seen.nodes) if kind is Kind.RAM else (),
        memory_type,
        asked,
        problem="RAM without its cache: an MTRR covers it" if bare else "",
    )


def _dax_row(one: Range, device: dax.Device | None, seen: _Seen) -> Row:
    memory_type = _type(Kind.DAX, one, seen.registers)
    row = Row(one.start, one.end, one.depth, Kind.DAX, one.name, None, memory_type)
    if device is None:
        return row
    bound = device.driver == dax.DEVDAX
    mapped = dax.memory_types(seen.pat, one.start, one.end) if bound and seen.pat is not None else ()
    stale = memory_type == mtrr.UNCACHABLE and mtrr.WRITE_BACK in mapped
    return replace(
        row,
        nodes=() if device.target_node is None else (device.target_node,),
        details=(
            device.driver or "no driver",
            f"align {format_size(device.align)}",
            *((f"PAT {', '.join(mapped)}",) if mapped else ()),
        ),
        link=seen.links.get(device.name, ""),
        problem="mapped write-back under uncachable MTRRs" if stale else "",
    )


def _kind(name: str) -> Kind:
    if name == "(hole)":
        return Kind.HOLE
    return next((kind for kind, pattern in _KINDS if pattern.match(name)), Kind.OTHER)


def _type(kind: Kind, one: Range, registers: tuple[mtrr.Register, ...] | None) -> str | None:
    """What the registers come to. What none covers has a type that /proc/mtrr does not show.

    It is write-back unless registers give RAM that type (`mtrr_trim_uncached_memory` in
    arch/x86/kernel/cpu/mtrr/cleanup.c takes away RAM that has neither). Of what is no memory it says nothing.
    """
    if registers is None:
        return None if kind in MEMORY else ""
    if any(register.block.overlaps(one.start, one.end) for register in registers):
        return mtrr.effective(one.start, one.end, registers)
    if kind not in MEMORY:
        return ""
    return DEFAULT if any(register.type == mtrr.WRITE_BACK for register in registers) else mtrr.WRITE_BACK


def _nodes_of(one: Range, nodes: tuple[Range, ...] | None) -> tuple[int, ...] | None:
    return None if nodes is None else tuple(int(node.name) for node in nodes if node.overlaps(one))


def _joined(rows: Iterable[Row]) -> list[Row]:
    """Neighbours that say the same as one."""
    found: list[Row] = []
    for row in rows:
        if found and replace(found[-1], start=row.start, end=row.end) == row and found[-1].end == row.start:
            found[-1] = replace(found[-1], end=row.end)
        else:
            found.append(row)
    return found


def register_text(register: mtrr.Register) -> str:
    """A register as plans write it: `uncachable 0x5000000000+64GiB`."""
    return f"{register.type} {register.block.base:#x}+{format_size(register.block.size)}"
