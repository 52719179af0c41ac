"""What head and fragments of the boot script promise each other, and the simulator that runs them."""

from __future__ import annotations

import re
import subprocess

import pytest

from cxlstate.core.exports import RestoreStep
from cxlstate.core.fragment import Fragment
from cxlstate.formats import ours, restore
from tests.fragments import FRAGMENTS

HEAD, CALL = "", 'main "$@"\n'
PARTS = {HEAD: restore.head(), **{kind: one.text for kind, one in FRAGMENTS.items()}}
FUNCTION = re.compile(r"(?m)^([A-Za-z_]\w*)\(\)")
ELSEWHERE = re.compile(r"(?<![\w$}\"/.*])/(?:proc|sys|dev|run|etc|var|boot|tmp|usr|home|root)\b[^\s\"')]*")


def code(text):
    """Without comments, what is said to people, and where programs are looked for."""
    lines = (re.sub(r"(^|\s)#.*", "", line) for line in text.splitlines() if not line.startswith("PATH="))
    return re.sub(r"\b(say|refuse) ('[^']*'|\"[^\"]*\")", r"\1", "\n".join(lines))


@pytest.mark.parametrize("kind", PARTS)
def test_all_paths_of_a_machine_stand_below_its_root(kind):
    found = ELSEWHERE.findall(code(PARTS[kind]))
    assert set(found) <= {"/dev/null"}


def test_the_look_for_paths_finds_one():
    for text in ("cat /proc/mtrr", "x=/sys/bus", "read -r x </proc/uptime", "[ -r '/run/x' ]"):
        assert ELSEWHERE.findall(code(text)), text
    for text in ('cat "$root/proc/mtrr"', "x=$root/sys/bus", '<"$root/proc/1/x"', "refuse '/proc/mtrr'"):
        assert not ELSEWHERE.findall(code(text)), text


@pytest.mark.parametrize("kind", FRAGMENTS)
def test_a_fragment_defines_only_names_of_its_own(kind):
    names = FUNCTION.findall(PARTS[kind])
    assert names
    assert all(name.startswith(f"{kind}_") for name in names)
    assert f"{kind}_restore" in names


@pytest.mark.parametrize("kind", FRAGMENTS)
def test_its_verbs_are_its_functions(kind):
    program = restore.program(FRAGMENTS[kind].text).removesuffix(CALL)
    done = subprocess.run(["sh", "-c", f'{program}echo "$verbs"'], capture_output=True, text=True, check=True)
    verbs = done.stdout.split()
    assert verbs
    assert set(verbs) <= set(FUNCTION.findall(PARTS[kind]))


def test_kinds_that_bring_one_are_found_by_their_file():
    assert ours.restored() == ("dax", "mtrr")


NOTE = Fragment(
    "note",
    3,
    'verbs="$verbs note_write"\n'
    'note_write() { mkdir -p "$root/run/notes" && printf "%s\\n" "$2" >"$root/run/notes/$1"; }\n'
    'note_await() { echo "awaited: $(rows note | tr "\\n" ,)"; }\n'
    "note_vacate() { mine=lost; echo vacated; }\n"
    'note_forgo() { echo "forgone"; }\n'
    "note_restore() {\n"
    "    while read -r name text <&3; do\n"
    '        [ -z "$name" ] || note_write "$name" "$text" || return 1\n'
    "    done 3<<END\n$(rows note)\nEND\n}\n",
)
FIRST = Fragment(
    "first",
    1,
    'first_restore() { mine=; vacate 0x0 0x1000; [ -z "$mine" ] || exit 9; return $(rows first); }\n',
)


def run(tmp_path, steps, *words):
    text = restore.script(steps).decode()
    code = text.replace("root=''\n", f"root='{tmp_path}'\n", 1)
    assert code != text
    return subprocess.run(["sh", "-c", code, "cxlstate", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("of_first", "status", "said"), [("0", 0, ""), ("1", 1, ""), ("2", 1, "forgone\n")])
def test_a_fragment_of_any_kind_is_awaited_restored_or_forgone(tmp_path, of_first, status, said):
    rows = (("note", "a", "one"), ("note", "b", "two"))
    steps = [*(RestoreStep(NOTE, row) for row in rows), RestoreStep(FIRST, ("first", of_first))]
    assert restore.table(restore.script(steps).decode()) == (("first", of_first), *rows)
    done = run(tmp_path, steps, "restore")
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout == f"awaited: a one,b two,\nvacated\n{said}"
    notes = {path.name: path.read_text() for path in tmp_path.glob("run/notes/*")}
    assert notes == ({} if said else {"a": "one\n", "b": "two\n"})


def test_a_row_that_nobody_restores_stops_it_before_anything_is_done(tmp_path):
    steps = [RestoreStep(NOTE, ("note", "a", "one")), RestoreStep(NOTE, ("other", "b"))]
    done = run(tmp_path, steps, "restore")
    assert (done.returncode, done.stderr) == (1, "cxlstate: nothing here restores other\n")
    assert not list(tmp_path.iterdir())


OLDER = """\
#!/bin/sh
# Written by cxlstate, and run at boot by cxlstate-restore.service. Edits are undone by the next apply.
table='
mtrr cxl0 0x5000000000 0x1000000000 uncachable
dax cxl0 range=0x5080000000+0x1800000000 0x200000
'
# shellcheck shell=sh
# Everything below is constant. `restore` makes again what a reboot forgets, as the table says; `apply`
# runs the other verbs one by one. What a step acts on is found at that moment, by address or content.
main() {
    case $1 in
        mtrr-add) mtrr_add "$@" ;;
        restore) restore ;;
    esac
}

main "$@"
"""


def test_rows_of_an_older_version_are_ours_and_its_code_is_not_run_elsewhere():
    rows = restore.table(OLDER)
    assert rows == (
        ("mtrr", "cxl0", "0x5000000000", "0x1000000000", "uncachable"),
        ("dax", "cxl0", "range=0x5080000000+0x1800000000", "0x200000"),
    )
    assert restore.simulated(OLDER, "/root", "") is None
    same = restore.script(RestoreStep(FRAGMENTS[row[0]], row) for row in rows).decode()
    assert restore.simulated(same, "/root", "") is not None
    for edited in (
        f"{same}echo more\n",
        same.replace("umask 022", "umask 0"),
        same.replace("dax cxl0", "d x"),
    ):
        assert restore.simulated(edited, "/root", "") is None
