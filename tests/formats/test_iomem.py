"""`/proc/iomem` and the firmware's map."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cxlstate.formats.iomem import (
    SOFT_RESERVED,
    HiddenAddresses,
    Range,
    covered,
    gaps,
    joined,
    parse_firmware,
    parse_iomem,
    with_soft_reserved,
)

IOMEM = """\
00001000-0009fbff : System RAM
100000000-13fffffff : Soft Reserved
  100000000-13fffffff : dax0.0
    100000000-13fffffff : System RAM (kmem)
"""


def test_lines_have_inclusive_ends_and_a_depth() -> None:
    assert parse_iomem(IOMEM)[2] == Range(0x100000000, 0x140000000, "dax0.0", 1)


def test_zeros_everywhere_are_no_memory_map() -> None:
    with pytest.raises(HiddenAddresses):
        parse_iomem("00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n")


def test_another_format_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a line"):
        parse_iomem("hello\n")


def test_the_firmwares_map_is_put_together_from_its_attributes() -> None:
    base = "/sys/firmware/memmap"
    attributes = {f"{base}/10/start": "0x0", f"{base}/10/end": "0xfff", f"{base}/10/type": "System RAM"}
    assert parse_firmware(attributes) == (Range(0, 0x1000, "System RAM"),)
    with pytest.raises(ValueError, match="has no type"):
        parse_firmware({f"{base}/0/start": "0x0", f"{base}/0/end": "0xfff"})


def test_neighbouring_ranges_cover_together() -> None:
    parts = [Range(8, 12), Range(0, 4), Range(4, 8), Range(2, 3)]
    assert covered(Range(0, 12), parts)
    assert gaps(Range(0, 16), parts) == (Range(12, 16),)
    assert gaps(Range(0, 3), [Range(1, 2)]) == (Range(0, 1), Range(2, 3))


def test_neighbours_and_what_overlaps_are_one() -> None:
    parts = [Range(8, 12, "a"), Range(0, 4, "b", 2), Range(4, 6), Range(5, 7), Range(9, 10)]
    assert joined(parts) == (Range(0, 7), Range(8, 12))


OLD = parse_iomem(
    """\
100000000-13fffffff : Soft Reserved
  100000000-13fffffff : dax0.0
    100000000-13fffffff : System RAM (kmem)
140000000-17fffffff : System RAM
"""
)
NEW = parse_iomem(
    """\
100000000-13fffffff : dax0.0
  100000000-13fffffff : System RAM (kmem)
140000000-17fffffff : System RAM
"""
)
NOBODY = parse_iomem("140000000-17fffffff : System RAM\n")
DEVICE = Range(0x100000000, 0x140000000)
FIRMWARE = Range(0x100000000, 0x140000000, SOFT_RESERVED)


def test_a_newer_kernel_is_read_as_an_older_one() -> None:
    """Linux 7.3, as seen: no line for it while no driver has it, and the device at the top otherwise."""
    assert with_soft_reserved(NEW, [FIRMWARE], []) == OLD
    assert with_soft_reserved(NEW, [], [DEVICE]) == OLD
    assert with_soft_reserved(NOBODY, [FIRMWARE], [DEVICE]) == (OLD[0], OLD[3])


def test_an_older_kernel_is_read_as_it_is() -> None:
    assert with_soft_reserved(OLD, [FIRMWARE], [DEVICE]) == OLD
    assert with_soft_reserved(NOBODY, [Range(0, 4096, "Reserved")], []) == NOBODY


def test_what_the_kernel_names_otherwise_is_that() -> None:
    """A CXL region, or RAM that `efi=nosoftreserve` made of it."""
    region = parse_iomem("100000000-1ffffffff : CXL Window 0\n  100000000-13fffffff : region0\n")
    assert with_soft_reserved(region, [FIRMWARE], [DEVICE]) == region
    ram = parse_iomem("100000000-17fffffff : System RAM\n")
    assert with_soft_reserved(ram, [FIRMWARE], []) == ram


@given(st.text())
@example("f" * 5000 + "-" + "f" * 5000 + " : x\n")
@example("5-4 : backwards\n")
@example("0-ffffffffffffffffff : x\n")
def test_whatever_the_kernel_says_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert all(0 <= one.start < one.end <= 1 << 64 for one in parse_iomem(text))


@given(
    st.fixed_dictionaries({f"/sys/firmware/memmap/0/{name}": st.text() for name in ("start", "end", "type")})
)
def test_whatever_the_firmware_says_is_parsed_or_refused(attributes: dict[str, str]) -> None:
    with contextlib.suppress(ValueError):
        assert all(0 <= one.start < one.end <= 1 << 64 for one in parse_firmware(attributes))
