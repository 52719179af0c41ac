"""The kernel's view of physical memory: `/proc/iomem` and `/sys/firmware/memmap`.

Source: Linux `kernel/resource.c` (`r_show`: two blanks a level, inclusive end, all zeros for those
without CAP_SYS_ADMIN) and `drivers/firmware/memmap.c` (the map as the firmware gave it, which
`memmap=` does not change).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

RAM: Final = "System RAM"
SOFT_RESERVED: Final = "Soft Reserved"

_LINE = re.compile(r"( *)([0-9a-f]{1,16})-([0-9a-f]{1,16}) : (.*)")
_HEX = re.compile(r"(?:0x)?[0-9a-f]{1,16}")
_OF_A_DEVICE = re.compile(r"dax\d+\.\d+", re.ASCII)


class HiddenAddresses(ValueError):
    """Every address is zero: the reader was not root."""


@dataclass(frozen=True, order=True, slots=True)
class Range:
    """Bytes from `start` up to but not including `end`, and what the kernel calls them."""

    start: int
    end: int
    name: str = ""
    depth: int = 0

    @property
    def size(self) -> int:
        """Bytes in it."""
        return self.end - self.start

    def overlaps(self, other: Range) -> bool:
        """Whether any byte is in both."""
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return f"{self.start:#x}-{self.end - 1:#x}"


def parse_iomem(text: str) -> tuple[Range, ...]:
    """Every line in order. ValueError for a line of another form, HiddenAddresses for zeros only."""
    ranges = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"not a line of /proc/iomem: {line[:80]}")
        indent, start, end, name = match.groups()
        ranges.append(_range(start, end, name, len(indent) // 2))
    if not any(one.start or one.end > 1 for one in ranges):
        raise HiddenAddresses("every address in /proc/iomem is zero")
    return tuple(ranges)


def parse_firmware(attributes: Mapping[str, str]) -> tuple[Range, ...]:
    """`/sys/firmware/memmap/N/{start,end,type}` by path, in order of address.

    ValueError if one lacks, or is no address.
    """
    entries: dict[str, dict[str, str]] = {}
    for path, value in attributes.items():
        entry, _, attribute = path.rpartition("/")
        entries.setdefault(entry, {})[attribute] = value.strip()
    try:
        found = [_range(entry["start"], entry["end"], entry["type"]) for entry in entries.values()]
    except KeyError as missing:
        raise ValueError(f"an entry of /sys/firmware/memmap has no {missing.args[0]}") from None
    return tuple(sorted(found))


def _range(start: str, end: str, name: str, depth: int = 0) -> Range:
    """Of the kernel's inclusive bounds in hex."""
    if not (_HEX.fullmatch(start) and _HEX.fullmatch(end)) or int(end, 16) < int(start, 16):
        raise ValueError(f"not a range of addresses: {start[:20]}-{end[:20]} : {name[:40]}")
    return Range(int(start, 16), int(end, 16) + 1, name, depth)


def with_soft_reserved(
    ranges: Iterable[Range], firmware: Iterable[Range], devices: Iterable[Range]
) -> tuple[Range, ...]:
    """`/proc/iomem` with what kernels from 7.0 on do not name any more, as those before do.

    There `Soft Reserved` is shown only by its results, which is nothing at all while no driver has a device
    (commit bc62f5b308cb). So it is what the firmware's map or dax_hmem's `devices` say, and the kernel has
    no other name for.
    """
    ranges = tuple(ranges)
    named = [one for one in ranges if one.depth == 0 and not _OF_A_DEVICE.fullmatch(one.name)]
    soft = joined([*(one for one in firmware if one.name == SOFT_RESERVED), *devices])
    added = [Range(part.start, part.end, SOFT_RESERVED) for one in soft for part in gaps(one, named)]
    below = [
        replace(one, depth=one.depth + 1) if any(one.overlaps(whole) for whole in added) else one
        for one in ranges
    ]
    return tuple(sorted([*below, *added], key=lambda one: (one.start, one.depth))) if added else ranges


def covered(wanted: Range, by: Iterable[Range]) -> bool:
    """Whether every byte is in one of the others."""
    return not gaps(wanted, by)


def gaps(wanted: Range, by: Iterable[Range]) -> tuple[Range, ...]:
    """The parts that are in none of the others."""
    left, missing = wanted.start, []
    for one in sorted(by):
        if one.end <= left:
            continue
        if one.start >= wanted.end:
            break
        if one.start > left:
            missing.append(Range(left, one.start))
        left = one.end
    if left < wanted.end:
        missing.append(Range(left, wanted.end))
    return tuple(missing)


def joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The bytes of ranges by address, without names: neighbours, and what overlaps, as one."""
    runs: list[Range] = []
    for one in sorted(ranges):
        if runs and one.start <= runs[-1].end:
            runs[-1] = Range(runs[-1].start, max(runs[-1].end, one.end))
        else:
            runs.append(Range(one.start, one.end))
    return tuple(runs)
