"""What may be said of a dax device: which one, and what is to be made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.measure import Nanoseconds
from cxlstate.core.model import Model, check, clashes, problem, readable, written
from cxlstate.core.path import Path
from cxlstate.core.units import MemoryAddress, Size, format_address, format_size
from cxlstate.formats.iomem import Range, joined

_NAME: Final = "[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_DEVICE: Final = r"dax[0-9]{1,6}\.[0-9]{1,6}"
_TOP: Final = 1 << 52
"""x86 has at most 52 bits of physical address (Intel SDM volume 3, 4.1.4)."""

ALIGNS: Final = (4 << 10, 2 << 20, 1 << 30)
"""What the kernel allows on x86 (dax_align_valid in `drivers/dax/dax-private.h`)."""


def _name(text: str) -> str:
    """It is the name of a file below /dev/cxlstate."""
    if not re.fullmatch(_NAME, text):
        raise problem(
            "CXD201",
            "invalid name for a dax device",
            found=text[:80],
            expected="letters, digits, _ . and -, at most 63 of them, a letter or digit first",
            hint="it becomes a path, /dev/cxlstate/NAME; the kernel's own name goes into `device`",
        )
    return text


def _device(text: str) -> str:
    if not re.fullmatch(_DEVICE, text):
        raise problem(
            "CXD202",
            "invalid kernel name of a dax device",
            found=text[:80],
            expected="a name such as dax0.0",
        )
    return text


def _mode(value: Any) -> Any:
    if value == "system-ram":
        raise problem(
            "CXD203",
            "mode system-ram is not supported",
            found="system-ram",
            expected="devdax",
            hint="leave the device out of the spec, and use daxctl reconfigure-device",
        )
    return value


def _align(size: int) -> int:
    if size not in ALIGNS:
        raise problem(
            "CXD204",
            "the kernel does not support this alignment",
            found=format_size(size),
            expected=", ".join(map(format_size, ALIGNS)),
        )
    return size


def _latency(text: str) -> str:
    try:
        return str(Nanoseconds.parse(text))
    except ValueError:
        raise problem(
            "CXX103",
            "invalid range of latencies",
            found=text[:80],
            expected="nanoseconds from and to, such as 150-300ns",
        ) from None


DaxName = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$", "examples": ["cxl0"]}),
]
KernelName = Annotated[
    str,
    AfterValidator(_device),
    WithJsonSchema({"type": "string", "pattern": f"^{_DEVICE}$", "examples": ["dax0.0"]}),
]


def _invalid_range(word: str, found: str) -> Diagnostic:
    return Diagnostic(
        "CXD205",
        "invalid memory range of a device",
        path=(word,),
        found=found,
        expected=f"multiples of 4KiB, not at 0, and an end of at most {format_address(_TOP)}",
    )


Latency = Annotated[
    str,
    AfterValidator(_latency),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,6}-[0-9]{1,6}ns$", "examples": ["150-300ns"]}),
]


class DaxRange(Model):
    """The memory of a device, by physical address."""

    start: MemoryAddress
    """Where it begins, as in /proc/iomem."""

    size: Size
    """How much it is: all of the device."""

    @check
    def _begins_with_a_page(self) -> Iterator[Diagnostic]:
        if self.start % ALIGNS[0] or not 0 < self.start < _TOP:
            yield _invalid_range("start", format_address(self.start))

    @check
    def _is_in_pages(self) -> Iterator[Diagnostic]:
        if self.size % ALIGNS[0]:
            yield _invalid_range("size", format_size(self.size))

    @check
    def _is_memory(self) -> Iterator[Diagnostic]:
        if self.start < _TOP < self.end:
            yield _invalid_range("size", self.text)

    @property
    def text(self) -> str:
        """For people."""
        return f"{format_size(self.size)} at {format_address(self.start)}"

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.start + self.size


def _misaligned(one: DaxRange, align: int | None, path: Path) -> Iterator[Diagnostic]:
    written = {"start": format_address, "size": format_size}
    words = tuple(written)
    for number, value in readable(words, lambda word: int(getattr(one, word))):
        if align and value % align and not value % ALIGNS[0]:
            yield Diagnostic(
                "CXD207",
                "range is not a multiple of its alignment",
                path=(*path, words[number]),
                found=written[words[number]](value),
                expected=f"multiples of {format_size(align)}",
            )


class DaxSpec(Model):
    """One device, found by where it is, and kept ready for guests."""

    range: DaxRange | None = None
    """Which device: the one with this memory. The best way to say it."""

    ranges: Annotated[tuple[DaxRange, ...], Field(strict=False)] = ()
    """Which device: the one with these ranges, where it has several (`daxctl list -M` shows them)."""

    target_node: Annotated[int | None, Field(ge=0, le=1023)] = None
    """Which device: the only one whose memory would become this NUMA node."""

    device: KernelName | None = None
    """Which device: by the kernel's name, which may be another device's after the next boot."""

    mode: Annotated[Literal["devdax"], BeforeValidator(_mode)] = "devdax"
    """What it is used as: a device that programs map."""

    state: Literal["enabled", "disabled", "absent"] = "enabled"
    """`enabled`: bound to its driver, with a link below /dev/cxlstate. `disabled`, `absent`: neither."""

    align: Annotated[Size, AfterValidator(_align)] | None = None
    """Alignment of mappings: 4KiB, 2MiB or 1GiB. As it is, unless written."""

    latency: Latency | None = None
    """How long a load from it may take, `150-300ns`: compared by `cxlstate measure`, and by nothing else."""

    @check
    def _has_one_identity(self) -> Iterator[Diagnostic]:
        ways = written(self, "range", "ranges", "target_node", "device")
        if len(ways) != 1:
            yield Diagnostic(
                "CXD206",
                "a dax device needs exactly one identity",
                path=(ways[1],) if ways else (),
                found=" and ".join(ways) or "none",
                expected="range: {start: 0x5080000000, size: 96GiB}, or ranges, target_node or device",
            )

    @check
    def _range_is_aligned(self) -> Iterator[Diagnostic]:
        if self.align and self.range:
            yield from _misaligned(self.range, self.align, ("range",))

    @check
    def _ranges_are_aligned(self) -> Iterator[Diagnostic]:
        for number, one in enumerate(self.ranges if self.align else ()):
            yield from _misaligned(one, self.align, ("ranges", number))

    @check
    def _ranges_are_apart(self) -> Iterator[Diagnostic]:
        for one, number in clashes(self.ranges, lambda each: Range(each.start, each.end), Range.overlaps):
            yield Diagnostic(
                "CXD320",
                "two ranges of a device overlap",
                path=("ranges", number, "start"),
                found=f"{one.text} and {self.ranges[number].text}",
                expected="each byte in one of them",
                hint="`daxctl list -M` shows the ranges of a device, with an inclusive end",
            )

    @property
    def written(self) -> tuple[DaxRange, ...]:
        """Its ranges, if they say which device is meant."""
        return (self.range,) if self.range else self.ranges

    @property
    def memory(self) -> tuple[Range, ...]:
        """The same by address, neighbours as one; none where it is not written."""
        return joined(Range(one.start, one.end) for one in self.written)

    @property
    def wanted(self) -> bool:
        """Whether it is to be there."""
        return self.state == "enabled"
