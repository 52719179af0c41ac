"""The script that makes again what a reboot forgets: its table, and the parts of it that need no machine."""

from __future__ import annotations

import random
import subprocess

import pytest

from cxlstate.core.exports import RestoreStep
from cxlstate.formats import restore
from cxlstate.formats.mtrr import Block, Register, effective, parse

GIB = 1 << 30
STEPS = (
    restore.dax_at_boot("cxl0", restore.selector(start=4 * GIB, size=GIB), 2 << 20),
    restore.dax_at_boot("other", restore.selector(node=3), None),
    restore.mtrr_at_boot("cxl0", Block(4 * GIB, GIB), "uncachable"),
)
TABLE = (
    ("mtrr", "cxl0", "0x100000000", "0x40000000", "uncachable"),
    ("dax", "cxl0", "range=0x100000000+0x40000000", "0x200000"),
    ("dax", "other", "node=3", "-"),
)


def shell(text):
    """Runs the functions of the script without its last line, which is the call of `main`."""
    functions, call, end = restore.library().rpartition('main "$@"\n')
    assert (call, end) == ('main "$@"\n', "")
    return subprocess.run(
        ["sh", "-u"], input=functions + text, capture_output=True, text=True, check=True
    ).stdout


def test_the_table_has_mtrrs_first_and_is_found_again():
    text = restore.script(STEPS).decode()
    assert restore.table(text) == TABLE
    assert text.startswith("#!/bin/sh\n")
    assert text.endswith(restore.library())


def test_the_order_of_steps_does_not_matter():
    assert restore.script(reversed(STEPS)) == restore.script(STEPS)


def test_a_table_may_be_empty_and_another_script_has_none():
    assert restore.table(restore.script([]).decode()) == ()
    assert restore.table("#!/bin/sh\nreboot\n") is None
    assert restore.table("table='\nmtrr $(reboot)\n'\n") is None


@pytest.mark.parametrize("word", ["", "a b", "$(reboot)", "'", "a\nb", "`x`", "é"])
def test_a_word_that_is_not_plain_is_refused(word):
    with pytest.raises(ValueError, match="plain"):
        restore.script([RestoreStep(1, ("mtrr", word))])


@pytest.mark.parametrize("interpreter", ["dash", "bash"])
def test_it_is_a_script_in_any_shell(interpreter):
    subprocess.run([interpreter, "-n"], input=restore.script(STEPS), check=True)


def test_words_are_never_part_of_the_code(tmp_path):
    words = ["dax-bind", f"name=$(touch {tmp_path}/owned)", "-"]
    done = subprocess.run(
        ["sh", "-c", restore.library(), "cxlstate", *words], capture_output=True, check=False
    )
    assert done.returncode == 1
    assert not list(tmp_path.iterdir())
    assert done.stderr.startswith(b"cxlstate: no dax device is name=$(touch ")


@pytest.mark.parametrize("words", [[], ["no-such-verb"], ["main"]])
def test_what_is_no_verb_is_wrong_usage(words):
    done = subprocess.run(
        ["sh", "-c", restore.library(), "cxlstate", *words], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (64, b"")


def test_restoring_needs_a_table():
    done = subprocess.run(
        ["sh", "-c", restore.library(), "cxlstate", "restore"], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, b"cxlstate: there is no table\n")


PROC_MTRR = """\
reg00: base=0x0c0000000 ( 3072MB), size= 1024MB, count=1: uncachable
reg01: base=0x000080000 (    0MB), size=  512KB, count=2: write-through
reg09: base=0x5000000000 (327680MB), size=65536MB, count=1: write-combining
reg18: base=0x8000000000 (524288MB), size=1048576MB, count=12: write-back
"""


def test_registers_are_read_as_python_reads_them(tmp_path):
    (tmp_path / "mtrr").write_text(PROC_MTRR)
    wanted = [
        f"{one.index} {one.block.base} {one.block.size} {one.count} {one.type}" for one in parse(PROC_MTRR)
    ]
    assert shell(f"registers {tmp_path}/mtrr\n").splitlines() == wanted


@pytest.mark.parametrize("line", ["", "hello", "reg00: base=0x0 ( 0MB), size= 1GB, count=1: uncachable"])
def test_a_register_of_another_form_is_noticed(tmp_path, line):
    (tmp_path / "mtrr").write_text(f"{PROC_MTRR}{line}\n")
    assert shell(f"registers {tmp_path}/mtrr\n").splitlines()[-1] == "?"


def test_what_is_in_effect_is_what_python_says():
    """Uncachable and write-through; write-back is also what no register covers, and never asked for."""
    chance = random.Random(3)
    cases = [_some_registers(chance) for _ in range(300)]
    script = "".join(
        f"now='{''.join(map(_line, registers))}'; in_effect {block.base:#x} {block.size:#x} {kind}; echo $?\n"
        for block, kind, registers in cases
    )
    wanted = [effective(block.base, block.end, registers) == kind for block, kind, registers in cases]
    assert 30 < sum(wanted) < 270
    assert [line == "0" for line in shell(script).splitlines()] == wanted


def _some_registers(chance):
    def block():
        size = GIB << chance.randrange(4)
        return Block(64 * GIB + size * chance.randrange(16 * GIB // size), size)

    kinds = ("uncachable", "uncachable", "write-through", "write-back")
    registers = [Register(at, block(), chance.choice(kinds)) for at in range(chance.randrange(7))]
    return block(), chance.choice(kinds[1:3]), registers


def _line(one):
    return f"{one.index} {one.block.base} {one.block.size} {one.count} {one.type}\n"


@pytest.mark.parametrize(
    ("registers", "before", "refused"),
    [
        ([], [], ""),
        ([(4, 1, "write-back")], [(4, 1, "write-back")], ""),
        ([(4, 1, "uncachable")], [(4, 1, "uncachable")], "would replace the register 0x100000000+0x40000000"),
        ([(4, 1, "uncachable")], [], ""),
        ([(4, 1, "uncachable"), (6, 1, "uncachable")], [(4, 1, "uncachable")], ""),
    ],
    ids=["none", "another type", "not ours", "ours", "two are never replaced"],
)
def test_a_register_that_is_not_ours_is_never_replaced(tmp_path, registers, before, refused):
    """The new block is 4 GiB at 4 GiB."""
    (tmp_path / "before").write_text("".join(map(_proc_line, before)))
    now = "".join(_line(Register(0, Block(at * GIB, size * GIB), kind)) for at, size, kind in registers)
    said = shell(
        f"before={tmp_path}/before; now='{now}'; wanted=it\n"
        "may_be_added 0x100000000 0x100000000 uncachable 2>&1 || :\n"
    )
    assert refused in said
    assert bool(refused) == bool(said)


def _proc_line(register):
    at, size, kind = register
    return f"reg00: base=0x{at * GIB:09x} ({at * 1024:5}MB), size={size * 1024:5}MB, count=1: {kind}\n"


def test_the_program_that_maps_is_python():
    compile(restore.map_and_read(), "map_and_read", "exec")
