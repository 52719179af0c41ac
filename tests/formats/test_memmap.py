"""`memmap=` by the kernel's own reading: `arch/x86/kernel/e820.c`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxlstate.formats import kernel_cmdline
from cxlstate.formats.kaslr import stub_may_ignore_memmap
from cxlstate.formats.memmap import (
    Limit,
    Other,
    Region,
    faked,
    items,
    parse_item,
    parse_value,
    unseen_by_kaslr,
    write,
)

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("2G$320G", Region("$", 320 * GIB, 2 * GIB)),
        ("512M!6G", Region("!", 6 * GIB, GIB // 2)),
        ("0x1000#0x2000", Region("#", 0x2000, 0x1000)),
        ("1G%4G-1+0xefffffff", Region("%", 4 * GIB, GIB, "-1+0xefffffff")),
        ("010k@8", Region("@", 8, 8192)),
        ("2G", Limit(2 * GIB)),
        ("2G20G", Limit(2 * GIB)),
        ("2GG", Limit(2 * GIB)),
        ("exactmap", Other("exactmap")),
        ("G$1G", Other("G$1G")),
        ("", Other("")),
    ],
)
def test_an_item_is_read_as_the_kernel_reads_it(text: str, item: object) -> None:
    assert parse_item(text) == item


@pytest.mark.parametrize(
    ("text", "takes"),
    [
        ("1G$4G", True),
        ("1G@4G", False),
        ("1G%4G", True),  # e820__range_remove, whatever the type
        ("1G%4G-1", True),
        ("1G%4G-1+2", True),
        ("1G%4G+2", True),
        ("1G%4G-1+0xefffffff", True),
        ("1G%4G-2", False),
        ("1G%4G-2+1", False),
        ("1G%4G+1", False),
        ("1G%4G-1+2x", False),  # -EINVAL before anything is done
    ],
)
def test_a_conversion_takes_ram_away(text: str, *, takes: bool) -> None:
    item = parse_item(text)
    assert isinstance(item, Region)
    assert item.takes_ram is takes


@pytest.mark.parametrize(
    ("value", "starts"),
    [
        ("8G@8G:0x40000", [8]),
        ("8G@8G:0x40000,1G@32G:0x50000", [8, 32]),
        ("8G@8G:0x10000", []),  # EFI_MEMORY_MORE_RELIABLE alone
        ("8G", []),
        ("8G@8G", []),
    ],
)
def test_memory_is_faked_as_soft_reserved(value: str, starts: list[int]) -> None:
    assert [one.start // GIB for one in faked(value)] == starts
    assert all(one.takes_ram for one in faked(value))


def test_a_comma_separates_items_and_later_arguments_add_to_them() -> None:
    line = kernel_cmdline.parse("memmap=1G$8G,1G!9G quiet memmap=1G memmap")
    assert items(line) == (Region("$", 8 * GIB, GIB), Region("!", 9 * GIB, GIB), Limit(GIB))


@pytest.mark.parametrize(
    ("line", "unseen"),
    [
        ("memmap=1G$1G,1G!2G,1G#3G,1G$4G", []),
        ("memmap=1G$1G memmap=1G$2G memmap=1G$3G memmap=1G$4G", []),
        ("memmap=1G$1G memmap=1G$2G memmap=1G$3G memmap=1G$4G memmap=1G$5G", [5]),
        ("memmap=1G$1G,1G$2G,1G$3G,1G$4G memmap=1G$5G,1G$6G", [5, 6]),
        # A list with a fifth one in it: then the kernel is not placed at random at all
        ("memmap=1G$1G,1G$2G,1G$3G,1G$4G,1G$5G", []),
        ("memmap=1G$1G memmap=1G$2G memmap=1G$3G memmap=1G$4G,1G$5G", []),
        # Only what is taken away counts, and nothing behind what it cannot read
        ("memmap=1G@1G,1G%2G-1+2,1G,1G$3G,1G$4G memmap=1G$5G memmap=1G$6G", []),
        ("memmap=exactmap,1G$1G memmap=1G$2G memmap=1G$3G memmap=1G$4G memmap=1G$5G", []),
    ],
)
def test_regions_that_a_kernel_placed_at_random_does_not_keep_out_of(line: str, unseen: list[int]) -> None:
    assert [one.start // GIB for one in unseen_by_kaslr(kernel_cmdline.parse(line))] == unseen


@pytest.mark.parametrize(
    ("release", "may"),
    [
        ("5.15.0-100-generic", False),
        ("6.1.76", False),
        ("6.1.81", True),
        ("6.1.92", True),
        ("6.1.93", False),
        ("6.1.0-28-amd64", True),  # of Debian's builds only the series is known
        ("6.5.13", False),
        ("6.6.0", True),
        ("6.6.32-custom", True),
        ("6.6.33", False),
        ("6.8.12", True),
        ("6.8.0-49-generic", True),
        ("6.9.3", True),
        ("6.9.4", False),
        ("6.10.0-rc2", False),
        ("6.12.117+deb13-amd64", False),
        ("7.0.0-14-generic", False),
        ("vmlinuz", False),
    ],
)
def test_kernels_whose_efi_stub_ignores_memmap(release: str, may: object) -> None:
    assert stub_may_ignore_memmap(release) == may


@given(
    st.sampled_from("$#!"),
    st.integers(1, (1 << 40) - 1).map(lambda pages: pages << 12),
    st.integers(1, (1 << 40) - 1).map(lambda pages: pages << 12),
)
def test_what_is_written_is_read_back_and_never_a_limit(sign: str, start: int, size: int) -> None:
    text = write(Region(sign, start, size))
    assert parse_value(text.removeprefix("memmap=")) == (Region(sign, start, size),)


@pytest.mark.parametrize("region", [Region("", 1 << 30, 1 << 30), Region("$", 0, 0), Region("x", 1, 1)])
def test_what_the_kernel_would_misread_is_never_written(region: Region) -> None:
    with pytest.raises(ValueError, match="would not read"):
        write(region)


@given(st.text(alphabet="0123456789xXkMGga$!#@%-+,", max_size=14))
def test_no_text_breaks_the_parser(text: str) -> None:
    parse_value(text)
