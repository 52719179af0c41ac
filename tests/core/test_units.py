"""Sizes, addresses and CPU sets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from cxlstate.core import units

GIB = 1 << 30


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("2GiB", 2 * GIB),
        ("2G", 2 * GIB),
        ("2g", 2 * GIB),
        ("512M", 512 << 20),
        ("4KiB", 4096),
        ("96GiB", 96 * GIB),
        ("1T", 1 << 40),
        ("15EiB", 15 << 60),
        ("4096", 4096),
        (4096, 4096),
        (1, 1),
    ],
)
def test_a_size_is_bytes_in_binary_units(written, size):
    assert units.parse_size(written) == size


@pytest.mark.parametrize(
    ("written", "address"),
    [("0x5080000000", 322 * GIB), ("0X0", 0), ("320GiB", 320 * GIB), ("0", 0), (0, 0), ("6G", 6 * GIB)],
)
def test_an_address_is_a_size_or_hex(written, address):
    assert units.parse_address(written) == address


@pytest.mark.parametrize(
    ("written", "cpus"),
    [
        ("0-3,8", {0, 1, 2, 3, 8}),
        ("0-3,^2", {0, 1, 3}),
        ("^2,0-3", {0, 1, 2, 3}),
        ("5", {5}),
        (5, {5}),
        ("3,1,1-2", {1, 2, 3}),
        ("007", {7}),
    ],
)
def test_a_cpu_set_is_numbers_and_ranges_taken_in_order(written, cpus):
    assert units.parse_cpus(written) == cpus


@pytest.mark.parametrize(
    ("parse", "written", "code", "hint"),
    [
        (units.parse_size, "2GB", "CXS301", "write 2GiB, or the number of bytes"),
        (units.parse_size, "1.5 kb", "CXS302", "write it in a smaller unit, without a fraction"),
        (units.parse_size, "1.5GiB", "CXS302", "write 1536MiB"),
        (units.parse_size, "1.5G", "CXS302", "write 1536MiB"),
        (units.parse_size, "0.1T", "CXS302", "write it in a smaller unit, without a fraction"),
        (units.parse_size, "0x80000000", "CXS302", "write 2GiB: hex is for addresses"),
        (units.parse_size, "2gib", "CXS302", "write 2GiB"),
        (units.parse_size, "2 G", "CXS302", "write 2GiB"),
        (units.parse_size, "02G", "CXS302", None),
        (units.parse_size, "-2G", "CXS302", None),
        (units.parse_size, "2GiBs", "CXS302", None),
        (units.parse_size, "2G\n", "CXS302", None),
        (units.parse_size, "\u0662G", "CXS302", None),
        (units.parse_size, "9" * 10_000, "CXS302", None),
        (units.parse_size, "", "CXS302", None),
        (units.parse_size, 1.5, "CXS302", None),
        (units.parse_size, True, "CXS302", None),
        (units.parse_size, None, "CXS302", None),
        (units.parse_size, 0, "CXS303", None),
        (units.parse_size, -1, "CXS303", None),
        (units.parse_size, "16E", "CXS303", None),
        (units.parse_size, 1 << 64, "CXS303", None),
        (units.parse_address, "0x", "CXS302", None),
        (units.parse_address, "0x1_0", "CXS302", None),
        (units.parse_address, "-0x1", "CXS302", None),
        (units.parse_address, "0x10000000000000000", "CXS302", None),
        (units.parse_address, -1, "CXS303", None),
        (units.parse_address, "16EiB", "CXS303", None),
        (units.parse_cpus, "3-1", "CXS304", "3-1 runs backwards: 1-3"),
        (units.parse_cpus, "0-3, 8", "CXS304", "write no blanks in it"),
        (units.parse_cpus, "0,^0", "CXS304", "no CPU is left in it"),
        (units.parse_cpus, "0-16384", "CXS304", "the highest CPU number is 16383"),
        (units.parse_cpus, "0-999999999999", "CXS304", None),
        (units.parse_cpus, "0,,1", "CXS304", None),
        (units.parse_cpus, "", "CXS304", None),
        (units.parse_cpus, "1,\n", "CXS304", None),
        (units.parse_cpus, -1, "CXS304", None),
        (units.parse_cpus, True, "CXS304", None),
        (units.parse_cpus, [0], "CXS304", None),
    ],
)
def test_what_is_refused_says_what_was_found_and_what_to_write(parse, written, code, hint):
    with pytest.raises(PydanticCustomError) as caught:
        parse(written)
    assert caught.value.type == code
    assert caught.value.context["hint"] == hint
    assert caught.value.context["found"]
    assert caught.value.context["expected"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(2 * GIB, "2GiB"), (1536 << 20, "1536MiB"), (4097, "4097"), (0, "0"), (1 << 63, "8EiB"), (4096, "4KiB")],
)
def test_a_size_is_written_in_the_largest_unit_that_says_it_exactly(size, text):
    assert units.format_size(size) == text


def test_an_address_is_written_as_a_size_only_where_it_is_whole_gibibytes():
    assert units.format_address(320 * GIB) == "320GiB"
    assert units.format_address(320 * GIB + 4096) == "0x5000001000"


SIZES = st.integers(1, (1 << 64) - 1) | st.builds(
    lambda n, p: n << 10 * p, st.integers(1, 1023), st.integers(0, 5)
)


@given(SIZES)
def test_a_size_survives_writing_and_reading(size):
    assert units.parse_size(units.format_size(size)) == size
    assert units.parse_address(units.format_address(size)) == size


@given(st.frozensets(st.integers(0, units.MAX_CPU), min_size=1))
def test_a_cpu_set_survives_writing_and_reading(cpus):
    assert units.parse_cpus(units.format_cpus(cpus)) == cpus


@given(st.sets(st.integers(0, 80), min_size=1))
def test_a_written_cpu_set_is_ascending_and_no_two_parts_touch(cpus):
    parts = [tuple(map(int, part.split("-"))) for part in units.format_cpus(frozenset(cpus)).split(",")]
    assert all(left[-1] + 1 < right[0] for left, right in pairwise(parts))


@pytest.mark.parametrize("type_", [units.Size, units.MemoryAddress, units.CpuSet])
@given(value=st.integers() | st.text("0123456789xGiBKMgkb.-^, ", max_size=8))
def test_the_schema_refuses_text_that_the_reader_refuses(type_, value):
    adapter = TypeAdapter(type_)
    fits = Draft7Validator(adapter.json_schema()).is_valid
    try:
        parsed = adapter.validate_python(value)
    except ValidationError as refused:
        # but out of range, empty, or hex without 0x
        in_form = refused.errors()[0]["type"] in {"CXS303", "CXS304", "CXS320"}
        parsed = None
    if parsed is None:
        assert in_form or not fits(value)
        return
    assert fits(value)
    assert fits(adapter.dump_python(parsed))
    assert adapter.validate_python(adapter.dump_python(parsed)) == parsed


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        (640000000, 0x640000000),
        (5000000000 & ~4095, None),
        (640000000000, 0x640000000000),
        (320 << 30, None),
        (0x5080000000, None),
        (4096000, None),
        (0, None),
        (1 << 63, None),
    ],
)
def test_a_decimal_address_that_was_hex_is_told_by_its_alignment(address, meant):
    assert units.read_as_hex(address) == meant
