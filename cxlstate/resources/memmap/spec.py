"""What may be said of the kernel's memory map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, RootModel, model_validator
from pydantic_core import PydanticCustomError

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, check, clashes, problem
from cxlstate.core.units import MemoryAddress, Size, format_address, format_size
from cxlstate.formats import memmap
from cxlstate.formats.iomem import Range

PAGE: Final = 4096
_TOP: Final = 1 << 52
"""x86 has at most 52 bits of physical address (Intel SDM volume 3, 4.1.4)."""

Kind = Literal["reserved", "acpi", "pmem"]

SIGNS: Final[dict[str, str]] = {kind: sign for sign, kind in memmap.TYPES.items()}
IOMEM_NAMES: Final[dict[str, str]] = {
    "reserved": "Reserved",
    "acpi": "ACPI Tables",
    "pmem": "Persistent Memory (legacy)",
}
"""As the kernel names them once they are in force: Linux `arch/x86/kernel/e820.c`, e820_type_to_string."""


class MemmapEntry(Model):
    """One range: `{size: 2GiB, start: 320GiB, type: reserved}` is `memmap=2G$320G`."""

    size: Size
    """How much, a multiple of 4KiB."""

    start: MemoryAddress
    """Where it begins, a multiple of 4KiB."""

    type: Kind
    """`reserved`: nobody uses it. `acpi`: as ACPI tables. `pmem`: as a /dev/pmem of the host."""

    @model_validator(mode="before")
    @classmethod
    def _not_an_argument(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise _argument(value)
        return value

    @check
    def _size_is_in_pages(self) -> Iterator[Diagnostic]:
        yield from _pages("size", self.size, format_size(self.size))

    @check
    def _start_is_in_pages(self) -> Iterator[Diagnostic]:
        yield from _pages("start", self.start, format_address(self.start))

    @check
    def _is_memory(self) -> Iterator[Diagnostic]:
        if self.start + self.size > _TOP:
            yield Diagnostic(
                "CXM202",
                "range ends above the highest physical address",
                path=("start",) if self.start >= _TOP else ("size",),
                found=f"{format_address(self.start)} + {format_size(self.size)}",
                expected=f"an end of at most {format_address(_TOP)}",
            )

    @property
    def bytes(self) -> Range:
        """The bytes it covers, whatever they are to be."""
        return Range(self.start, self.start + self.size)

    @property
    def range(self) -> Range:
        """The same, as the kernel names it once it is in force."""
        return replace(self.bytes, name=IOMEM_NAMES[self.type])

    @property
    def text(self) -> str:
        """For people."""
        return f"{format_size(self.size)} at {format_address(self.start)}"

    @property
    def region(self) -> memmap.Region:
        """As the kernel reads it."""
        return memmap.Region(SIGNS[self.type], self.start, self.size)

    @property
    def argument(self) -> str:
        """The kernel argument, never one that the kernel would take for a limit of memory."""
        return memmap.write(self.region)


class MemmapSpec(RootModel[Annotated[tuple[MemmapEntry, ...], Field(strict=False)]]):
    """Ranges that the kernel leaves alone, in every boot entry."""

    model_config = ConfigDict(frozen=True, strict=True)

    @check
    def _are_apart(self) -> Iterator[Diagnostic]:
        for one, number in clashes(self.root, lambda each: each.bytes, Range.overlaps):
            yield Diagnostic(
                "CXM203",
                "two memmap ranges overlap",
                path=(number, "start"),
                found=f"{one.text} and {self.root[number].text}",
                expected="ranges that do not overlap",
                hint="shorten one of them: of two types the kernel takes the one with the larger number",
            )


def _pages(word: str, value: int, found: str) -> Iterator[Diagnostic]:
    if value % PAGE or value == 0:
        yield Diagnostic(
            "CXM201",
            f"{word} is not a multiple of 4KiB above 0",
            path=(word,),
            found=found,
            expected="a multiple of 4KiB above 0",
        )


def _argument(text: str) -> PydanticCustomError:
    """The error for a range that is written as the kernel's argument."""
    entries = memmap.as_entries(text)
    return problem(
        "CXM331",
        "a memmap range is a mapping",
        found=text[:80],
        expected="{size: 2GiB, start: 320GiB, type: reserved}",
        hint=f"write {', '.join(entries)}{', each as an entry' * (len(entries) > 1)}" if entries else None,
    )
