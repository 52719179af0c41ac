"""The boot script's text in the simulator: nothing outside of the machine's folder is read or written."""

from __future__ import annotations

import json

import pytest

from cxlstate.core.action import Step
from cxlstate.core.fragment import Fragment
from cxlstate.machine.outcome import Entry, Result
from cxlstate.simulator.faults import Faults, PowerCut
from cxlstate.simulator.writer import SimWriter

ENTRY = Entry("run", ("test",), "a test", "live")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "a host's folder"


def perform(directory, body, *words, faults=None):
    fragment = Fragment("probe", 1, f'verbs="$verbs probe_it"\nprobe_it() {{\n{body}\n}}\n')
    writer = SimWriter(directory, "host", faults=faults)
    try:
        return writer.perform(Step(fragment, ("probe_it", *words), ""), ENTRY)
    finally:
        writer.close()
        assert not (directory / ".kernel").exists()


def running(directory):
    return json.loads((directory / "machine.json").read_text())["running"]


@pytest.mark.parametrize("program", ["touch", "sh", "python", "modinfo", "reboot", "env"])
def test_programs_of_this_computer_are_not_there(directory, program):
    outcome = perform(directory, f"{program} x")
    assert (outcome.result, outcome.status) == (Result.FAILED, 127)
    assert "not found" in outcome.output


def test_its_root_is_a_folder_of_the_machine(directory):
    outcome = perform(directory, 'echo "$root"; ls() { for x in "$root"/*; do echo "${x##*/}"; done; }; ls')
    root, *names = outcome.output.splitlines()
    assert root == str(directory / ".kernel")
    assert names == ["dev", "proc", "sys", "tools"]


def test_what_it_leaves_in_run_and_dev_is_the_machines_and_what_it_removes_is_gone(directory):
    made = 'mkdir -p "$root/run/a" "$root/dev/c"; echo text >"$root/run/a/b"; ln -s d "$root/dev/c/l"'
    assert perform(directory, made).result is Result.DONE
    assert running(directory)["files"] == {"/run/a/b": "text\n"}
    assert running(directory)["links"] == {"/dev/c/l": "d"}
    assert perform(directory, 'cat "$root/run/a/b"; rm "$root/run/a/b" "$root/dev/c/l"').output == "text\n"
    assert running(directory)["files"] == running(directory)["links"] == {}


@pytest.mark.parametrize(
    ("line", "path", "complaint"),
    [
        ("base=0x0 size=0x1000 type=nonsense", "/proc/mtrr", "tee: /proc/mtrr: Invalid argument"),
        ("1", "/proc/sys/kernel/x", "tee: /proc/sys/kernel/x: No such file or directory"),
        ("offline", "/sys/devices/system/memory/memory161/state", ""),
    ],
)
def test_the_kernel_is_told_and_complains_as_it_does_on_a_machine(directory, line, path, complaint):
    outcome = perform(directory, f'tell "{line}" "$root{path}" || echo "$complaint"')
    assert outcome.output.strip().startswith(complaint)


def test_memory_goes_block_by_block_and_a_stop_between_leaves_what_was_done(directory):
    perform(directory, ":")
    path = directory / "machine.json"
    world = json.loads(path.read_text())
    (one,) = world["running"]["online"]
    one["movable"] = True
    path.write_text(json.dumps(world))
    first, last = int(one["start"], 16) >> 31, int(one["end"], 16) >> 31
    body = "for n; do tell offline $root/sys/devices/system/memory/memory$n/state || return 1; done"
    body = body.replace("$root/", '"$root"/')
    with pytest.raises(PowerCut):
        perform(directory, body, str(last), str(first), str(first + 1), faults=Faults(stop_at=3))
    assert [part["offline"] for part in running(directory)["online"]] == [True, False, True]
    assert perform(directory, body, *map(str, range(first, last + 1))).result is Result.DONE
    assert running(directory)["online"] == [{**one, "offline": True}]
