"""`memmap=` as the kernel reads it.

Source: Linux 6.12 `arch/x86/kernel/e820.c` (`parse_memmap_opt`, `parse_memmap_one`) and
`arch/x86/boot/compressed/kaslr.c` (`mem_avoid_memmap`). A size with nothing behind it limits all RAM to
that size, *also where the rest is refused*: that is what an eaten `$` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cxlstate.core.units import format_address, format_size
from cxlstate.formats.iomem import Range, gaps, joined
from cxlstate.formats.kernel_cmdline import Argument
from cxlstate.formats.memparse import PREFIXES, memparse

MAX_KASLR_REGIONS: Final = 4
"""More than these are not kept free of the kernel when it is placed at random (MAX_MEMMAP_REGIONS)."""

KASLR_AVOIDS: Final = frozenset("#$!")
TYPES: Final = {"$": "reserved", "#": "acpi", "!": "pmem"}
"""What `host.memmap` calls them."""

_CONVERSION: Final = re.compile(
    r"(?:-(0x[0-9a-f]+|[0-9]+))?(?:\+(0x[0-9a-f]+|[0-9]+))?", re.ASCII | re.IGNORECASE
)
_RAM_TYPE: Final = 1  # E820_TYPE_RAM
_E820: Final = {"@": 1, "$": 2, "#": 3, "!": 12}
"""`enum e820_type` in `arch/x86/include/asm/e820/types.h`."""
_EFI_MEMORY_SP: Final = 0x40000  # Documentation/admin-guide/kernel-parameters.txt of 6.1, efi_fake_mem=


@dataclass(frozen=True, slots=True)
class Region:
    """`size` bytes from `start` become what `sign` says: `@` RAM, `#` ACPI, `$` reserved, `!` pmem, `%`.

    `types` is what stands behind the start of a `%`: `-OLD+NEW`, both of which may be left out.
    """

    sign: str
    start: int
    size: int
    types: str = ""

    @property
    def takes_ram(self) -> bool:
        """Whether RAM there is none of the kernel's any more.

        `%` converts what has the old type, or all of it; without a new type it is taken out of the map. With
        anything behind the types it does nothing (`parse_memmap_one`).
        """
        if self.sign != "%":
            return self.sign in TYPES
        types = self._conversion()
        return types is not None and types[0] in (0, _RAM_TYPE) and types[1] != _RAM_TYPE

    def _conversion(self) -> tuple[int, int] | None:
        """Old and new type of a `%`, 0 for none; None where it does nothing."""
        match = _CONVERSION.fullmatch(self.types)
        old, new = (memparse(one)[0] for one in match.groups(default="0")) if match else (0, 0)
        return (old, new) if match else None

    def wins_over(self, other: Region) -> bool:
        """Whether memory in both becomes what this one says: of a larger type (`e820__update_table`).

        A `%` that makes it of RAM counts as that type. One that changes what another argument made is not
        looked at, nor is `other` as a `%`.
        """
        theirs, mine = _E820.get(other.sign), _E820.get(self.sign)
        if self.sign == "%" and (types := self._conversion()) and types[0] in (0, _RAM_TYPE):
            mine = types[1]
        apart = self.start + self.size <= other.start or other.start + other.size <= self.start
        return not apart and None not in (theirs, mine) and (mine or 0) > (theirs or 0)


@dataclass(frozen=True, slots=True)
class Limit:
    """All RAM from `size` on is taken away."""

    size: int


@dataclass(frozen=True, slots=True)
class Other:
    """`exactmap`, or a text that the kernel refuses without doing anything."""

    text: str


Item = Region | Limit | Other


def parse_item(text: str) -> Item:
    """One item of the comma list, for what the kernel does with it."""
    if text.startswith("exactmap"):
        return Other(text)
    size, rest = memparse(text)
    if rest == text:
        return Other(text)
    if rest[:1] in tuple("@#$!%"):
        start, types = memparse(rest[1:])
        return Region(rest[0], start, size, types if rest[0] == "%" else "")
    return Limit(size)


def parse_value(value: str) -> tuple[Item, ...]:
    """The items of one `memmap=` value."""
    return tuple(map(parse_item, value.split(",")))


def items(arguments: Iterable[Argument]) -> tuple[Item, ...]:
    """The items of every `memmap=` of a command line, in order."""
    return tuple(
        item
        for argument in arguments
        if argument.name == "memmap" and argument.value
        for item in parse_value(argument.value)
    )


def is_stronger(argument: Argument, region: Region) -> bool:
    """Whether an argument takes memory of a region for something else."""
    return any(isinstance(item, Region) and item.wins_over(region) for item in items((argument,)))


def faked(value: str) -> tuple[Region, ...]:
    """What `efi_fake_mem=SIZE@START:ATTRIBUTE,…` makes Soft Reserved: memory that gets EFI_MEMORY_SP.

    Source: `efi_fake_memmap_early` in Linux 6.1 `drivers/firmware/efi/x86_fake_mem.c`; gone in 6.11
    (37aee82c213d).
    """
    found = []
    for text in value.split(","):
        size, rest = memparse(text)
        start, attribute = memparse(rest.removeprefix("@"))
        if rest[:1] == "@" and attribute[:1] == ":" and memparse(attribute[1:])[0] & _EFI_MEMORY_SP:
            found.append(Region("%", start, size, "-1+0xefffffff"))
    return tuple(found)


def unseen_by_kaslr(arguments: Iterable[Argument]) -> tuple[Region, ...]:
    """The regions that the decompressor may put a kernel into that is placed at random.

    `mem_avoid_memmap()` notes four regions and passes over every argument behind them. An argument that
    has a fifth one in its own list ends it: then the kernel is not placed at random at all.
    """
    noted, unseen = 0, list[Region]()
    for argument in arguments:
        if argument.name != "memmap" or not argument.value:
            continue
        regions = _avoided(argument.value)
        if noted >= MAX_KASLR_REGIONS:
            unseen += regions
        elif noted + len(regions) > MAX_KASLR_REGIONS:
            return ()
        else:
            noted += len(regions)
    return tuple(unseen)


def _avoided(value: str) -> list[Region]:
    """Those of one argument that it would note: it reads on until a text that it cannot take."""
    found = []
    for item in parse_value(value):
        if isinstance(item, Other):
            break
        if isinstance(item, Region) and item.sign in KASLR_AVOIDS and item.start > 0:
            found.append(item)
    return found


_MIB: Final = 1 << 20
LEAST_LEFT: Final = 8 << 30
LEAST_PART: Final = 8


def too_little_left(regions: Iterable[Region], ram: Iterable[Range], pages: int = 0) -> int | None:
    """Bytes of RAM that these and huge pages leave, in whole MiB; None where that is enough, or unknown.

    A digit or a suffix too many takes away most of it. Less than an eighth is enough where it is 8 GiB.
    """
    ram = tuple(ram)
    taken = joined(Range(one.start, one.start + one.size) for one in regions if one.takes_ram)
    left = max(0, sum(part.size for one in ram for part in gaps(one, taken)) - pages)
    enough = min(LEAST_LEFT, sum(one.size for one in ram) // LEAST_PART)
    return left - left % _MIB if left < enough else None


def write(region: Region) -> str:
    """The argument that means a region. ValueError where the kernel would read anything else."""
    text = f"{_number(region.size)}{region.sign}{_number(region.start)}"
    if parse_value(text) != (region,) or region.size == 0:
        raise ValueError(f"the kernel would not read memmap={text} as {region}")
    return f"memmap={text}"


def _number(number: int) -> str:
    """As people write it: a suffix up to G where it is exact, else hex for what is large."""
    for power in (3, 2, 1):
        if number and number % (1 << 10 * power) == 0:
            return f"{number >> 10 * power}{PREFIXES[power - 1]}"
    return hex(number)


def as_entries(text: str) -> tuple[str, ...] | None:
    """The entries of `host.memmap` that mean the value of a `memmap=`; None where there are none."""
    entries = []
    for item in parse_value(text.removeprefix("memmap=")):
        if not isinstance(item, Region) or item.sign not in TYPES or item.size == 0:
            return None
        size, start = format_size(item.size), format_address(item.start)
        entries.append(f"{{size: {size}, start: {start}, type: {TYPES[item.sign]}}}")
    return tuple(entries)
