"""What may be said of memory type range registers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, check, clashes, problem, written
from cxlstate.core.path import Path
from cxlstate.core.units import MemoryAddress, Size, format_address, format_size
from cxlstate.formats.iomem import Range
from cxlstate.formats.mtrr import PAGE, TYPES, UNCACHABLE, Block, cover

_NAME: Final = "[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_TOP: Final = 1 << 52
"""x86 has at most 52 bits of physical address (Intel SDM volume 3, 4.1.4)."""

_FEW: Final = 8
"""So many ranges are named in a hint."""

_ALIASES: Final = {
    **dict.fromkeys(("uc", "uncached", "uncacheable", "uncachable"), UNCACHABLE),
    **dict.fromkeys(("wb", "writeback"), "write-back"),
    **dict.fromkeys(("wt", "writethrough"), "write-through"),
    **dict.fromkeys(("wc", "writecombining"), "write-combining"),
    **dict.fromkeys(("wp", "writeprotect", "writeprotected"), "write-protect"),
}


def _name(text: str) -> str:
    """It stands in the table of the boot script."""
    if not re.fullmatch(_NAME, text):
        raise problem(
            "CXT201",
            "not a name for MTRR ranges",
            found=text[:80],
            expected="letters, digits, _ . and -, at most 63 of them, a letter or digit first",
        )
    return text


def _type(value: Any) -> Any:
    if not isinstance(value, str) or value in TYPES:
        return value
    plain = value.lower().replace("-", "").replace("_", "").replace(" ", "")
    near = [_ALIASES[plain]] if plain in _ALIASES else get_close_matches(value, TYPES, n=1)
    raise problem(
        "CXT202",
        "not a memory type, as the kernel spells them",
        found=value[:80],
        expected=", ".join(TYPES),
        hint=f"did you mean {near[0]}?" if near else None,
    )


def _device(text: str) -> str:
    if not re.fullmatch(rf"dax\.{_NAME}", text):
        raise problem(
            "CXT203",
            "not the address of a dax device",
            found=text[:80],
            expected="dax.NAME, with the NAME that it has below host.dax",
            hint="ranges of other memory are written out, in `ranges`",
        )
    return text


MtrrName = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$", "examples": ["cxl0"]}),
]
Type = Annotated[
    Literal["uncachable", "write-combining", "write-through", "write-protect", "write-back"],
    BeforeValidator(_type),
]
Device = Annotated[
    str,
    AfterValidator(_device),
    WithJsonSchema({"type": "string", "pattern": rf"^dax\.{_NAME}$", "examples": ["dax.cxl0"]}),
]


class Window(Model):
    """How far the computed ranges may reach."""

    start: MemoryAddress
    """The lowest address, a multiple of 4KiB."""

    end: MemoryAddress
    """The first address behind it, a multiple of 4KiB."""

    @check
    def _begins_with_a_page(self) -> Iterator[Diagnostic]:
        if self.start % PAGE:
            yield _window("start", format_address(self.start))

    @check
    def _ends_with_a_page(self) -> Iterator[Diagnostic]:
        if self.end % PAGE or self.end > _TOP:
            yield _window("end", format_address(self.end))

    @check
    def _begins_before_its_end(self) -> Iterator[Diagnostic]:
        if self.start >= self.end and not self.end % PAGE:
            yield _window("end", f"{format_address(self.start)} to {format_address(self.end)}")


class MtrrRange(Model):
    """One range that a register can hold."""

    start: MemoryAddress
    """Where it begins, a multiple of its size."""

    size: Size
    """A power of two, at least 4KiB."""

    @check
    def _is_memory(self) -> Iterator[Diagnostic]:
        if self.start + self.size > _TOP:
            yield Diagnostic(
                "CXT206",
                "range ends above the highest physical address",
                path=("start",) if self.start >= _TOP else ("size",),
                found=f"{format_address(self.start)} + {format_size(self.size)}",
                expected=f"an end of at most {format_address(_TOP)}",
            )

    @check
    def _fits(self) -> Iterator[Diagnostic]:
        """A size that no register holds says nothing of the start, beyond that it begins a page."""
        power = self.size >= PAGE and self.size & (self.size - 1) == 0
        if not power:
            yield _unfit(("size",), self.block)
        if self.start % (self.size if power else PAGE):
            yield _unfit(("start",), self.block)

    @property
    def range(self) -> Range:
        """The bytes in it."""
        return Range(self.start, self.start + self.size)

    @property
    def block(self) -> Block:
        """As a register holds it."""
        return Block(self.start, self.size)


class MtrrSpec(Model):
    """A memory type for a dax device or for ranges that are written out."""

    cover: Device | None = None
    """The dax device to cover. The fewest ranges are computed."""

    within: Window | None = None
    """With `cover`: how far its ranges may reach beyond the device, which takes fewer of them."""

    ranges: Annotated[tuple[MtrrRange, ...], Field(strict=False)] = ()
    """Ranges written out, in place of `cover`."""

    type: Type = UNCACHABLE
    """The memory type, as /proc/mtrr names it."""

    state: Literal["present", "absent"] = "present"
    """`absent`: registers of just these ranges go, unless the firmware set them."""

    @check
    def _memory_is_named_once(self) -> Iterator[Diagnostic]:
        ways = written(self, "cover", "ranges")
        if len(ways) != 1:
            yield Diagnostic(
                "CXT205",
                "`cover` or `ranges` is required, not both" if ways else "`cover` or `ranges` is required",
                path=("ranges",) if ways else (),
                found="both" if ways else "neither",
                expected="cover: dax.NAME, or ranges: [{start: 512GiB, size: 64GiB}]",
            )

    @check
    def _window_is_of_a_cover(self) -> Iterator[Diagnostic]:
        if written(self, "within", "cover") == ["within"]:
            yield Diagnostic(
                "CXT205",
                "`within` is for computed ranges",
                path=("within",),
                found="within, and no cover",
                expected="cover: dax.NAME beside it",
                hint="take `within` out: written ranges are taken as they are",
            )

    @check
    def _ranges_are_apart(self) -> Iterator[Diagnostic]:
        for one, number in clashes(self.ranges, lambda each: each.range, Range.overlaps):
            yield Diagnostic(
                "CXT208",
                "two ranges overlap",
                path=("ranges", number, "start"),
                found=f"{_written(one.block)} and {_written(self.ranges[number].block)}",
                expected="ranges that are apart",
                hint="keep the larger: one register is enough",
            )


def _window(end: str, found: str) -> Diagnostic:
    return Diagnostic(
        "CXT204",
        "invalid window for computed ranges",
        path=(end,),
        found=found,
        expected=f"start before end, both multiples of 4KiB, up to {format_address(_TOP)}",
    )


def _unfit(path: Path, block: Block) -> Diagnostic:
    """With the kernel's own reason (`mtrr_check`, `generic_validate_add_page`), and what comes near."""
    if block.base % PAGE or block.size % PAGE:
        reason = "size and base must be multiples of 4 kiB"
    else:
        reason = f"base({block.base:#x}) is not aligned on a size({block.size:#x}) boundary"
    low, high = block.base - block.base % PAGE, block.end + -block.end % PAGE
    exact = cover(low, high, low, high)
    hint = f"{_written(_around(low, high))} holds it all"
    if 1 < len(exact) <= _FEW:
        hint += f"; nothing more than it: {', '.join(map(_written, exact))}"
    return Diagnostic(
        "CXT207",
        "a register cannot hold this range",
        path=path,
        found=f"{_written(block)}: {reason}",
        expected="a size that is a power of two from 4KiB on, and a start that is a multiple of it",
        hint=hint,
    )


def _around(low: int, high: int) -> Block:
    """The smallest that holds a range."""
    size = PAGE
    while low - low % size + size < high:
        size *= 2
    return Block(low - low % size, size)


def _written(block: Block) -> str:
    return f"{{start: {format_address(block.base)}, size: {format_size(block.size)}}}"
