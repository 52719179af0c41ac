"""What may be said of the kernel's memory map."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, RootModel, model_validator
from pydantic_core import PydanticCustomError

from cxlstate.core.model import Model, problem
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

    @model_validator(mode="after")
    def _pages(self) -> Self:
        for name, value in (("size", self.size), ("start", self.start)):
            if value % PAGE or value == 0:
                raise problem(
                    "CXM201",
                    f"{name} is no multiple of 4KiB, or 0",
                    found=format_size(value),
                    expected="a multiple of 4KiB above 0",
                )
        if self.start + self.size > _TOP:
            raise problem(
                "CXM202",
                "the range ends above the highest physical address",
                found=f"{format_address(self.start)} + {format_size(self.size)}",
                expected=f"an end of at most {format_address(_TOP)}",
            )
        return self

    @property
    def range(self) -> Range:
        """The bytes it covers."""
        return Range(self.start, self.start + self.size, IOMEM_NAMES[self.type])

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

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for one, other in combinations(self.root, 2):
            if one.range.overlaps(other.range):
                raise problem(
                    "CXM203",
                    "two memmap ranges overlap",
                    found=f"{one.argument} and {other.argument}",
                    expected="ranges that do not overlap",
                    hint="shorten one of them: of two types the kernel takes the one with the larger number",
                )
        return self


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
