"""What may be said of a dax device: which one, and what is to be made of it."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from cxlstate.core.model import Model, problem
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


class DaxRange(Model):
    """The memory of a device, by physical address."""

    start: MemoryAddress
    """Where it begins, as in /proc/iomem."""

    size: Size
    """How much it is: all of the device."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.start % ALIGNS[0] or self.size % ALIGNS[0] or not self.start or self.end > _TOP:
            raise problem(
                "CXD205",
                "invalid memory range of a device",
                found=f"{format_size(self.size)} at {format_address(self.start)}",
                expected=f"multiples of 4KiB, not at 0, and an end of at most {format_address(_TOP)}",
            )
        return self

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.start + self.size


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

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        ways = [self.range, self.ranges or None, self.target_node, self.device]
        if sum(way is not None for way in ways) != 1:
            raise problem(
                "CXD206",
                "a dax device needs exactly one identity",
                found="several" if any(way is not None for way in ways) else "none",
                expected="range: {start: 0x5080000000, size: 96GiB}, or ranges, target_node or device",
            )
        for one in self.written:
            if self.align and (one.start % self.align or one.size % self.align):
                raise problem(
                    "CXD207",
                    "range is not a multiple of its alignment",
                    found=f"{format_size(one.size)} at {format_address(one.start)}",
                    expected=f"multiples of {format_size(self.align)}",
                )
        for one, other in combinations(self.ranges, 2):
            if one.start < other.end and other.start < one.end:
                raise problem(
                    "CXD320",
                    "two ranges of a device overlap",
                    found=f"{format_size(one.size)} at {format_address(one.start)} "
                    f"and {format_size(other.size)} at {format_address(other.start)}",
                    expected="each byte in one of them",
                    hint="`daxctl list -M` shows the ranges of a device, with an inclusive end",
                )
        return self

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
