"""Memory type range registers: `/proc/mtrr`, what several of them come to, and ranges that cover.

Sources: Linux 6.12 `arch/x86/kernel/cpu/mtrr/if.c` (`mtrr_seq_show`: unused registers are left out,
addresses in hex of 4 KiB pages, sizes in KiB below 1 MiB and else in MiB) and `generic.c`
(`get_effective_type`). All numbers are bytes; `end` is exclusive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

PAGE: Final = 4096
UNCACHABLE: Final = "uncachable"
WRITE_BACK: Final = "write-back"
TYPES: Final = (UNCACHABLE, "write-combining", "write-through", "write-protect", WRITE_BACK)
"""As the kernel spells them (mtrr_strings in `if.c`); `uncachable` is its spelling."""

_LINE = re.compile(
    r"reg(\d+): base=0x([0-9a-f]+) \( *\d+MB\), size= *(\d+)([KM])B, count=(\d+): ([a-z?-]+)", re.ASCII
)
_MAP = re.compile(r"MTRR map: \d+ entries \((\d{1,9}) fixed \+ \d+ variable; max (\d{1,9})\)", re.ASCII)
_WIDTH = re.compile(r"address sizes\s*: (\d{1,2}) bits physical", re.ASCII)
_OLD_LINE = re.compile(
    r"(?:<\d+>)?(?:\[[^\]]*\] ?)* *(\d+) (?:disabled|base [0-9A-F]+ mask [0-9A-F]+ [a-z-]+)", re.ASCII
)


@dataclass(frozen=True, order=True, slots=True)
class Block:
    """One range that a register can hold: a power of two in size, and aligned on it."""

    base: int
    size: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.base + self.size

    def holds(self, other: Block) -> bool:
        """Whether all of the other is in it."""
        return self.base <= other.base and other.end <= self.end

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any byte of it is in a range."""
        return self.base < end and start < self.end

    @property
    def fits(self) -> bool:
        """Whether a register can hold it (`mtrr_add_page`, `generic_validate_add_page`)."""
        power = self.size >= PAGE and self.size & (self.size - 1) == 0
        return power and self.base % self.size == 0


@dataclass(frozen=True, slots=True)
class Register:
    """A register in use. `count` is how often the same line was written."""

    index: int
    block: Block
    type: str
    count: int = 1


def parse(text: str) -> tuple[Register, ...]:
    """The registers in use. ValueError for a line of another form."""
    found = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"not a line of /proc/mtrr: {line[:80]}")
        index, base, size, unit, count, kind = match.groups()
        block = Block(int(base, 16), int(size) << (10 if unit == "K" else 20))
        found.append(Register(int(index), block, kind, int(count)))
    return tuple(found)


def top_of_memory(cpuinfo: str) -> int | None:
    """The first byte behind what a register can hold, from a line of /proc/cpuinfo.

    `mtrr_add_page` refuses what exceeds `x86_phys_bits`, which `show_cpuinfo` prints as `address sizes`
    (arch/x86/kernel/cpu/proc.c): memory encryption has taken its bits off already.
    """
    match = _WIDTH.search(cpuinfo)
    return 1 << int(match[1]) if match else None


def variable_registers(kernel_log: str) -> int | None:
    """How many variable registers there are, where the kernel's log still says so.

    Linux 6.5 and later say it in one line (`mtrr_build_map` in `generic.c`), older ones have a line for
    each register (`print_mtrr_state`), on processors of every maker. The number behind `built from` is one
    more where an AMD processor forces a type up to TOM2, so `max` is used, which tells the two apart.
    """
    if match := _MAP.search(kernel_log):
        return _room_of_map(match) // 2
    _, head, behind = kernel_log.rpartition("MTRR variable ranges ")
    count = 0
    for line in behind.splitlines()[1:] if head else ():
        match = _OLD_LINE.fullmatch(line)
        if match is None or int(match[1]) != count:
            break
        count += 1
    return count or None


def forces_write_back(kernel_log: str) -> bool:
    """Whether the log of Linux 6.5 and later says that write-back is forced from 4 GiB to TOM2.

    It does not say where that is (`amd_special_default_mtrr` in `cleanup.c`).
    """
    match = _MAP.search(kernel_log)
    return match is not None and _room_of_map(match) % 2 == 1


def _room_of_map(match: re.Match[str]) -> int:
    """`get_cache_map_size` in `generic.c` without the fixed entries: 2 * registers, + 1 with TOM2."""
    return int(match[2]) - int(match[1])


def effective(start: int, end: int, registers: Iterable[Register], default: str = WRITE_BACK) -> str | None:
    """The type that all of a range has; None where parts of it differ.

    `default` is that of what no register covers. /proc/mtrr does not show it; the kernel needs it to be
    write-back or has RAM covered by registers.
    """
    registers = tuple(registers)
    edges = {start, end}
    for one in registers:
        edges |= {edge for edge in (one.block.base, one.block.end) if start < edge < end}
    points = sorted(edges)
    kinds = {
        _together([one.type for one in registers if one.block.overlaps(low, high)], default)
        for low, high in pairwise(points)
    }
    return kinds.pop() if len(kinds) == 1 else None


def _together(types: Sequence[str], default: str) -> str:
    """`get_effective_type()`: uncachable wins; write-through wins over write-back; other mixes are UC."""
    kinds = set(types)
    if not kinds:
        return default
    if len(kinds) == 1:
        return kinds.pop()
    return "write-through" if kinds == {"write-through", WRITE_BACK} else UNCACHABLE


def cover(start: int, end: int, low: int, high: int) -> tuple[Block, ...]:
    """The fewest blocks that cover [start, end) and stay within [low, high), by address.

    Blocks that registers can hold nest or are apart, so taking the largest one that fits at the first
    uncovered byte is optimal. ValueError where the window does not hold the range, or an edge is no
    multiple of a page.
    """
    if not low <= start < end <= high or any(edge % PAGE for edge in (start, end, low, high)):
        raise ValueError("the window does not hold the range, in whole pages")
    blocks = []
    at = start
    while at < end:
        size = PAGE
        while True:
            wider = size * 2
            base = at - at % wider
            if base < low or base + wider > high:
                break
            size = wider
        block = Block(at - at % size, size)
        blocks.append(block)
        at = block.end
    return tuple(blocks)


def cover_all(ranges: Sequence[tuple[int, int]], low: int, high: int) -> tuple[Block, ...]:
    """The same for ranges of one device, by address: blocks reach beyond its ends, never into its gaps.

    Memory of another device can be there.
    """
    last = len(ranges) - 1
    reaches = [(start if at else low, end if at < last else high) for at, (start, end) in enumerate(ranges)]
    pairs = zip(ranges, reaches, strict=True)
    return tuple(block for part, reach in pairs for block in cover(*part, *reach))
