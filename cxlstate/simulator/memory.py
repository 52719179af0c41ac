"""The memory map, as arch/x86/kernel/e820.c makes it from the firmware's and from `memmap=`.

Ranges are half open here, in bytes; types are the kernel's numbers (asm/e820/types.h).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

RAM = 1
PMEM = 7
PRAM = 12
SOFT_RESERVED = 0xEFFFFFFF
NAMES = {
    RAM: "System RAM",
    2: "Reserved",
    3: "ACPI Tables",
    4: "ACPI Non-volatile Storage",
    5: "Unusable memory",
    PMEM: "Persistent Memory",
    PRAM: "Persistent Memory (legacy)",
    SOFT_RESERVED: "Soft Reserved",
}
TYPES = {name: number for number, name in NAMES.items()}
_NEVER_MERGED = (PRAM, SOFT_RESERVED)  # e820_nomerge()
_TOP = 1 << 64
_PAGE = 4096
_BIOS = (0xA0000, 0x100000)
_SUFFIXES = {suffix: 10 * power for power, suffix in enumerate("KMGTPE", start=1)}
_BY_SIGN = {"@": RAM, "#": 3, "$": 2, "!": PRAM}


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes from `start` up to, but not including, `end`."""

    start: int
    end: int
    type: int


def parse_number(text: str) -> tuple[int | None, str]:
    """`memparse()` of lib/cmdline.c: a number in C's notation, one suffix; the rest. None: no number."""
    found = re.match(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*", text)
    if not found:
        return None, text
    digits = found[0]
    octal = digits[0] == "0" and digits.isdigit()
    value = int(digits, 8 if octal else 0)
    rest = text[found.end() :]
    if rest and rest[0].upper() in _SUFFIXES:
        return (value << _SUFFIXES[rest[0].upper()]) % _TOP, rest[1:]
    return value, rest


def boot_map(firmware: Sequence[Range], arguments: Iterable[tuple[str, str | None]]) -> list[Range]:
    """What the kernel has made of the firmware's map once `memmap=` and `mem=` were taken in."""
    table = list(firmware)
    for name, value in arguments:
        if name == "memmap":
            for item in (value or "").split(","):
                table = _memmap(table, item)
        elif name == "mem" and value:
            table = _limited(table, parse_number(value)[0])
    table = _update(table, 0, _PAGE, old=RAM, new=2)
    return _merged(_remove(table, *_BIOS, RAM))


def _memmap(table: list[Range], item: str) -> list[Range]:
    """`parse_memmap_one()`. What it refuses half-way has had its effect all the same."""
    if item.startswith("exactmap"):
        return []
    size, rest = parse_number(item)
    if size is None:
        return table
    sign = rest[:1]
    if sign in _BY_SIGN:
        start = parse_number(rest[1:])[0] or 0
        return [*table, Range(start, start + size, _BY_SIGN[sign])]
    if sign == "%":
        return _converted(table, size, rest[1:])
    return _limited(table, size)


def _converted(table: list[Range], size: int, rest: str) -> list[Range]:
    """The form `nn%ss[-old][+new]`."""
    start, rest = parse_number(rest)
    found = re.fullmatch(r"(?:-(0x[0-9a-fA-F]+|\d+))?(?:\+(0x[0-9a-fA-F]+|\d+))?", rest)
    if not found:
        return table
    begin = start or 0
    old, new = (int(text, 0) if text else 0 for text in found.groups())
    if old and new:
        return _update(table, begin, begin + size, old=old, new=new)
    if new:
        return [*table, Range(begin, begin + size, new)]
    return _remove(table, begin, begin + size, old or None)


def _limited(table: list[Range], size: int | None) -> list[Range]:
    return table if not size else _remove(table, size, _TOP, RAM)


def _update(table: list[Range], start: int, end: int, *, old: int, new: int) -> list[Range]:
    inside = [
        Range(max(start, one.start), min(end, one.end), new)
        for one in table
        if one.type == old and max(start, one.start) < min(end, one.end)
    ]
    return [*_remove(table, start, end, old), *inside]


def _remove(table: list[Range], start: int, end: int, kind: int | None) -> list[Range]:
    """Cut a range out of the entries of one type, or of all."""
    left: list[Range] = []
    for one in table:
        if kind not in (None, one.type):
            left.append(one)
            continue
        for low, high in ((one.start, min(one.end, start)), (max(one.start, end), one.end)):
            if low < high:
                left.append(Range(low, high, one.type))
    return left


def _merged(table: list[Range]) -> list[Range]:
    """`e820__update_table()`: where entries overlap, the numerically larger type wins."""
    points = sorted({point for one in table for point in (one.start, one.end)})
    merged: list[Range] = []
    for low, high in pairwise(points):
        kind = max((one.type for one in table if one.start <= low and high <= one.end), default=0)
        last = merged[-1] if merged else None
        if not kind:
            continue
        if last and last.end == low and last.type == kind and kind not in _NEVER_MERGED:
            merged[-1] = Range(last.start, high, kind)
        else:
            merged.append(Range(low, high, kind))
    return merged
