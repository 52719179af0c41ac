"""The script that makes again what a reboot forgets: its table, and the parts of it that need no machine."""

from __future__ import annotations

import random
import subprocess

import pytest

from cxlstate.core.exports import RestoreStep
from cxlstate.formats import restore
from cxlstate.formats.iomem import Range
from cxlstate.formats.mtrr import Block, Register, effective, parse
from cxlstate.resources.dax import verbs as dax_verbs
from cxlstate.resources.mtrr import verbs as mtrr_verbs
from tests.fragments import FRAGMENTS

pytestmark = pytest.mark.slow  # a shell for each
GIB = 1 << 30
PROGRAM = restore.program(*(one.text for one in FRAGMENTS.values()))
STEPS = (
    dax_verbs.at_boot("cxl0", restore.selector([Range(4 * GIB, 5 * GIB)]), 2 << 20),
    dax_verbs.at_boot("other", restore.selector(node=3), None),
    mtrr_verbs.at_boot("cxl0", Block(4 * GIB, GIB), "uncachable"),
)
TABLE = (
    ("mtrr", "cxl0", "0x100000000", "0x40000000", "uncachable"),
    ("dax", "cxl0", "range=0x100000000+0x40000000", "0x200000"),
    ("dax", "other", "node=3", "-"),
)


def shell(text):
    """Runs the functions of the script without its last line, which is the call of `main`."""
    functions, call, end = PROGRAM.rpartition('main "$@"\n')
    assert (call, end) == ('main "$@"\n', "")
    return subprocess.run(
        ["sh", "-u"], input=functions + text, capture_output=True, text=True, check=True
    ).stdout


def test_the_table_has_mtrrs_first_and_is_found_again():
    text = restore.script(STEPS).decode()
    assert restore.table(text) == TABLE
    assert text.startswith("#!/bin/sh\n")
    assert text.endswith(restore.program(mtrr_verbs.FRAGMENT.text, dax_verbs.FRAGMENT.text))


def test_the_order_of_steps_does_not_matter():
    assert restore.script(reversed(STEPS)) == restore.script(STEPS)


def test_a_table_may_be_empty_and_another_script_has_none():
    assert restore.table(restore.script([]).decode()) == ()
    assert restore.table("#!/bin/sh\nreboot\n") is None
    assert restore.table("table='\nmtrr $(reboot)\n'\n") is None


@pytest.mark.parametrize("word", ["", "a b", "$(reboot)", "'", "a\nb", "`x`", "é"])
def test_a_word_that_is_not_plain_is_refused(word):
    with pytest.raises(ValueError, match="plain"):
        restore.script([RestoreStep(mtrr_verbs.FRAGMENT, ("mtrr", word))])


@pytest.mark.parametrize("interpreter", ["dash", "bash"])
def test_it_is_a_script_in_any_shell(interpreter):
    subprocess.run([interpreter, "-n"], input=restore.script(STEPS), check=True)


def test_words_are_never_part_of_the_code(tmp_path):
    words = ["dax_bind", f"name=$(touch {tmp_path}/owned)", "-"]
    done = subprocess.run(["sh", "-c", PROGRAM, "cxlstate", *words], capture_output=True, check=False)
    assert done.returncode == 64
    assert not list(tmp_path.iterdir())
    assert done.stderr.startswith(b"cxlstate: not a plain word: name=$(touch ")


@pytest.mark.parametrize("words", [[], ["no-such-verb"], ["main"]])
def test_what_is_no_verb_is_wrong_usage(words):
    done = subprocess.run(["sh", "-c", PROGRAM, "cxlstate", *words], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (64, b"")


def test_restoring_needs_a_table():
    done = subprocess.run(["sh", "-c", PROGRAM, "cxlstate", "restore"], capture_output=True, check=False)
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
        "mtrr_may_be_added 0x100000000 0x100000000 uncachable 2>&1 || :\n"
    )
    assert refused in said
    assert bool(refused) == bool(said)


def _proc_line(register):
    at, size, kind = register
    return f"reg00: base=0x{at * GIB:09x} ({at * 1024:5}MB), size={size * 1024:5}MB, count=1: {kind}\n"


def test_the_program_that_maps_is_python():
    compile(restore.map_and_read(), "map_and_read", "exec")


def sysfs(tmp_path, **devices):
    """Devices by name with `_` for the dot: attributes by name, written as the kernel writes them."""
    for name, attributes in devices.items():
        for attribute, value in attributes.items():
            file = tmp_path / "devices" / name.replace("_", ".") / attribute
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{value}\n")
    return f"devices={tmp_path}/devices; drivers={tmp_path}/drivers\n"


def attributes(*ranges, mappings=True):
    found = {
        "size": sum(end - start for start, end in ranges),
        "resource": f"{ranges[0][0]:#x}",
        "align": 4096,
    }
    for number, (start, end) in enumerate(ranges if mappings else ()):
        found |= {f"mapping{number}/start": f"{start:#x}", f"mapping{number}/end": f"{end - 1:#x}"}
    return found


LOW, BETWEEN, HIGH = (8 * GIB, 24 * GIB), (24 * GIB, 40 * GIB), (40 * GIB, 56 * GIB)


@pytest.mark.parametrize(
    ("ranges", "wanted"),
    [
        ([LOW], [LOW]),
        ([LOW, HIGH], [LOW, HIGH]),
        ([HIGH, LOW], [LOW, HIGH]),
        ([LOW, BETWEEN], [(8 * GIB, 40 * GIB)]),
        ([HIGH, LOW, BETWEEN], [(8 * GIB, 56 * GIB)]),
    ],
)
def test_the_memory_of_a_device_is_that_of_all_its_mappings(tmp_path, ranges, wanted):
    said = shell(
        f'{sysfs(tmp_path, dax0_1=attributes(*ranges))} dax_memory_of dax0.1; echo "$ranges$written"'
    )
    *lines, written = said.splitlines()
    assert lines == [f"{start} {end}" for start, end in wanted]
    assert f"range={written}" == restore.selector(Range(*one) for one in ranges)


def test_a_kernel_without_mappings_has_one_range(tmp_path):
    devices = sysfs(tmp_path, dax0_0=attributes(LOW, mappings=False))
    assert shell(f'{devices} dax_memory_of dax0.0; printf %s "$written"') == "0x200000000+0x400000000"


@pytest.mark.parametrize(
    ("ranges", "device"),
    [([LOW, HIGH], "dax0.1"), ([BETWEEN], "dax0.2"), ([LOW], ""), ([(8 * GIB, 40 * GIB)], "")],
)
def test_a_selector_means_all_ranges_of_a_device_and_no_other(tmp_path, ranges, device):
    devices = sysfs(tmp_path, dax0_1=attributes(LOW, HIGH), dax0_2=attributes(BETWEEN))
    selector = restore.selector(Range(*one) for one in ranges)
    assert shell(f'{devices} dax_resolve {selector} || :; echo "$device"').strip() == device


@pytest.mark.parametrize(
    ("start", "end", "unbound"),
    [(8, 16, True), (48, 56, True), (24, 40, False), (0, 8, False), (56, 64, False)],
)
def test_mtrrs_between_the_ranges_of_a_device_leave_it_bound(tmp_path, start, end, unbound):
    devices = sysfs(tmp_path, dax0_1=attributes(LOW, HIGH))
    selector = restore.selector([Range(*LOW), Range(*HIGH)])
    said = shell(
        f"{devices} table='dax cxl0 {selector} -'\ndax_bound_to() {{ driver=device_dax; }}\n"
        f"dax_unbind() {{ echo unbound; }}\ndax_vacate {start * GIB} {(end - start) * GIB}\n"
    )
    assert bool(said) == unbound


@pytest.mark.parametrize(
    ("mtrr", "recorded", "cached"),
    [(HIGH, HIGH, True), (LOW, HIGH, False), (HIGH, LOW, False), (BETWEEN, LOW, False)],
)
def test_a_device_of_which_a_range_is_known_to_be_cached_gets_no_link(tmp_path, mtrr, recorded, cached):
    """`mtrr` is uncachable, and `recorded` is mapped write-back."""
    devices = sysfs(tmp_path, dax0_1=attributes(LOW, HIGH))
    (tmp_path / "pat").write_text(f"PAT: [mem {recorded[0]:#018x}-{recorded[1]:#018x}] write-back\n")
    said = shell(
        f"{devices} pat={tmp_path}/pat links={tmp_path}/links noted={tmp_path}/noted device=dax0.1\n"
        f"look() {{ now='0 {mtrr[0]} {mtrr[1] - mtrr[0]} 1 uncachable'; }}\n"
        "dax_bound_to() { driver=device_dax; }; dax_node() { :; }\n"
        "dax_link cxl0 name=dax0.1 2>&1 || echo refused; dax_note 2>&1\n"
        f"cat {tmp_path}/noted 2>/dev/null || :\n"
    )
    assert ("refused" in said) == cached
    assert (tmp_path / "links" / "cxl0").is_symlink() != cached
    noted = restore.mapped_write_back(said, [Range(*LOW), Range(*HIGH)])
    assert noted == cached


HOSTILE = (
    "$(touch owned)",
    "`touch owned`",
    "a[$(touch owned)]",
    "0xa[$(touch owned)]",
    "1; touch owned",
    "x+$(touch owned)",
    "'$(touch owned)'",
    "08",
    "-1",
    "0x",
    "",
    "9" * 40,
    "\\n",
    "../../owned",
    "* *",
    "PATH",
)


@pytest.mark.parametrize("interpreter", ["dash", "bash"])
@pytest.mark.parametrize("attribute", ["size", "resource", "align", "mapping0/start", "mapping0/end"])
@pytest.mark.parametrize("said", HOSTILE)
def test_what_sysfs_says_is_never_run(tmp_path, interpreter, attribute, said):
    """bash runs commands in arithmetic."""
    devices = sysfs(tmp_path, dax0_1=attributes(LOW) | {attribute: said})
    selector = restore.selector([Range(*LOW)])
    table = f"mtrr cxl0 {LOW[0]:#x} {LOW[1] - LOW[0]:#x} uncachable\ndax cxl0 {selector} 0x1000"
    script = PROGRAM.rpartition('main "$@"\n')[0] + (
        f"{devices} links={tmp_path}/links; patience=0; noted={tmp_path}/noted; table='{table}'\n"
        "look() { now=; }; tell() { complaint=no; }; udevadm() { :; }\n"
        f"(main dax_bind {selector} 0x1000); (main dax_link cxl0 name=dax0.1); (main dax_check name=dax0.1)\n"
        f"(main dax_reclaim name=dax0.1); (main restore); true\n"
    )
    done = subprocess.run(
        [interpreter], input=script, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60
    )
    assert not (tmp_path / "owned").exists(), done.stderr
    assert not (tmp_path / "links").exists()


@pytest.mark.parametrize("interpreter", ["dash", "bash"])
@pytest.mark.parametrize(
    "word", [one for one in HOSTILE if set(one) - set("0123456789abcdefghijklmnopqrstuvwxyz-.PATH")]
)
@pytest.mark.parametrize(
    "verb", ["mtrr_add", "mtrr_remove", "dax_bind", "dax_link", "dax_unlink", "dax_check"]
)
def test_no_word_is_ever_run(tmp_path, interpreter, verb, word):
    done = subprocess.run(
        [interpreter, "-c", PROGRAM, "cxlstate", verb, word, word, "uncachable"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 64
    assert done.stderr.startswith("cxlstate: not a plain word: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("interpreter", ["dash", "bash"])
@pytest.mark.parametrize("word", ["$(touch owned)", "a[$(touch owned)]", "x;", '"', "é"])
def test_a_table_with_another_word_is_refused_whole(tmp_path, interpreter, word):
    head = f"table='\nmtrr cxl0 {word} {word} uncachable\ndax cxl0 name=dax0.0 {word}\n'\n"
    done = subprocess.run(
        [interpreter, "-c", head + PROGRAM, "cxlstate", "restore"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, "cxlstate: a word of the table is not plain\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("interpreter", ["dash", "bash"])
def test_a_table_as_it_is_written_is_read(tmp_path, interpreter):
    head = restore.script(STEPS).decode().removesuffix('main "$@"\n')
    script = f"{head}{sysfs(tmp_path)} mtrr_restore() {{ echo read; return 0; }}; patience=0; main restore\n"
    done = subprocess.run(
        [interpreter], input=script, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, "no dax device is range=0x100000000+0x40000000" in done.stderr) == ("read\n", True)
