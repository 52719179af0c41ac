"""`/proc/iomem` and the firmware's map."""

from __future__ import annotations

import pytest

from cxlstate.formats.iomem import HiddenAddresses, Range, covered, gaps, parse_firmware, parse_iomem

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
