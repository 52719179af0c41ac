"""The command line: exit statuses, streams, documents, pages. Hostile input gets words, never a traceback."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import cxlstate
from cxlstate.cli.main import VERBS, _run
from cxlstate.core.action import Run
from cxlstate.machine import own_files
from cxlstate.pages import pages
from cxlstate.simulator.performers import SIMULATED
from cxlstate.simulator.writer import SimWriter
from tests.laws.bench import Bench

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"
DEMO = ROOT / "specs/demo.yaml"
ANSI = re.compile(r"\x1b\[")


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command line in this process: (exit status, stdout, stderr)."""
    monkeypatch.delenv("CXLSTATE_DEBUG", raising=False)

    def run(*arguments):
        status = _run([str(one) for one in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return status, said.out, said.err

    return run


def rarely(case):
    """A case for the whole run only, since the fast loop has others like it."""
    return pytest.param(case, marks=pytest.mark.slow)


def write(bench, **host):
    bench.spec(host)
    return bench.file


# Exit statuses ---------------------------------------------------------------------------------------


def test_a_plan_exits_2_an_apply_0_and_then_everything_0(run, bench):
    spec = write(bench, packages=["hello"], services={"cron": {"running": False}})
    assert run("plan", spec)[0] == 2
    assert run("drift", spec)[0] == 2
    assert run("show", spec)[0] == 0
    assert run("apply", "--yes", spec)[0] == 0
    for verb in ("plan", "drift", "show", "validate"):
        assert run(verb, spec)[0] == 0
    assert run("apply", "--yes", spec)[0] == 0


def test_a_bad_spec_exits_1_and_says_where(run, tmp_path):
    spec = tmp_path / "bad.yaml"
    spec.write_text("apiVersion: cxlstate/v1\nhost:\n  name: x\n  pakages: [hello]\n")
    for verb in ("validate", "plan", "apply", "drift", "show"):
        status, out, err = run(verb, spec)
        assert (status, out) == (1, "")
        assert f"{spec}:4:3" in err
        assert "packages" in err


def test_what_only_waits_for_a_reboot_exits_3(run, bench):
    spec = write(bench, grub={"args": ["a=1"]})
    assert run("apply", "--yes", spec)[0] == 3
    status, out, _ = run("plan", spec)
    assert status == 3
    assert "pending reboot" in out
    assert "pending reboot" in run("drift", spec)[1]


def test_what_was_not_allowed_exits_4_and_says_which_consent(run, bench):
    spec = write(bench, services={"ssh": {"running": False}})
    status, out, _ = run("apply", "--yes", spec)
    assert status == 4
    assert "--allow network-blip" in out


def test_without_yes_and_without_a_terminal_nothing_is_done_and_it_exits_4(run, bench):
    spec = write(bench, packages=["hello"])
    before = bench.snapshot()
    status, _, err = run("apply", spec)
    assert status == 4
    assert "--yes" in err
    assert bench.snapshot() == before


def test_what_cannot_be_told_exits_5_with_the_reason(run, bench):
    spec = write(bench, users={"admin": {"groups": ["no-such-group"]}})
    for verb in ("plan", "show", "drift"):
        status, out, _ = run(verb, spec)
        assert status == 5, verb
        assert "no-such-group" in out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("plam",),
        ("plan", "--nope"),
        ("explain",),
        ("explain", "CXE999"),
        ("plan", "--target", "memap", DEMO),
        ("apply", "--allow"),
    ],
)
def test_wrong_usage_exits_64_on_stderr(run, arguments):
    status, out, err = run(*arguments)
    assert status == 64
    assert out == ""
    assert err


def test_a_class_that_does_not_exist_cannot_be_allowed(run):
    status, _, err = run("apply", "--allow", "everything", DEMO)
    assert status == 1
    assert "CXE110" in err


def test_a_target_that_is_nearly_right_gets_a_suggestion(run, bench):
    spec = write(bench, packages=["hello"])
    assert "Did you mean package.hello?" in run("plan", "--target", "package.helo", spec)[2]


@pytest.mark.parametrize("command", [("plan",), ("show",), ("apply",), ("apply", "--yes")])
def test_json_names_the_targets_that_it_was_narrowed_to(run, bench, command):
    spec = write(bench, packages=["hello", "tree"])
    narrow = "--target", "package.tree", "--target", "package.hello"
    assert json.loads(run(*command, "--json", *narrow, spec)[1])["targets"] == list(narrow[1::2])
    assert json.loads(run(*command, "--json", spec)[1])["targets"] == []


def test_json_of_a_plan_file_names_the_targets_of_its_plan(run, bench):
    spec, kept = write(bench, packages=["hello", "tree"]), bench.folder / "kept.json"
    out = run("plan", "--json", "--target", "package.tree", "--out", kept, spec)[1]
    assert json.loads(out)["targets"] == json.loads(kept.read_text())["targets"] == ["package.tree"]
    assert json.loads(run("apply", "--json", kept)[1])["targets"] == ["package.tree"]


def test_only_the_host_that_a_target_names_is_asked(run, tmp_path):
    for name in ("one", "two"):
        host = f"{{name: {name}, connect: 'sim:{name}', packages: [hello, tree]}}"
        (tmp_path / f"{name}.yaml").write_text(f"apiVersion: cxlstate/v1\nhost: {host}\n")

    def planned(*targets):
        machines = json.loads(run("plan", "--json", *targets, tmp_path)[1])["machines"]
        return {one["name"]: [each["address"] for each in one["resources"]] for one in machines}

    assert planned("--target", "two/package.hello") == {"two": ["two/package.hello"]}
    assert not (tmp_path / "one").exists(), "it is not even made"
    assert planned("--target", "package.hello") == {
        "one": ["one/package.hello"],
        "two": ["two/package.hello"],
    }
    assert planned("--target", "one") == {"one": ["one/package.hello", "one/package.tree"]}


def test_a_guest_is_one_of_the_machines_and_can_be_named(run, tmp_path):
    spec, guest = tmp_path / "spec.yaml", "vms: {g1: {guest: {packages: [hello, tree]}}}"
    spec.write_text(f"apiVersion: cxlstate/v1\nhost: {{name: one, connect: 'sim:one'}}\n{guest}\n")
    assert run("validate", spec) == (0, "1 spec valid\n", "")
    for verb in (("plan",), ("drift",), ("show",), ("plan", "--target", "g1:package.hello")):
        machines = json.loads(run(*verb, "--json", spec)[1])["machines"]
        assert [one["id"] for one in machines] == ["one", "one/g1"], verb
        (host, guest) = machines
        assert guest["parent"] == host["id"]
        named = 1 if "--target" in verb else 2
        assert len(guest["resources"]) == named


# JSON ------------------------------------------------------------------------------------------------

NULLABLE = {"type": ["string", "null"]}
COUNT = {"type": "integer", "minimum": 0}
STATUSES = ["in-sync", "change", "blocked", "pending-reboot", "pending-restart", "unknown"]


def closed(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def listed(item):
    return {"type": "array", "items": item}


SOURCE = closed(file={"type": "string"}, line=COUNT, column=COUNT)
LEAF = {"type": ["string", "integer", "boolean", "null"]}
CHANGE = closed(**{"path": listed({"type": ["string", "integer"]}), "from": LEAF, "to": LEAF})
ACTION = closed(does={"type": "string"}, run={"type": "string"}, risk={"type": "string"}, why=NULLABLE)
RESOURCE = closed(
    address={"type": "string"},
    kind={"type": "string"},
    status={"enum": STATUSES},
    source={"anyOf": [SOURCE, {"type": "null"}]},
    changes=listed(CHANGE),
    actions=listed(ACTION),
    interrupts=listed({"type": "string"}),
    reason=NULLABLE,
    waits_for=listed({"type": "string"}),
    cause={"enum": ["drifted", "unapplied", "undetermined", None]},
    derived=listed(
        closed(path=listed({"type": ["string", "integer"]}), value={"type": "string"}, of={"type": "string"})
    ),
    later=listed(closed(what={"type": "string"}, after=listed({"type": "string"}))),
)
MACHINE = closed(
    id={"type": "string"},
    name={"type": "string"},
    parent=NULLABLE,
    scope={"enum": ["host", "guest"]},
    reached=closed(
        how={"enum": ["read", "off", "unknown", "refused"]},
        reason=NULLABLE,
        hint=NULLABLE,
        new_host_key={
            "anyOf": [{"type": "null"}, closed(key={"type": "string"}, confirmed_by={"type": "string"})]
        },
    ),
    spec={"type": "string"},
    status={"enum": [*STATUSES, "error"]},
    summary=closed(**dict.fromkeys(STATUSES, COUNT)),
    resources=listed(RESOURCE),
)
MACHINE["properties"]["memory_map"] = {"type": "object"}  # of `show`
DIAGNOSTIC = closed(
    code={"type": "string", "pattern": "^CX[A-Z][0-9]{3}$"},
    severity={"enum": ["error", "warning"]},
    message={"type": "string"},
    line={"type": ["integer", "null"]},
    column={"type": ["integer", "null"]},
    **dict.fromkeys(("file", "found", "expected", "hint", "machine", "address"), NULLABLE),
)
VM = closed(
    vm={"type": "string"},
    declared={"type": "boolean"},
    autostart={"type": ["boolean", "null"]},
    again={"type": "boolean"},
)
INTERRUPTION = closed(
    name={"type": "string"},
    risk={"type": "string"},
    subject={"type": "string"},
    stops={"anyOf": [listed(VM), {"type": "null"}]},
    begin=listed(ACTION),
    end=listed(ACTION),
    **dict.fromkeys(("because", "why", "barred"), listed({"type": "string"})),
)
EFFECT = closed(
    address={"type": "string"},
    does={"type": "string"},
    fingerprint={"type": "string", "pattern": "^[0-9a-f]{64}$"},
    bases={"type": "object", "additionalProperties": {"type": "string"}},
)
TURN = closed(resources=listed({"type": "string"}), within=NULLABLE, effects=listed(EFFECT))
DOCUMENT = closed(
    format={"const": 2},
    minor={"const": 0},
    tool={"const": f"cxlstate {cxlstate.__version__}"},
    targets=listed({"type": "string"}),
    machines=listed(MACHINE),
    interruptions=listed(INTERRUPTION),
    turns=listed(TURN),
    diagnostics=listed(DIAGNOSTIC),
)

OPTION = closed(keyword={"type": "string"}, arguments={"type": "string"})
DOCUMENT["properties"]["ssh_hosts"] = listed(  # of `ssh-config`
    closed(
        machine={"type": "string"},
        name={"type": "string"},
        options=listed(OPTION),
        host_keys=listed({"type": "string"}),
    )
)

EVERY_END = {
    "changes": {"packages": ["hello"], "grub": {"args": ["a=1"]}, "modules": {"kmem": "absent"}},
    "refused": {"services": {"ssh": {"running": False}}},
    "unknown": {"users": {"admin": {"groups": ["no-such-group"]}}},
    "error": {"modules": {"virtio": "absent"}},
    "failed": {"packages": ["no-such-package"]},
}


@pytest.mark.parametrize("end", ["changes", *map(rarely, [*EVERY_END][1:])])
@pytest.mark.parametrize(
    "command", [("plan",), ("drift",), ("show",), ("validate",), ("apply",), ("apply", "--yes")]
)
def test_json_is_one_document_of_the_contract_on_stdout_and_nothing_else(run, bench, command, end):
    spec = write(bench, **EVERY_END[end])
    status, out, _ = run(*command, "--json", spec)
    document = json.loads(out)
    jsonschema.validate(document, DOCUMENT)
    if command != ("validate",):
        (machine,) = document["machines"]
        assert sum(machine["summary"].values()) == len(machine["resources"])
        if command[0] != "show":
            assert (machine["status"] == "in-sync") is (status == 0)
    else:
        assert document["machines"] == []


def test_a_bad_spec_is_a_json_document_too(run, tmp_path):
    spec = tmp_path / "bad.yaml"
    spec.write_text(
        "apiVersion: cxlstate/v1\nhost: {name: x, memmap: [{size: 2GB, start: 0, type: reserved}]}\n"
    )
    for verb in ("validate", "plan", "drift", "show", "apply"):
        status, out, err = run(verb, "--json", spec)
        document = json.loads(out)
        jsonschema.validate(document, DOCUMENT)
        assert (status, err, document["machines"]) == (1, "", [])
        first = document["diagnostics"][0]
        assert (first["code"], first["file"], first["line"]) == ("CXS301", str(spec), 2)


def test_an_unusable_machine_is_told_in_the_document(run, bench):
    spec = write(bench, packages=["hello"])
    (bench.directory / "machine.json").write_text("{")
    for command in (("plan",), ("drift",), ("show",), ("apply", "--yes")):
        status, out, _ = run(*command, "--json", spec)
        document = json.loads(out)
        jsonschema.validate(document, DOCUMENT)
        assert status == 1
        assert [d["code"] for d in document["diagnostics"]] == ["CXC401"]


# Plan files ------------------------------------------------------------------------------------------


def test_a_kept_plan_is_done_as_it_was_shown(run, bench, tmp_path):
    spec = write(bench, packages=["hello"])
    assert run("plan", "--out", tmp_path / "plan.json", spec)[0] == 2
    kept = json.loads((tmp_path / "plan.json").read_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", kept.pop("made"))
    jsonschema.validate(kept, DOCUMENT)
    assert run("apply", tmp_path / "plan.json")[0] == 0
    assert "hello" in bench.machine()["installed"]


def test_a_plan_is_stale_once_the_machine_has_moved_on_and_nothing_is_done(run, bench, tmp_path):
    spec = write(bench, packages=["hello", "tree"])
    run("plan", "--out", tmp_path / "plan.json", spec)
    bench.disturb("hello is installed")
    status, _, err = run("apply", tmp_path / "plan.json")
    assert status == 1
    assert "CXE205" in err
    assert "plan is stale: package.hello changed since" in err
    assert "found    in sync" in err
    assert "package.tree" not in err
    assert bench.journal() == []
    assert "tree" not in bench.machine()["installed"]


@pytest.mark.parametrize("kept", [True, False])
def test_what_nobody_performs_is_told_before_the_first_action_and_is_no_stale_plan(
    run, bench, tmp_path, monkeypatch, kept
):
    spec = write(bench, packages=["hello"])
    assert run("plan", "--out", tmp_path / "plan.json", spec)[0] == 2
    monkeypatch.delitem(SIMULATED, Run)
    status, _, err = run("apply", tmp_path / "plan.json") if kept else run("apply", "--yes", spec)
    assert status == 1
    assert "nobody performs cxlstate.core.action.Run on this machine" in err
    assert "CXE205" not in err
    assert bench.journal() == []


def test_a_plan_is_stale_once_the_machine_has_another_name(run, bench, tmp_path):
    """What was shown was shown of another one."""
    spec = write(bench, packages=["hello"])
    run("plan", "--out", tmp_path / "plan.json", spec)
    spec.write_text(spec.read_text().replace('"bench"', '"another"'))
    err = run("apply", tmp_path / "plan.json")[2]
    assert "CXE205" in err
    assert "plan.json holds nothing of another" in err
    assert bench.journal() == []


def test_a_document_without_machines_is_no_plan_of_all_the_specs_in_the_folder(
    run, bench, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").mkdir()
    write(bench, packages=["hello"]).rename(tmp_path / "specs/bench.yaml")
    (tmp_path / "valid.json").write_text(run("validate", "--json")[1])
    status, _, err = run("apply", "valid.json")
    assert status == 1
    assert "CXE206" in err
    assert bench.journal() == []


def test_a_plan_is_stale_once_the_spec_has_changed(run, bench, tmp_path):
    run("plan", "--out", tmp_path / "plan.json", write(bench, packages=["hello"]))
    write(bench, packages=["tree"])
    assert "CXE205" in run("apply", tmp_path / "plan.json")[2]


def test_a_plan_is_not_stale_for_a_comment_in_the_spec(run, bench, tmp_path):
    spec = write(bench, packages=["hello"])
    run("plan", "--out", tmp_path / "plan.json", spec)
    spec.write_text("# hello is what we greet with\n" + spec.read_text())
    assert run("apply", tmp_path / "plan.json")[0] == 0
    assert "hello" in bench.machine()["installed"]


def test_a_plan_file_ends_at_the_first_reboot_whatever_is_allowed(run, bench, tmp_path):
    spec = write(bench, grub={"args": ["a=1"]})
    run("plan", "--out", tmp_path / "plan.json", spec)
    assert run("apply", "--allow", "reboot-host", tmp_path / "plan.json")[0] == 3
    assert run("apply", "--yes", "--allow", "reboot-host", spec)[0] == 0


def test_a_plan_that_was_narrowed_to_a_target_is_applied_as_it_was(run, bench, tmp_path):
    spec = write(bench, packages=["hello", "tree"])
    run("plan", "--target", "package.hello", "--out", tmp_path / "plan.json", spec)
    assert run("apply", tmp_path / "plan.json")[0] == 0
    assert {address for entry in bench.journal() for address in entry["addresses"]} == {"bench/package.hello"}


NO_MACHINES = [
    "[]",
    "7",
    "[7]",
    "[{}]",
    '[{"spec": 7, "name": 8}]',
    '[{"spec": "no/such.yaml", "id": "x"}]',
    '[{"spec": "no/such.yaml", "id": "x", "parent": "y"}]',
    '[{"spec": "no/such.yaml", "id": "x", "parent": null}]',
]
OF_THIS_TOOL = f'"format": 2, "tool": "cxlstate {cxlstate.__version__}"'
NO_PLANS = [
    *("", "{", "[]", "7", "null", '"x"', "{}", "[" * 100_000, "\xff\xfe"),
    *('{"format": 2}', '{"format": 1, "machines": [{"spec": "a", "name": "b", "resources": []}]}'),
    *(
        f'{{{OF_THIS_TOOL}, "machines": {machines}, "turns": [], "interruptions": []}}'
        for machines in NO_MACHINES
    ),
]


def test_a_plan_file_that_cannot_be_read_is_refused_in_words(run, tmp_path, monkeypatch):
    plan = tmp_path / "plan.json"
    plan.write_text("{}")

    def denied(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(own_files.os, "open", denied)
    status, _, err = run("apply", plan)
    assert status == 1
    assert "CXE206" in err
    assert "Permission denied" in err


@pytest.mark.parametrize("text", NO_PLANS, ids=range(len(NO_PLANS)))
def test_what_is_no_plan_file_is_refused_in_words(run, tmp_path, text):
    plan = tmp_path / "plan.json"
    plan.write_bytes(text.encode("latin-1"))
    status, _, err = run("apply", plan)
    assert status == 1
    assert "CXE900" not in err, err
    assert re.search(r"CXE206|CXS112", err), err


A_PLAN = {
    "format": 2,
    "tool": f"cxlstate {cxlstate.__version__}",
    "machines": [{"id": "b", "parent": None, "spec": "no/such.yaml"}],
    "interruptions": [],
    "turns": [],
}
AN_EFFECT = {"address": "b/grub", "fingerprint": "0", "bases": {"b/grub": "in-sync"}}
WRONG_IN_A_PLAN = [
    {"format": 3},
    {"tool": "cxlstate 0.0.0"},
    {"turns": [7]},
    {"turns": [{"resources": [7], "effects": []}]},
    {"turns": [{"resources": ["b/grub"]}]},
    *(
        {"turns": [{"resources": ["b/grub"], "effects": [{**AN_EFFECT, **wrong}]}]}
        for wrong in ({"address": 7}, {"fingerprint": None}, {"bases": []}, {"bases": {"b/grub": 7}})
    ),
    {"interruptions": [{"name": "a", "subject": "b", "stops": [{"vm": 7}]}]},
    {"interruptions": [{"name": "a", "subject": "b"}]},
]


@pytest.mark.parametrize("wrong", WRONG_IN_A_PLAN, ids=str)
def test_a_plan_file_is_checked_to_the_last_of_its_bases(run, tmp_path, wrong):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(A_PLAN | wrong))
    status, _, err = run("apply", plan)
    assert status == 1
    assert "CXE206" in err


# Hostile input ---------------------------------------------------------------------------------------

HOSTILE = [
    "$(reboot)`reboot`",
    "a\nb",
    "; reboot",
    "'\"",
    "\0",
    "../../../etc/passwd",
    "-rf",
    "%s%n",
    "\x1b[2J",
    "😀",
    "\ud800",
    "x" * 100_000,
]


@pytest.mark.parametrize("text", [*HOSTILE[:2], *map(rarely, HOSTILE[2:])], ids=range(len(HOSTILE)))
@pytest.mark.parametrize(
    "place",
    ["packages", "services", "users", "groups", "modules", "args", "absent", "memmap", "name", "connect"],
)
def test_a_hostile_value_is_refused_in_words_or_stays_a_text(run, bench, place, text):
    host = {
        "packages": {"packages": [text]},
        "services": {"services": {text: {"running": True}}},
        "users": {"users": {text: {"groups": ["kvm"]}}},
        "groups": {"users": {"admin": {"groups": [text]}}},
        "modules": {"modules": {text: "present"}},
        "args": {"grub": {"args": [text]}},
        "absent": {"grub": {"absent": [text]}},
        "memmap": {"memmap": [{"size": text, "start": text, "type": text}]},
        "name": {"name": text},
        "connect": {"connect": f"ssh://{text}"},
    }[place]  # fmt: skip
    whole = {"apiVersion": "cxlstate/v1", "host": {"name": "bench", "connect": "sim:host", **host}}
    bench.file.write_text(json.dumps(whole))
    before = bench.snapshot()
    verb = "validate" if place in ("name", "connect") else "plan"
    status, out, err = run(verb, bench.file)
    assert status in (0, 1, 2, 5)
    assert "CXE900" not in err
    assert "\x1b[2J" not in out + err, "what clears a terminal is not handed on"
    assert "\0" not in out + err
    assert bench.snapshot() == before


@pytest.mark.parametrize("name", ["no/such/spec.yaml", "", "x\ny", "/dev/null", "/proc/self/mem", "/", "-"])
def test_a_hostile_path_is_refused_in_words(run, name):
    status, _, err = run("plan", "--", name)
    assert status == 1
    assert "CXS" in err
    assert "CXE900" not in err


@pytest.mark.slow
def test_a_path_that_is_no_utf_8_is_a_path(bench, tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff\n\x1b[2J"
    os.mkdir(folder)  # noqa: PTH102  # a name in bytes
    spec = folder + b"/spec.yaml"
    Path(os.fsdecode(spec)).write_text(
        write(bench, packages=["hello"]).read_text().replace("sim:", "sim:../")
    )
    for options in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "cxlstate", "plan", *options, spec],
            capture_output=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        assert b"CXE900" not in done.stderr, done.stderr
        assert done.returncode == 2, done.stderr
        assert b"\x1b[2J" not in done.stdout


def test_a_defect_is_told_with_a_code_and_no_traceback(run, bench, monkeypatch):
    spec = write(bench, packages=["hello"])
    monkeypatch.setattr("cxlstate.engine.survey.look", lambda *_, **__: 1 / 0)
    status, _, err = run("plan", spec)
    assert status == 1
    assert "CXE900" in err
    assert "ZeroDivisionError" in err


# Colour ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_there_is_colour_on_a_terminal_only_and_never_with_no_color(bench):
    spec = write(bench, packages=["hello"])
    command = f"{sys.executable} -m cxlstate plan {spec}"
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    terminal = ["script", "-qec", command, "/dev/null"]
    if shutil.which("script") is None:
        pytest.skip("needs script(1)")
    piped = subprocess.run(command.split(), env=plain, capture_output=True, text=True, check=False).stdout
    on_terminal = subprocess.run(terminal, env=plain, capture_output=True, text=True, check=False).stdout
    without = subprocess.run(
        terminal, env={**plain, "NO_COLOR": "1"}, capture_output=True, text=True, check=False
    ).stdout
    assert ANSI.search(on_terminal)
    assert not ANSI.search(piped)
    assert not ANSI.search(without)
    assert "package.hello" in piped


# Help, pages, schema ---------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_has_an_example_that_is_its_own(run, verb):
    status, out, _ = run(verb, "--help")
    assert status == 0
    assert re.search(rf"Examples:\n.*cxlstate {verb}", out, re.DOTALL)


def test_the_help_names_every_verb_and_every_exit_status(run):
    status, out, _ = run("--help")
    assert status == 0
    assert all(re.search(rf"^  {verb} ", out, re.MULTILINE) for verb in VERBS)
    assert re.search(r"0 in sync.*1 error.*2.*3.*4.*5 unknown.*64", out, re.DOTALL)
    assert run("--version") == (0, f"cxlstate {cxlstate.__version__}\n", "")


def test_every_page_is_explained_and_has_its_sections(run):
    for code in pages():
        status, out, _ = run("explain", code.lower())
        assert status == 0
        assert out.startswith(f"# {code}: ")
        for section in ("## Why", "## Example", "## What to do"):
            assert f"\n{section}\n" in out, code


def test_every_code_has_a_page_and_every_page_a_code():
    used = set()
    for path in (ROOT / "cxlstate").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.fullmatch(r"CX[A-Z]\d{3}", node.value)
            ):
                used.add(node.value)
    assert used == set(pages())


def test_the_schema_in_the_repository_is_the_one_that_is_made(run, tmp_path):
    kept = (ROOT / "schemas/cxlstate.schema.json").read_text()
    assert run("schema") == (0, kept, "")
    assert run("schema", "--out", tmp_path / "s.json")[0] == 0
    assert (tmp_path / "s.json").read_text() == kept


def test_every_example_spec_is_valid_by_the_tool_and_by_the_schema(run):
    assert run("validate", ROOT / "specs")[0] == 0
    assert re.search(r"\d+ specs valid", run("validate", ROOT / "specs")[1])


# Golden texts: CXLSTATE_GOLDEN=1 writes them again -----------------------------------------------------


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The demo's spec with a machine of its own, seen from a folder like the repository's."""
    folder = tmp_path / "specs"
    folder.mkdir()
    shutil.copy(DEMO, folder)
    monkeypatch.chdir(tmp_path)
    SimWriter(tmp_path / ".demo/host", "demo").close()
    return tmp_path


STEPS = {
    "1-plan": ("plan", "specs/demo.yaml"),
    "2-show": ("show", "specs/demo.yaml"),
    "3-apply": ("apply", "--yes", "specs/demo.yaml"),
    "4-plan-pending": ("plan", "specs/demo.yaml"),
    "5-drift-pending": ("drift", "specs/demo.yaml"),
    "6-apply-reboot": ("apply", "--yes", "--allow", "reboot-host", "specs/demo.yaml"),
    "7-plan-all": ("plan", "--all", "specs/demo.yaml"),
    "8-drift-by-hand": ("drift", "specs/demo.yaml"),
}


def test_the_demo_reads_as_it_was_written_down(run, demo):
    for name, arguments in STEPS.items():
        if name == "8-drift-by-hand":
            group = demo / ".demo/host/root/etc/group"
            group.write_text(
                group.read_text()
                .replace("admin", "nobody", 1)
                .replace("libvirt:x:999:admin", "libvirt:x:999:")
            )
        status, out, err = run(*arguments)
        said = f"$ cxlstate {' '.join(arguments)}\n{out}"
        said += f"--- stderr ---\n{err}" if err else ""
        said = re.sub(r" \(\d+ s\)", "", said)  # told where a step takes longer than a second
        said += f"--- exit status {status} ---\n"
        golden = GOLDEN / f"demo-{name}.txt"
        if "CXLSTATE_GOLDEN" in os.environ:
            golden.write_text(said)
        assert said == golden.read_text(), f"{golden.name}: CXLSTATE_GOLDEN=1 writes it again"
