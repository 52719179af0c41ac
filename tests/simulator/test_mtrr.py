"""The model of the kernel's MTRRs by itself; `tests/conformance/test_mtrr_kernel.py` holds it to a kernel."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxlstate.formats.dax import forced_write_back
from cxlstate.formats.mtrr import effective, forces_write_back, parse, variable_registers
from cxlstate.simulator import mtrr
from cxlstate.simulator.mtrr import TYPES, Mtrrs, Register
from cxlstate.simulator.world import VariableRange, World

NUMBER, PAGES, PAGE = 4, 256, 4096
KINDS = [TYPES.index(kind) for kind in dict.fromkeys(TYPES) if kind != "?"]
FIRMWARE = Register(128, 64, 0)


def machine(*registers, said=None, width=46):
    row = [*registers, *[None] * (NUMBER - len(registers))]
    return Mtrrs(row, width, (said if said is not None else []).append)


def line(base, size, kind="uncachable"):
    return f"base={base:#x} size={size:#x} type={kind}\n"


@st.composite
def blocks(draw):
    """Mostly what a register can hold, in a space of 8 bits."""
    size = 1 << draw(st.integers(0, 6))
    return draw(st.integers(0, PAGES // size - 1)) * size, size


WRITES = st.lists(
    st.tuples(blocks(), st.sampled_from(KINDS)) | st.integers(-1, NUMBER), min_size=1, max_size=12
)


def do(mtrrs, write):
    if isinstance(write, int):
        return mtrrs.delete(write)
    (base, size), kind = write
    return mtrrs.add(base, size, kind)


@given(WRITES)
def test_a_register_of_the_firmware_goes_only_by_its_number_or_inside_a_larger_one(writes):
    mtrrs = machine(replace(FIRMWARE))
    for write in writes:
        before = [one and replace(one) for one in mtrrs.registers]
        ended = do(mtrrs, write)
        if ended:
            assert mtrrs.registers == before, "what is refused changes nothing"
        for index, (old, new) in enumerate(zip(before, mtrrs.registers, strict=True)):
            if old is None or (new and (old.base, old.size, old.type) == (new.base, new.size, new.type)):
                continue
            if new is None:
                assert write == index
                assert old.count == 1
            else:
                assert (new.type, new.count) == (old.type, old.count + 1)
                assert new.base <= old.base
                assert old.last <= new.last


@given(WRITES)
def test_a_write_that_is_done_is_in_force_and_makes_at_most_one_register(writes):
    mtrrs = machine(replace(FIRMWARE))
    for write in writes:
        used = sum(one is not None for one in mtrrs.registers)
        if do(mtrrs, write) == 0 and not isinstance(write, int):
            (base, size), kind = write
            holding = [one for one in mtrrs.registers if one and one.type == kind and one.base <= base]
            assert any(base + size - 1 <= one.last for one in holding)
            assert 0 <= sum(one is not None for one in mtrrs.registers) - used <= 1


@given(WRITES, st.integers(0, PAGES - 1), st.integers(1, PAGES))
def test_the_type_of_a_range_is_that_of_its_pages(writes, start, size):
    mtrrs = machine(replace(FIRMWARE))
    for write in writes:
        do(mtrrs, write)
    end = min(start + size, PAGES)
    pages = [by_hand(mtrrs, page) for page in range(start, end)]
    told = effective(start * PAGE, end * PAGE, parse(mtrrs.text()))
    assert told == (pages[0] if len(set(pages)) == 1 else None)
    alike = TYPES[mtrrs.lookup(start * PAGE, end * PAGE)]
    assert (alike == "write-back") == (set(pages) == {"write-back"}), "what the PAT record is made from"


def by_hand(mtrrs, page):
    """Volume 3 of Intel's manual, 12.11.4.1: what a page is that several registers hold."""
    kinds = {TYPES[one.type] for one in mtrrs.registers if one and one.base <= page <= one.last}
    if "uncachable" in kinds or len(kinds) > 2:
        return "uncachable"
    if kinds == {"write-through", "write-back"}:
        return "write-through"
    return "uncachable" if len(kinds) == 2 else next(iter(kinds), "write-back")


@pytest.mark.parametrize(
    ("written", "ended", "said"),
    [
        (
            line(0x5000000000, 0x3000),
            errno.EINVAL,
            "mtrr: base(0x5000000000) is not aligned on a size(0x3000)",
        ),
        (line(0x5000000000, 0), errno.EINVAL, "mtrr: base(0x5000000000) is not aligned on a size(0x0000)"),
        (line(0, 0), errno.EINVAL, "zero sized request"),
        (line(1 << 46, 0x1000), errno.EINVAL, "base or size exceeds the MTRR width"),
        (line(0x1001, 0x1000), errno.EINVAL, ""),
        (line(0x1000, 0x1000, "uncacheable"), errno.EINVAL, ""),
        ("disable=4\n", errno.EINVAL, "register: 4 too big"),
        ("disable=3\n", errno.EINVAL, "MTRR 3 not used"),
        ("disable=08\n", 0, ""),  # octal: it is register 0 that goes
        ("disable=-1\n", 0, ""),  # no number at all: register 0, too
        ("disable=4294967295\n", errno.EINVAL, "MTRR 1 not used"),
        ("base=0x1000 size=0x1000\n", errno.EINVAL, ""),
        ("nonsense\n", errno.EINVAL, ""),
        ("base=4096   size=0x1000   type=  write-back", 0, ""),
    ],
)
def test_a_write_as_the_kernel_takes_it(written, ended, said):
    log = []
    mtrrs = machine(replace(FIRMWARE), said=log)
    assert mtrrs.write(written) == ended
    assert (log[-1] if log else "").startswith(said)
    assert bool(log) == bool(said)
    assert (mtrrs.registers[0] is None) == (ended == 0 and written.startswith("disable"))


def test_what_the_kernel_says_of_registers_that_are_in_the_way():
    log = []
    mtrrs = machine(Register(0x5000000, 4, 1), said=log)
    assert mtrrs.write(line(0x5000000000, 0x2000, "write-back")) == errno.EINVAL
    assert log[-1] == "type mismatch for 5000000000,2000 old: write-combining new: write-back"
    assert mtrrs.write(line(0x5000000000, 0x8000, "write-back")) == errno.EINVAL
    assert log[-1] == "0x5000000000,0x8000 overlaps existing 0x5000000000,0x4000"
    for page in range(NUMBER - 1):
        assert mtrrs.write(line(0x6000000000 + page * PAGE, PAGE)) == 0
    assert mtrrs.write(line(0x7000000000, PAGE)) == errno.ENOSPC
    assert log[-1] == "no more MTRRs available"


def test_the_traps():
    """Written twice, it counts; one inside makes none; a larger one takes the place of one, not of two."""
    mtrrs = machine()
    assert [mtrrs.write(line(0, 2 * PAGE)) for _ in range(2)] == [0, 0]
    assert mtrrs.write(line(PAGE, PAGE)) == 0
    assert mtrrs.text() == "reg00: base=0x000000000 (    0MB), size=    8KB, count=3: uncachable\n"
    assert mtrrs.write(line(0, 4 * PAGE)) == 0
    assert mtrrs.text() == "reg00: base=0x000000000 (    0MB), size=   16KB, count=4: uncachable\n"
    assert mtrrs.write(line(4 * PAGE, PAGE)) == 0
    assert mtrrs.write(line(0, 8 * PAGE)) == 0
    assert [one.index for one in parse(mtrrs.text())] == [0, 1, 2]
    assert [mtrrs.delete(0) for _ in range(4)] == [0] * 4
    assert [one.index for one in parse(mtrrs.text())] == [1, 2]


@pytest.mark.parametrize(
    ("kernel", "old"),
    [("5.15.0-100-generic", True), ("6.1.0-28-amd64", True), ("6.5.13", False), ("6.12.117-amd64", False)],
)
def test_the_log_tells_the_number_of_registers_as_each_kernel_does(kernel, old):
    world = World()
    world.running.kernel = kernel
    world.mtrr.registers = 8
    world.mtrr.firmware = [VariableRange(1, "0x7f000000", "0x1000000", "uncachable", 1)]
    mtrr.boot(world)
    log = "\n".join(world.running.log)
    assert variable_registers(log) == 8
    assert ("MTRR map:" not in log) == old
    assert ("  1 base 00007F000000 mask 3FFFFF000000 uncachable\n" in log) == old


@pytest.mark.parametrize("kernel", ["6.1.0-28-amd64", "6.12.117-amd64"])
def test_the_log_tells_of_memory_that_the_processor_forces(kernel):
    world = World()
    world.running.kernel = kernel
    world.mtrr.registers, world.mtrr.forced = 8, "0x8000000000"
    mtrr.boot(world)
    log = "\n".join(world.running.log) + "\n"
    assert variable_registers(log) == 8
    assert forces_write_back(log) or forced_write_back(log) == 0x8000000000
