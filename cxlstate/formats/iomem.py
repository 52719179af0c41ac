"""The kernel's view of physical memory: `/proc/iomem` and `/sys/firmware/memmap`.

Source: Linux `kernel/resource.c` (`r_show`: two blanks a level, inclusive end, all zeros for those
without CAP_SYS_ADMIN) and `drivers/firmware/memmap.c` (the map as the firmware gave it, which
`memmap=` does not change).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

RAM: Final = "System RAM"

_LINE = re.compile(r"( *)([0-9a-f]+)-([0-9a-f]+) : (.*)")


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
        ranges.append(Range(int(start, 16), int(end, 16) + 1, name, len(indent) // 2))
    if not any(one.start or one.end > 1 for one in ranges):
        raise HiddenAddresses("every address in /proc/iomem is zero")
    return tuple(ranges)


def parse_firmware(attributes: Mapping[str, str]) -> tuple[Range, ...]:
    """`/sys/firmware/memmap/N/{start,end,type}` by path, in order of address. ValueError if one lacks."""
    entries: dict[str, dict[str, str]] = {}
    for path, value in attributes.items():
        entry, _, attribute = path.rpartition("/")
        entries.setdefault(entry, {})[attribute] = value.strip()
    try:
        return tuple(
            sorted(
                Range(int(entry["start"], 16), int(entry["end"], 16) + 1, entry["type"])
                for entry in entries.values()
            )
        )
    except KeyError as missing:
        raise ValueError(f"an entry of /sys/firmware/memmap has no {missing.args[0]}") from None


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
