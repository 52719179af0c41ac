"""The kernel's variable MTRRs: what a write to /proc/mtrr does to them, and what it says.

Sources: Linux 6.12 arch/x86/kernel/cpu/mtrr: `if.c` (`mtrr_write`, `mtrr_seq_show`), `mtrr.c`
(`mtrr_add_page`, `mtrr_del_page`), `generic.c` (`generic_validate_add_page`, `generic_get_free_region`,
`mtrr_type_lookup`). In pages of 4 KiB here, as there. Written apart from `formats/mtrr.py`, so that the one
does not share the errors of the other.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from cxlstate.simulator.versions import version_key
from cxlstate.simulator.world import VariableRange, World

TYPES = ("uncachable", "write-combining", "?", "?", "write-through", "write-protect", "write-back")
UNCACHABLE, WRITE_THROUGH, WRITE_BACK = 0, 4, 6
_PAGE_SHIFT = 12
_WORD = (1 << 64) - 1
_LONGEST = 79  # LINE_SIZE - 1
_FIXED = 3  # what the fixed ranges below 1 MiB usually come to
_MEBIBYTE = 0x100000 >> _PAGE_SHIFT
_FROM = 4 << 30
_NONE, _SEVERAL = -1, -2  # `replace` of the kernel: how many registers of the same type are enclosed


@dataclass
class Register:
    """One variable register in use, in pages. `count` is how often it was asked for."""

    base: int
    size: int
    type: int
    count: int = 1

    @property
    def last(self) -> int:
        """Its last page."""
        return self.base + self.size - 1


class Mtrrs:
    """The registers of one machine; None is a free one. `say` gets each line for the kernel's log."""

    def __init__(
        self,
        registers: list[Register | None],
        width: int = 46,
        say: Callable[[str], None] = lambda _: None,
        forced: int = 0,
    ) -> None:
        self._forced = forced
        self.registers = registers
        self._width = width
        self._say = say

    def text(self) -> str:
        """`mtrr_seq_show()`."""
        lines = []
        for index, one in enumerate(self.registers):
            if one is None:
                continue
            small = one.size < _MEBIBYTE
            size = one.size << (_PAGE_SHIFT - 10) if small else one.size >> (20 - _PAGE_SHIFT)
            lines.append(
                f"reg{index:02}: base=0x{one.base:06x}000 ({one.base >> (20 - _PAGE_SHIFT):5}MB), "
                f"size={size:5}{'K' if small else 'M'}B, count={one.count}: {TYPES[one.type]}\n"
            )
        return "".join(lines)

    def write(self, written: str) -> int:
        """`mtrr_write()`: 0, or the number of the error."""
        line = written[:_LONGEST].removesuffix("\n")
        if line.startswith("disable="):
            number, _ = _number(line.removeprefix("disable="))
            return self.delete(_signed(number))
        found = re.match(r"base=(.*)", line)
        if not found:
            return errno.EINVAL
        base, rest = _number(found[1])
        if not rest.lstrip().startswith("size="):
            return errno.EINVAL
        size, rest = _number(rest.lstrip().removeprefix("size="))
        if base % 4096 or size % 4096 or not rest.lstrip().startswith("type="):
            return errno.EINVAL
        name = rest.lstrip().removeprefix("type=").lstrip()
        if name not in TYPES:
            return errno.EINVAL
        return self.add(base >> _PAGE_SHIFT, size >> _PAGE_SHIFT, TYPES.index(name))

    def add(self, base: int, size: int, kind: int) -> int:
        """`mtrr_add_page()`."""
        impossible = self._impossible(base, size)
        if impossible:
            return self._refuse(impossible)
        replaced = _NONE
        for index, one in enumerate(self.registers):
            if one is None or base > one.last or base + size - 1 < one.base:
                continue
            if base < one.base or base + size - 1 > one.last:
                encloses = base <= one.base and base + size - 1 >= one.last
                if encloses and one.type == kind:
                    replaced = index if replaced == _NONE else _SEVERAL
                elif not encloses or not _compatible(kind, one.type):
                    said = f"0x{base:x}000,0x{size:x}000 overlaps existing"
                    return self._refuse(f"{said} 0x{one.base:x}000,0x{one.size:x}000")
                continue
            if one.type == kind:
                one.count += 1
                return 0
            if not _compatible(kind, one.type):
                said = f"type mismatch for {base:x}000,{size:x}000"
                return self._refuse(f"{said} old: {TYPES[one.type]} new: {TYPES[kind]}")
        return self._put(replaced, Register(base, size, kind))

    def _impossible(self, base: int, size: int) -> str | None:
        """What no register can hold, whatever the others do."""
        if not _aligned(base, size):
            return f"mtrr: base(0x{base:x}000) is not aligned on a size(0x{size:x}000) boundary"
        if not size:
            return "zero sized request"
        if (base | (base + size - 1) & _WORD) >> (self._width - _PAGE_SHIFT):
            return "base or size exceeds the MTRR width"
        return None

    def _put(self, replaced: int, new: Register) -> int:
        """Into the register that it replaces, or else into the first free one."""
        old = self.registers[replaced] if replaced >= 0 else None
        if old is not None:
            new.count = old.count + 1
            self.registers[replaced] = new
            return 0
        if None not in self.registers:
            return self._refuse("no more MTRRs available", errno.ENOSPC)
        self.registers[self.registers.index(None)] = new
        return 0

    def delete(self, index: int) -> int:
        """`mtrr_del_page()` without a range: a negative number means the first free register."""
        if index < 0 and None not in self.registers:
            return errno.EINVAL
        index = self.registers.index(None) if index < 0 else index
        if index >= len(self.registers):
            return self._refuse(f"register: {index} too big")
        one = self.registers[index]
        if one is None:
            return self._refuse(f"MTRR {index} not used")
        one.count -= 1
        if one.count < 1:
            self.registers[index] = None
        return 0

    def lookup(self, start: int, end: int) -> int:
        """`mtrr_type_lookup()`: what a range of bytes comes to, all its parts taken together."""
        if start >= _FROM and end <= self._forced:  # amd_special_default_mtrr() in cleanup.c
            return WRITE_BACK
        edges = {start, end}
        spans = [(one.base << _PAGE_SHIFT, (one.last + 1) << _PAGE_SHIFT, one.type) for one in self._used()]
        edges |= {edge for low, high, _ in spans for edge in (low, high) if start < edge < end}
        parts = [
            _together([kind for at, to, kind in spans if at < high and low < to])
            for low, high in pairwise(sorted(edges))
        ]
        return _together(parts)

    def _used(self) -> list[Register]:
        return [one for one in self.registers if one is not None]

    def _refuse(self, why: str, number: int = errno.EINVAL) -> int:
        self._say(why)
        return number


def _together(kinds: Sequence[int]) -> int:
    """`get_effective_type()` over several; of none, the default type."""
    if not kinds:
        return WRITE_BACK
    result, *others = kinds
    for kind in others:
        if UNCACHABLE in (result, kind):
            result = UNCACHABLE
        elif {result, kind} == {WRITE_BACK, WRITE_THROUGH}:
            result = WRITE_THROUGH
        elif result != kind:
            result = UNCACHABLE
    return result


def _compatible(one: int, other: int) -> bool:
    """`types_compatible()`."""
    return UNCACHABLE in (one, other) or {one, other} == {WRITE_THROUGH, WRITE_BACK}


def _aligned(base: int, size: int) -> bool:
    """`generic_validate_add_page()`, which finds no fault with a size of 0 at 0."""
    last = (base + size - 1) & _WORD
    while not base & 1 and last & 1:
        base, last = base >> 1, last >> 1
    return base == last


def _number(text: str) -> tuple[int, str]:
    """`simple_strtoull()` with base 0: 0 where there is no number; `08` is the octal 0, and an 8 behind."""
    found = re.match(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*", text)
    if not found:
        return 0, text
    digits = found[0]
    octal = digits[0] == "0" and digits.isdigit()
    return int(digits, 8 if octal else 0) & _WORD, text[found.end() :]


def _signed(number: int) -> int:
    """An unsigned long handed over as an int."""
    low = number & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def of(world: World) -> Mtrrs:
    """The registers that the machine has at this moment."""
    registers: list[Register | None] = [None] * world.mtrr.registers
    for one in world.running.mtrr:
        base, size = (int(text, 16) >> _PAGE_SHIFT for text in (one.base, one.size))
        registers[one.index] = Register(base, size, TYPES.index(one.type), one.count)
    forced = int(world.mtrr.forced or "0", 16)
    return Mtrrs(registers, world.mtrr.width, lambda line: say(world, line), forced)


def write(world: World, line: str) -> int:
    """A write to /proc/mtrr: 0, or the number of the error."""
    mtrrs = of(world)
    ended = mtrrs.write(line)
    world.running.mtrr = [
        VariableRange(
            index,
            f"{one.base << _PAGE_SHIFT:#x}",
            f"{one.size << _PAGE_SHIFT:#x}",
            TYPES[one.type],
            one.count,
        )
        for index, one in enumerate(mtrrs.registers)
        if one is not None
    ]
    return ended


def boot(world: World) -> None:
    """What the firmware has set, and what the kernel says of it.

    Since Linux 6.5 that is one line (`mtrr_build_map`), before one for each register (`print_mtrr_state`).
    """
    if not world.mtrr.registers:
        say(world, "MTRRs disabled by BIOS")
        return
    world.running.mtrr = [replace(one) for one in world.mtrr.firmware]
    used, number, forced = len(world.running.mtrr), world.mtrr.registers, int(world.mtrr.forced or "0", 16)
    if version_key(world.running.kernel) < version_key("6.5"):
        say(world, "MTRR variable ranges enabled:")
        for index, one in enumerate(of(world).registers):
            say(world, f"  {index} {_old_form(one, world.mtrr.width) if one else 'disabled'}")
        if forced:
            say(world, f"TOM2: {forced:016x} aka {forced >> 20}M")
        return
    more = bool(forced)  # mtrr_tom2 != 0
    parts = f"{_FIXED} fixed + {used + more} variable; max {_FIXED + 2 * number + more}"
    say(
        world,
        f"MTRR map: {_FIXED + used + more} entries ({parts}), built from {number + more} variable MTRRs",
    )


def _old_form(one: Register, width: int) -> str:
    mask = ((1 << width - _PAGE_SHIFT) - 1) & ~(one.size - 1)
    digits = (width - _PAGE_SHIFT + 3) // 4
    return f"base {one.base:0{digits}X}000 mask {mask:0{digits}X}000 {TYPES[one.type]}"


def say(world: World, line: str) -> None:
    """A line of the kernel's log."""
    world.running.log.append(f"[{len(world.running.log) / 8:12.6f}] {line}")
