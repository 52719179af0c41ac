"""Registers as the kernel shows them, the type that several come to, and the fewest that cover."""

from __future__ import annotations

import time
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxlstate.formats.mtrr import (
    PAGE,
    TYPES,
    UNCACHABLE,
    WRITE_BACK,
    Block,
    Register,
    cover,
    effective,
    forces_write_back,
    parse,
    variable_registers,
)

GIB = 1 << 30
PAGES = 16


def test_registers_are_read_as_the_kernel_writes_them() -> None:
    text = (
        "reg00: base=0x0c0000000 ( 3072MB), size= 1024MB, count=1: uncachable\n"
        "reg02: base=0x5000000000 (327680MB), size=65536MB, count=2: uncachable\n"
        "reg10: base=0x0000a0000 (    0MB), size=  128KB, count=1: write-combining\n"
    )
    assert parse(text) == (
        Register(0, Block(3 * GIB, GIB), UNCACHABLE),
        Register(2, Block(320 * GIB, 64 * GIB), UNCACHABLE, 2),
        Register(10, Block(0xA0000, 128 << 10), "write-combining"),
    )
    assert parse("") == ()


@pytest.mark.parametrize("line", ["reg00: what", "", "reg00: base=0x0 (0MB), size=1GB, count=1: uncachable"])
def test_a_line_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a line of /proc/mtrr"):
        parse(f"reg00: base=0x0c0000000 ( 3072MB), size= 1024MB, count=1: uncachable\n{line}\n")


def test_the_number_of_registers_is_in_the_kernels_log() -> None:
    log = "[    0.0] MTRR map: 4 entries (3 fixed + 1 variable; max 19), built from 8 variable MTRRs\n"
    assert variable_registers(f"[    0.0] Linux\n{log}[    1.0] more\n") == 8
    assert variable_registers("[    0.0] MTRRs disabled by BIOS\n") is None


@pytest.mark.parametrize(
    ("said", "count", "forced"),
    [
        # a Dell R7625 (AMD), a desktop (AMD), a server (Intel)
        ("5 entries (2 fixed + 3 variable; max 19), built from 9 variable MTRRs", 8, True),
        ("7 entries (3 fixed + 4 variable; max 20), built from 9 variable MTRRs", 8, True),
        ("5 entries (3 fixed + 2 variable; max 23), built from 10 variable MTRRs", 10, False),
    ],
)
def test_memory_that_an_amd_processor_forces_is_no_register(said: str, count: int, *, forced: bool) -> None:
    log = f"[    0.000399] MTRR map: {said}\n"
    assert (variable_registers(log), forces_write_back(log)) == (count, forced)
    assert not forces_write_back("")


def test_a_long_line_of_the_log_is_read_once() -> None:
    begun = time.monotonic()
    assert variable_registers("MTRR map: 5 entries (" * 50_000) is None
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("before", "count"),
    [
        ("[    0.000692] ", 4),
        ("[    0.000692][    T0] ", 4),
        ("", 4),
        ("<7>[    0.000692] ", 4),
    ],
)
def test_older_kernels_have_a_line_for_each_register(before: str, count: int) -> None:
    lines = [
        "MTRR default type: write-back",
        "MTRR variable ranges enabled:",
        "  0 base 000080000000 mask FFFF80000000 uncachable",
        "  1 base 00007F000000 mask FFFFFF000000 write-combining",
        "  2 disabled",
        "  3 disabled",
        "x86/PAT: Configuration [0-7]: WB  WC  UC- UC  WB  WP  UC- WT",
    ]
    log = "".join(f"{before}{line}\n" for line in lines)
    assert variable_registers(log) == count
    assert variable_registers(log.partition("enabled:")[2]) is None
    assert variable_registers(log.replace("enabled", "disabled", 1)) == count


@pytest.mark.parametrize(
    ("base", "size", "fits"),
    [
        (0, PAGE, True),
        (PAGE, PAGE, True),
        (PAGE, 2 * PAGE, False),
        (0, 3 * PAGE, False),
        (0, PAGE // 2, False),
    ],
)
def test_a_register_holds_aligned_powers_of_two(base: int, size: int, fits: bool) -> None:  # noqa: FBT001  # a column of the table
    assert Block(base, size).fits is fits


# Covering ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "blocks"),
    [
        (322, 418, [(322, 2), (324, 4), (328, 8), (336, 16), (352, 32), (384, 32), (416, 2)]),
        (320, 448, [(320, 64), (384, 64)]),
        (320, 418, [(320, 64), (384, 32), (416, 2)]),
        (322, 448, [(322, 2), (324, 4), (328, 8), (336, 16), (352, 32), (384, 64)]),
        (256, 512, [(256, 256)]),
    ],
)
def test_the_runbooks_device_in_windows(low: int, high: int, blocks: list[tuple[int, int]]) -> None:
    found = cover(322 * GIB, 418 * GIB, low * GIB, high * GIB)
    assert found == tuple(Block(base * GIB, size * GIB) for base, size in blocks)


ALL = [
    (base, size)
    for power in range(PAGES.bit_length())
    for size in [1 << power]
    for base in range(0, PAGES, size)
]
CASES = [
    (start, end, low, high)
    for low in range(PAGES)
    for start in range(low, PAGES)
    for end in range(start + 1, PAGES + 1)
    for high in range(end, PAGES + 1)
]


def fewest(start: int, end: int, low: int, high: int) -> int:
    """By trying every set of blocks, the small sets first. Nothing of it is known to `cover`."""
    wanted = (1 << end) - (1 << start)
    masks = [
        (1 << base + size) - (1 << base)
        for base, size in ALL
        if low <= base and base + size <= high and base < end and start < base + size
    ]
    for count in range(1, len(masks) + 1):
        for chosen in combinations(masks, count):
            together = 0
            for mask in chosen:
                together |= mask
            if together & wanted == wanted:
                return count
    raise AssertionError("a page is a block")


def test_no_smaller_number_of_blocks_covers_a_range() -> None:
    assert len(CASES) > 1000
    for case in CASES:
        start, end, low, high = (edge * PAGE for edge in case)
        blocks = cover(start, end, low, high)
        assert all(block.fits and low <= block.base and block.end <= high for block in blocks), case
        assert all(any(block.overlaps(at, at + 1) for block in blocks) for at in range(start, end, PAGE)), (
            case
        )
        assert all(one.end <= other.base for one, other in pairwise(blocks)), case
        assert len(blocks) == fewest(*case), case


@pytest.mark.parametrize(
    "case", [(1, 4, 2, 8), (2, 8, 1, 4), (4, 2, 0, 8), (2, 2, 0, 8), (0.5, 4, 0, 8), (1, 4, 0, 8.5)]
)
def test_what_cannot_be_covered_is_refused(case: tuple[float, ...]) -> None:
    start, end, low, high = (int(edge * PAGE) for edge in case)
    with pytest.raises(ValueError, match="window"):
        cover(start, end, low, high)


# Types ---------------------------------------------------------------------------------------

REGISTERS = st.builds(
    lambda at, kind: Register(0, Block(at[0] * PAGE, at[1] * PAGE), kind),
    st.sampled_from(ALL),
    st.sampled_from(TYPES),
)


def of_page(page: int, registers: list[Register]) -> str:
    """`get_effective_type()`, for one page and by its own words."""
    types = {one.type for one in registers if one.block.overlaps(page * PAGE, (page + 1) * PAGE)}
    if not types:
        return WRITE_BACK
    if UNCACHABLE in types:
        return UNCACHABLE
    if types == {WRITE_BACK, "write-through"}:
        return "write-through"
    return types.pop() if len(types) == 1 else UNCACHABLE


@given(st.lists(REGISTERS, max_size=5), st.integers(0, PAGES - 1), st.integers(1, PAGES))
def test_the_type_of_a_range_is_that_of_all_its_pages(
    registers: list[Register], start: int, size: int
) -> None:
    end = min(start + size, PAGES)
    pages = {of_page(page, registers) for page in range(start, end)}
    expected = pages.pop() if len(pages) == 1 else None
    assert effective(start * PAGE, end * PAGE, registers) == expected
