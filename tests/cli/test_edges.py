"""Where the program meets what it runs in: streams, files, listeners, locales. Words and a status, always."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest

from cxlstate.cli import converge
from cxlstate.cli.main import _run
from tests.cli.test_cli import DOCUMENT
from tests.laws.bench import Bench

JSON_VERBS = ("validate", "plan", "apply", "drift", "show", "ssh-config")
READING = ("plan", "drift", "show")


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def spec(bench):
    bench.spec({"packages": ["hello"]})
    return bench.file


@pytest.fixture
def run(capfd):
    """Run a command line in this process: (exit status, stdout, stderr)."""

    def run(*arguments):
        status = _run([str(one) for one in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert "CXE900" not in out + err
        return status, out, err

    return run


def cxlstate(*arguments, **more):
    """A run in a process of its own, with no terminal anywhere."""
    more = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 60, **more}
    done = subprocess.run([sys.executable, "-m", "cxlstate", *map(os.fspath, arguments)], check=False, **more)
    for said in (done.stdout, done.stderr):
        assert b"Traceback" not in (said or b"")
        assert b"CXE900" not in (said or b"")
    return done


def shell(line, **more):
    """A line of sh in which $CXLSTATE is the program."""
    environment = {**os.environ, "CXLSTATE": f"{sys.executable} -m cxlstate", **more}
    done = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, check=False, timeout=60)
    assert b"Traceback" not in done.stdout + done.stderr, done.stderr
    assert b"CXE900" not in done.stdout + done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    ("allowed", "status"),
    [
        ("restart-vm=", 1),  # `--allow restart-vm=$HOST` where HOST is not set
        ("restart-vm=/vm.g1", 1),
        ("restart-vm=bench/", 1),
        ("destroy-data=/vm.g1", 1),
        ("restart-vm=bnch", 64),
        ("restart-vm=*", 64),
        ("restart-vm=bench,reboot-host=bnch/grub", 64),
        ("restart-vm=bench/package.g1", 64),  # not declared; a VM need not be
        ("restart-vm=bench/g1", 64),
        ("restart-vm=vm.g1", 64),
        ("destroy-data=bench", 1),
    ],
)
def test_consent_for_nobody_is_not_consent_for_all(spec, run, allowed, status):
    assert run("apply", "--yes", "--allow", allowed, spec)[0] == status
    assert run("plan", spec)[0] == 2


@pytest.mark.parametrize("place", ["/proc/none", "spec.yaml/host", "/dev/null/host"])
def test_a_simulated_host_that_cannot_be_created(tmp_path, run, place):
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"apiVersion: cxlstate/v1\nhost: {{name: x, users: {{root: {{}}}}, connect: 'sim:{place}'}}\n"
    )
    status, out, _ = run("plan", "--json", spec)
    assert (status, json.loads(out)["diagnostics"][0]["code"]) == (1, "CXC401")


def test_out_does_not_replace_the_spec(spec, run, monkeypatch):
    monkeypatch.chdir(spec.parent)
    before = spec.read_text()
    status, _, said = run("plan", spec, "--out", spec.name)
    assert (status, spec.read_text()) == (64, before)
    assert "this is the spec" in said


@pytest.mark.parametrize("verb", ["plan", "schema"])
def test_out_into_a_circle_of_links_is_told(spec, run, monkeypatch, verb):
    monkeypatch.chdir(spec.parent)
    Path("one").symlink_to("two")
    Path("two").symlink_to("one")
    status, _, said = run(verb, *([spec] if verb == "plan" else []), "--out", "one")
    assert (status, "CXE232" in said, "name the file" in said) == (1, True, False)


@pytest.mark.parametrize(
    "arguments", [["validate", "a.yaml"], ["drift"], ["plan", "../a.yaml"], ["apply", "p.json"]]
)
def test_a_current_folder_that_was_removed_is_told(run, tmp_path, monkeypatch, arguments):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    status, _, said = run(*arguments)
    assert (status, "CXS112" in said) == (1, True)


def test_in_a_folder_that_was_removed_a_plan_by_absolute_path_is_made(spec, run, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run("plan", spec)[0] == 2
    status, _, said = run("plan", spec, "--out", "x.json")
    assert (status, "CXE232" in said) == (1, True)


def test_a_plan_file_with_a_name_that_is_too_long_is_told(run):
    status, _, said = run("apply", "a" * 300 + ".json")
    assert (status, "CXE206" in said, "File name too long" in said) == (1, True, True)


@pytest.mark.parametrize(
    ("word", "code"),
    [("{content: {file: ~nobody.of.that.name/x}}", "CXS215"), ("{source: ~nobody.of.that.name/x}", "CXS213")],
)
def test_the_home_of_an_unknown_user_is_told(tmp_path, run, word, code):
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"apiVersion: cxlstate/v1\nhost: {{name: x, connect: sim:host, files: {{/etc/x: {word}}}}}\n"
    )
    status, _, said = run("plan", spec)
    assert (status, code in said) == (1, True), said


# One JSON document, whatever happens -----------------------------------------------------------------


def bad_spec(folder):
    (folder / "bad.yaml").write_text("apiVersion: cxlstate/v1\nhost: {name: x, pakages: []}\n")
    return ["bad.yaml"]


def binary_spec(folder):
    (folder / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    return ["bad.yaml"]


def bad_plan_file(folder):
    (folder / "plan.json").write_text('{"format": 99}')
    return ["plan.json"]


def pipe(folder):
    os.mkfifo(folder / "pipe.yaml")
    return ["pipe.yaml"]


def broken_machine(folder):
    (folder / "host").mkdir()
    (folder / "host/machine.json").write_text("{")
    (folder / "a.yaml").write_text(
        "apiVersion: cxlstate/v1\nhost: {name: a, connect: 'sim:host', users: {}}\n"
    )
    return ["a.yaml", "--yes"]


FAILURES = {
    "no such spec": lambda _: ["missing.yaml"],
    "no specs folder": lambda _: [],
    "a bad spec": bad_spec,
    "a spec that is no text": binary_spec,
    "a bad plan file": bad_plan_file,
    "a pipe": pipe,
    "an unknown option": lambda _: ["--nope"],
    "an unknown target": lambda _: ["--target", "memap", "good.yaml"],
    "an option without its value": lambda _: ["good.yaml", "--target"],
    "an unknown class": lambda _: ["--allow", "bogus", "good.yaml"],
    "a machine that cannot be read": broken_machine,
    "a surrogate": lambda _: ["\udcff.yaml"],
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("verb", JSON_VERBS)
def test_a_run_with_json_that_fails_prints_one_document_and_nothing_else(
    tmp_path, monkeypatch, capfdbinary, verb, failure
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text("apiVersion: cxlstate/v1\nhost: {name: good, connect: 'sim:good'}\n")
    arguments = FAILURES[failure](tmp_path)
    status = _run([verb, "--json", *arguments])
    out, err = capfdbinary.readouterr()
    document = json.loads(out.decode())
    jsonschema.validate(document, DOCUMENT)
    if verb != "validate" or failure != "a machine that cannot be read":
        assert status in (1, 64)
        assert document["diagnostics"]
        assert all(one["code"] != "CXE900" for one in document["diagnostics"])
    if not document["machines"]:
        assert b"error" not in err


@pytest.mark.parametrize("arguments", [["--json"], ["--json", "plam"], ["plan", "--json", "--json=1"]])
def test_wrong_usage_with_json_exits_64_and_says_so_in_the_document(capfd, arguments):
    assert _run(arguments) == 64
    (problem,) = json.loads(capfd.readouterr().out)["diagnostics"]
    assert problem["code"] == "CXE230"
    assert problem["found"]


@pytest.mark.parametrize("verb", READING)
def test_a_defect_is_a_document_too(capfd, monkeypatch, spec, verb):
    monkeypatch.setattr("cxlstate.engine.survey.look", lambda *_, **__: 1 / 0)
    assert _run([verb, "--json", str(spec)]) == 1
    assert [one["code"] for one in json.loads(capfd.readouterr().out)["diagnostics"]] == ["CXE900"]


def test_a_defect_that_one_machine_shows_leaves_the_others_their_turn(capfd, monkeypatch, tmp_path):
    folder = tmp_path / "specs"
    folder.mkdir()
    for name in ("a", "b"):
        text = f"apiVersion: cxlstate/v1\nhost: {{name: {name}, connect: 'sim:{name}', packages: [hello]}}\n"
        (folder / f"{name}.yaml").write_text(text)
    opened = converge.open_writer
    monkeypatch.setattr(
        converge, "open_writer", lambda to, name, **more: 1 / 0 if name == "a" else opened(to, name, **more)
    )
    assert _run(["apply", "--yes", "--json", str(folder)]) == 1
    document = json.loads(capfd.readouterr().out)
    assert [machine["status"] for machine in document["machines"]] == ["error", "in-sync"]
    assert [(one["code"], one["machine"]) for one in document["diagnostics"]] == [("CXE900", "a")]


def test_an_error_whose_message_cannot_be_made_is_still_told(capfd, monkeypatch, spec):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def fails(*_, **__):
        raise Mute

    monkeypatch.setattr("cxlstate.engine.survey.look", fails)
    assert _run(["plan", str(spec)]) == 1
    assert "CXE900" in capfd.readouterr().err
    assert _run(["plan", "--json", str(spec)]) == 1
    assert "Mute" in capfd.readouterr().out


# Streams ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["plan", "plan --json", "schema", "explain CXE900", "--help", "drift"])
def test_output_that_cannot_be_written_is_an_error_in_words(spec, verb):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    argument = spec if verb.split()[0] in READING else ""
    for where in (">/dev/full", ">&-"):
        done = shell(f"$CXLSTATE {verb} {argument} {where}")
        assert (done.returncode, done.stdout) == (1, b""), where
        assert b"CXE231" in done.stderr, where


@pytest.mark.parametrize("streams", ["<&-", "2>&-", "2>/dev/full", "<&- 2>&-"])
@pytest.mark.slow
def test_other_streams_may_be_missing(spec, streams):
    assert shell(f"$CXLSTATE plan {spec} {streams}").returncode == 2
    assert json.loads(shell(f"$CXLSTATE plan --json {spec} {streams}").stdout)["machines"]
    assert shell(f"$CXLSTATE apply {spec} {streams}").returncode == 4
    assert shell(f"$CXLSTATE plan {spec} {streams} >&-").returncode == 1
    assert shell(f"$CXLSTATE apply --yes {spec} {streams}").returncode == 0


def test_a_reader_that_goes_away_ends_the_run_without_a_word():
    done = shell("{ $CXLSTATE schema; echo $? >&2; } | true")
    assert (done.stdout, done.stderr) == (b"", b"1\n")


def test_an_apply_goes_on_where_nobody_listens_to_its_progress(bench, spec):
    done = shell(f"$CXLSTATE apply --yes {spec} 2>&1 >/dev/null | true")
    assert done.returncode == 0
    assert "hello" in bench.machine()["installed"]


LOCALES = [
    {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "utf-16"},
]


@pytest.mark.parametrize("locale", LOCALES, ids=str)
@pytest.mark.slow
def test_bytes_of_a_host_leave_as_text_in_every_locale(bench, spec, locale):
    bench.spec({"grub": {"args": ["a=1"]}})
    (bench.directory / "root/etc/default/grub").write_bytes(b'GRUB_CMDLINE_LINUX_DEFAULT="a=\xff\xe9"\n')
    text = cxlstate("plan", spec, env={**os.environ, **locale})
    assert text.returncode in (1, 2, 5)
    assert text.stdout
    done = cxlstate("plan", "--json", spec, env={**os.environ, **locale})
    jsonschema.validate(json.loads(done.stdout.decode("utf-8")), DOCUMENT)
    assert not re.search(rb"\\ud[89a-f]", done.stdout), "no reader has to take a lone surrogate"


# Files -----------------------------------------------------------------------------------------------


def special_files(folder):
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "socket"))
    (folder / "directory").mkdir()
    (folder / "loop").symlink_to("loop")
    return {
        "pipe": folder / "pipe",
        "socket": folder / "socket",
        "loop": folder / "loop",
        "device": Path("/dev/zero"),
        "terminal": Path("/dev/ptmx"),
    }


@pytest.mark.parametrize("kind", ["pipe", "socket", "loop", "device", "terminal"])
@pytest.mark.timeout(60)
def test_what_is_no_regular_file_is_no_spec_and_no_base_document(tmp_path, run, kind):
    special = special_files(tmp_path)[kind]
    if not (special.exists() or special.is_symlink()):
        pytest.skip(f"no {special}")
    for verb in ("plan", "validate"):
        status, _, err = run(verb, special)
        assert (status, "CXS112" in err) == (1, True)
    folder = tmp_path / "specs"
    folder.mkdir()
    (folder / "x.yaml").symlink_to(special)
    status, out, err = run("drift", folder)
    assert (status, out, "x.yaml" in err) == (1, "", True)
    (folder / "x.yaml").unlink()
    (folder / "v.yaml").write_text(
        "apiVersion: cxlstate/v1\nhost: {name: v, connect: 'sim:v'}\n"
        f"vms: {{v: {{memory: 1GiB, vcpu: 1, xml: {os.path.relpath(special, folder)}}}}}\n"
    )
    status, _, err = run("validate", folder)
    assert (status, "CXS213" in err) == (1, True)
    (tmp_path / "plan.json").symlink_to(special)
    assert run("apply", tmp_path / "plan.json")[0] == 1


def test_a_file_too_large_for_what_it_is_named_as_is_not_read_whole(tmp_path):
    for name in ("big.yaml", "big.json"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(3 << 30)
    limited = ["sh", "-c", 'ulimit -v 2000000; exec "$@"', "sh", sys.executable, "-m", "cxlstate"]
    for arguments, code in (
        (["plan", tmp_path / "big.yaml"], b"CXS109"),
        (["apply", tmp_path / "big.json"], b"CXE206"),
    ):
        done = subprocess.run([*limited, *arguments], capture_output=True, check=False, timeout=60)
        assert done.returncode == 1
        assert code in done.stderr, done.stderr


def test_a_plan_file_is_private_whole_and_replaces_one_that_is_there(tmp_path, run, spec):
    out = tmp_path / "plan.json"
    out.write_text("old" * 100_000)
    out.chmod(0o666)
    held = out.open()
    assert run("plan", spec, "--out", out)[0] == 2
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert json.loads(out.read_text())["machines"]
    assert held.read(6) == "oldold", "the old file was not written into"
    held.close()
    assert [path.name for path in tmp_path.iterdir() if "plan" in path.name] == ["plan.json"]


@pytest.mark.parametrize(
    "name", ["link.json", "pipe.json", "no/folder/plan.json", "/dev/null", "/dev/full", "x" * 300]
)
def test_a_plan_file_does_not_go_through_a_link_or_into_a_device(tmp_path, run, spec, name):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link.json").symlink_to("precious")
    os.mkfifo(tmp_path / "pipe.json")
    before = identity(tmp_path / name)
    status, _, err = run("plan", spec, "--out", tmp_path / name)
    assert (status, "CXE232" in err) == (1, True)
    assert identity(tmp_path / name) == before
    assert (tmp_path / "precious").read_text() == "precious"


def identity(path):
    try:
        return path.lstat().st_ino
    except OSError:
        return None


def test_a_plan_file_on_a_full_disk_is_told_and_leaves_nothing(tmp_path, spec, monkeypatch, capfd):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    folder = tmp_path / "out"
    folder.mkdir()
    assert _run(["plan", str(spec), "--out", str(folder / "plan.json")]) == 1
    assert "No space left on device" in capfd.readouterr().err
    assert not list(folder.iterdir())


# Simulated hosts that are damaged ----------------------------------------------------------------------


def replace(path, make):
    path.unlink()
    make(path)


DAMAGE = {
    "no JSON": lambda host: (host / "machine.json").write_text("{"),
    "nested without end": lambda host: (host / "machine.json").write_text("[" * 200_000),
    "a number too long": lambda host: (host / "machine.json").write_text('{"format": ' + "9" * 5000 + "}"),
    "a pipe": lambda host: replace(host / "machine.json", os.mkfifo),
    "a directory": lambda host: replace(host / "machine.json", os.mkdir),
    "gone": lambda host: (host / "machine.json").unlink(),
    "a bound that is no number": lambda host: world(host, lambda w: w["firmware"][0].update(end="0xzz")),
    "no bound": lambda host: world(host, lambda w: w["firmware"][0].update(start="")),
    "half a character": lambda host: world(host, lambda w: w["installed"]["apt"].update(status="\ud800")),
    "half a status": lambda host: world(host, lambda w: w["installed"]["apt"].update(status="ok")),
    "a register without a base": lambda host: world(
        host, lambda w: w["running"]["mtrr"][0].update(base="0x")
    ),
    "a lock that is a directory": lambda host: ((host / "lock").unlink(), (host / "lock").mkdir()),
    "no root": lambda host: (host / "root").rename(host / "elsewhere"),
    "a root that is a file": lambda host: (
        (host / "root").rename(host / "else"),
        (host / "root").write_text(""),
    ),
    "a pipe for GRUB's file": lambda host: replace(host / "root/etc/default/grub", os.mkfifo),
    "a pipe for the groups": lambda host: replace(host / "root/etc/group", os.mkfifo),
    "a loop for the state": lambda host: loop(host / "root/var/lib/cxlstate"),
    "a pipe for the journal": lambda host: replace(host / "root/var/lib/cxlstate/journal.jsonl", os.mkfifo),
    "a directory for the groups": lambda host: replace(host / "root/etc/group", os.mkdir),
}


def world(host, change):
    file = host / "machine.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def loop(path):
    path.rename(path.with_name("else"))
    path.symlink_to(path.name)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_simulated_host_is_told_in_words_and_nobody_waits(tmp_path, capfd, damage):
    bench = Bench(tmp_path)
    bench.spec(
        {"packages": ["hello"], "users": {"admin": {"groups": ["kvm"]}}, "grub": {"args": ["a=1"]},
         "modules": {"kmem": "absent"}, "services": {"cron": {"running": True}}}
    )  # fmt: skip
    assert _run(["apply", "--yes", str(bench.file)]) in (0, 3)
    DAMAGE[damage](bench.directory)
    bench.file.write_text(bench.file.read_text().replace("hello", "tree"))
    capfd.readouterr()
    for arguments in (["plan"], ["drift"], ["show"], ["apply", "--yes"]):
        status = _run([*arguments, str(bench.file)])
        out, err = capfd.readouterr()
        assert status in (0, 1, 2, 3, 5), (arguments, err)
        assert "CXE900" not in out + err, (arguments, err)
    assert status, "an apply of a damaged host is no success"


# What others say ---------------------------------------------------------------------------------------


def test_a_warning_is_told_once_and_before_the_question(bench):
    """A person is asked at a terminal, and sees everything before the answer."""
    bench.spec({"packages": ["hello"], "memmap": [{"size": "2GiB", "start": "6GiB", "type": "pmem"}]})
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cxlstate", "apply", bench.file],
        stdin=terminal, stdout=terminal, stderr=terminal, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(terminal)
    said = read_until(main, b"[y/N]")
    before = said.count(b"warning[")
    assert before >= 1
    os.write(main, b"y\n")
    said += read_until(main, None)
    assert process.wait(30) in (1, 3)
    codes = re.findall(rb"warning\[(CX\w+)\]", said)
    assert len(codes) == len(set(codes)) == before, said.decode()


@pytest.mark.parametrize("no_color", ["", "1"])
def test_progress_honours_no_color(spec, no_color):
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cxlstate", "apply", "--yes", spec],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": no_color},
    )  # fmt: skip
    os.close(terminal)
    said = read_until(main, None)
    assert process.wait(30) == 0
    process.stdout.close()
    assert "✓".encode() in said
    assert (re.search(rb"\x1b\[[0-9;]*m", said) is None) is bool(no_color)


@pytest.mark.parametrize("verb", ["plan", "drift", "apply"])
def test_after_ctrl_c_a_verb_that_reads_is_not_told_of_what_it_would_have_applied(monkeypatch, capfd, verb):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["cxlstate.cli.main"].cxlstate, "main", interrupted)
    assert _run([verb]) == 1
    err = capfd.readouterr().err
    assert "error[CXE233] interrupted" in err
    assert "→        run the same command again; an apply goes on from where it stopped" in err


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), "CXE233"), (ValueError("x"), "CXE900")])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_end_that_cannot_be_told_is_told_in_short(monkeypatch, capfd, error, code, options):
    """As after Ctrl-C within an import, which leaves a module that lacks half of its names."""

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(sys.modules["cxlstate.cli.main"].cxlstate, "main", fails)
    monkeypatch.setitem(sys.modules, "cxlstate.cli.ended", ModuleType("ended"))
    assert _run(["validate", *options]) == 1
    out, err = capfd.readouterr()
    if options:
        document = json.loads(out)
        jsonschema.validate(document, DOCUMENT)
        assert [one["code"] for one in document["diagnostics"]] == [code]
    else:
        assert (out, err.startswith(f"error[{code}] ")) == ("", True)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.2, 0.4, 0.8])
def test_ctrl_c_while_it_starts_shows_no_traceback(spec, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, "plan", spec],
        env={**os.environ, "SECONDS": str(seconds)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, said = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 1, 2)
    assert b"Traceback" not in said


# Twice, the second time while the first is being told.
CTRL_C = """
import os, signal, threading, time
import cxlstate.__main__ as program
def press():
    for pause in (float(os.environ["SECONDS"]), 0.05):
        time.sleep(pause)
        os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press, daemon=True).start()
program.main()
"""


def read_until(main, mark):
    said = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (mark is None or mark not in said):
        try:
            chunk = os.read(main, 4096)
        except OSError:  # the other side is closed
            break
        if not chunk:
            break
        said += chunk
    return said
