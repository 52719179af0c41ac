"""The simulator's MTRRs against a kernel's: random writes to /proc/mtrr, with the same end and registers."""

from __future__ import annotations

import random
import re

import pytest

from cxlstate.formats.mtrr import parse
from cxlstate.simulator.mtrr import TYPES, Mtrrs, Register

pytestmark = [pytest.mark.lab, pytest.mark.parametrize("stages", ["lab"], indirect=True)]

SEED, SEQUENCES, BATCH = 20240610, 240, 60
NUMBER, PAGE = 8, 4096
FAR, PAGES = 0x5000000000, 64  # where there is nothing on the emulated host
KINDS = ("uncachable", "write-combining", "write-through", "write-back")
WRONG = (
    "size=0x1000",
    "base=0x5000000000 size=0x1000 type=uncacheable",
    "base=0x5000000000 size=0x3000 type=uncachable",
    "base=0x5000001000 size=0x2000 type=write-back",
    "base=0x5000000800 size=0x1000 type=uncachable",
    "base=0x5000000000 size=0 type=uncachable",
    "base=0 size=0 type=uncachable",
    "base=0x800000000000 size=0x1000 type=uncachable",
    "base=0x5000000000, size=0x1000, type=uncachable",
    "base=343597383680 size=010000 type= write-back",
    "disable=8",
    "disable=99999",
)
# Builtins alone: a process is dear there.
FUNCTIONS = """
w() {
    { echo "$1" >/proc/mtrr; } 2>/dev/null
    echo "= $?"
    while IFS= read -r line; do echo "$line"; done </proc/mtrr
}
"""


@pytest.fixture
def given(machine):
    """What the kernel starts from: the registers in use, and how wide an address is."""
    registers = [None] * NUMBER
    for one in parse(machine.text("/proc/mtrr")):
        block = one.block
        kind = TYPES.index(one.type)
        registers[one.index] = Register(block.base // PAGE, block.size // PAGE, kind, one.count)
    width = int(re.search(r"address sizes\s*: (\d+) bits physical", machine.text("/proc/cpuinfo"))[1])
    return registers, width


def sequence(chance, given):
    """Some writes, and those that take away again what they made; with what the model makes of each."""
    registers, width = given
    model = Mtrrs(list(registers), width)
    theirs = {index for index, one in enumerate(registers) if one}

    def write(line):
        return line, f"= {int(model.write(line + chr(10)) != 0)}\n{model.text()}"

    def made():
        return [index for index, one in enumerate(model.registers) if one and index not in theirs]

    done = [write(random_line(chance, made())) for _ in range(chance.randint(4, 16))]
    while made():
        done.append(write(f"disable={made()[0]}"))
    return done


def random_line(chance, made):
    what = chance.random()
    if what < 0.1:
        return chance.choice(WRONG)
    if what < 0.3 and made:
        return f"disable={chance.choice(made)}"
    size = 1 << chance.choice((0, 0, 0, 1, 1, 2, 3, 4, 6))
    base = FAR + chance.randrange(PAGES // size) * size * PAGE
    kind = chance.choice((*KINDS, "uncachable"))
    return f"base={base:#x} size={size * PAGE:#x} type={kind}"


@pytest.mark.parametrize(
    "batch", [0, *(pytest.param(one, marks=pytest.mark.long) for one in range(1, SEQUENCES // BATCH))]
)
def test_random_writes_end_as_in_the_kernel(machine, given, batch):
    chance = random.Random(SEED + batch)
    done = [one for _ in range(BATCH) for one in sequence(chance, given)]
    script = FUNCTIONS + "".join(f"w '{line}'\n" for line, _ in done)
    said = machine.shell(script)
    found = re.split(r"^(?==)", said, flags=re.MULTILINE)[1:]
    assert len(found) == len(done)
    for number, ((line, expected), was) in enumerate(zip(done, found, strict=True)):
        assert was == expected, (number, line, done[max(0, number - 8) : number])
    assert {expected[2] for _, expected in done} == {"0", "1"}
