"""Connecting ahead, in a process of its own: same answers, same errors, and nothing left behind."""

from __future__ import annotations

import errno
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxlstate.adapters.open_reader import ahead
from cxlstate.core.connect import Ssh
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.read import File
from cxlstate.machine import early
from cxlstate.machine.apart import ApartTransport
from cxlstate.machine.posix.transport import Lost
from tests.machine import sshd
from tests.machine.test_ssh import pasted

VERSION = File("/proc/version")


def test_the_connection_is_made_before_anything_is_asked(server):
    connections = server.connections()
    with ahead(Ssh("box")) as (opener, _):
        assert wait_for(lambda: server.connections() > connections)
        reader = opener(Ssh("box"), "box")
        assert reader.read([VERSION]).text(VERSION) == reader.read([VERSION]).text(VERSION)
        reader.close()
    assert server.connections() - connections == 1


@pytest.mark.usefixtures("server")
def test_where_no_process_is_left_to_start_this_one_connects(monkeypatch):
    def none_left():
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(early, "_start", none_left)
    with ahead(Ssh("box")) as (opener, authenticate):
        authenticate()
        reader = opener(Ssh("box"), "box")
        assert reader.read([VERSION]).text(VERSION).startswith("Linux ")
        reader.close()


def test_nobody_authenticates_before_the_spec_is_found_valid(server):
    """The server learns of a connection, and not of who we are."""
    connections, log = server.connections(), len(server.log)
    with ahead(Ssh("box")):
        assert wait_for(lambda: server.connections() > connections)
        time.sleep(1)
    assert wait_for(lambda: "[preauth]" in server.log[log:] or "closed by" in server.log[log:])
    assert "Accepted" not in server.log[log:]
    assert "Postponed" not in server.log[log:]
    assert "authenticating user" not in server.log[log:]


def test_it_authenticates_once_the_spec_is_found_valid(server):
    log = len(server.log)
    with ahead(Ssh("box")) as (_, authenticate):
        authenticate()
        assert wait_for(lambda: "Accepted publickey" in server.log[log:])


def test_a_jump_host_is_told_no_more(server):
    connections, log = server.connections(), len(server.log)
    with ahead(Ssh("behind")):
        assert wait_for(lambda: server.connections() > connections)
        time.sleep(1)
    assert "Accepted" not in server.log[log:]


@pytest.mark.parametrize("words", ["Host odd\n ProxyCommand touch {}\n", 'Match exec "touch {}"\n User u\n'])
def test_a_command_of_the_ssh_configuration_runs_only_for_a_valid_spec(words, server, tmp_path, monkeypatch):
    """It may do anything, and authenticate anywhere."""
    ran = tmp_path / "ran"
    config = tmp_path / "config"
    config.write_text(words.format(ran) + server.config.read_text())
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", str(config))
    with ahead(Ssh("odd")) as (_, authenticate):
        time.sleep(2)
        assert not ran.exists()
        authenticate()
        assert wait_for(ran.exists)


def test_a_variable_that_the_spec_withholds_reaches_no_command_of_the_ssh_configuration(
    server, tmp_path, monkeypatch
):
    """The process that connects is started before the spec is read."""
    ran, spec = tmp_path / "ran", tmp_path / "odd.yaml"
    config = tmp_path / "config"
    config.write_text(f"Host odd\n ProxyCommand env > {ran}\n" + server.config.read_text())
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", str(config))
    monkeypatch.setenv("WITHHELD", "s3cret-of-a-file")
    monkeypatch.setenv("INHERITED", "yes")
    spec.write_text(
        "apiVersion: cxlstate/v1\nhost:\n  name: odd\n"
        '  files: {/etc/odd: {content: {env: WITHHELD}, mode: "0600"}}\n'
    )
    done = subprocess.run([sys.executable, "-m", "cxlstate", "plan", spec], capture_output=True, check=False)
    assert b"CXC110" in done.stdout + done.stderr
    assert "INHERITED=yes" in ran.read_text()
    assert "WITHHELD" not in ran.read_text()
    assert "s3cret" not in ran.read_text()


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("streams", "status"), [("<&-", 0), ("2>&-", 0), ("<&- 2>&-", 0), (">&-", 1), ("<&- >&-", 1)]
)
def test_a_stream_that_was_closed_is_not_mixed_up_with_the_pipes_to_it(streams, status, tmp_path):
    spec = tmp_path / "box.yaml"
    spec.write_text("apiVersion: cxlstate/v1\nhost: {name: box, users: {root: {}}, connect: ssh://box}\n")
    line = f"exec {shlex.quote(sys.executable)} -m cxlstate plan {spec} {streams}"
    done = subprocess.run(line, shell=True, capture_output=True, check=False, timeout=120)
    assert done.returncode == status, done
    assert (b"in sync" in done.stdout) is (status == 0)
    assert (b"CXE231" in done.stderr) is (status == 1), done


@pytest.mark.parametrize(
    ("content", "words", "status"),
    [
        ("host: {name: box}", ["--nonsense"], 64),
        ("host: {name: box", [], 1),
        ("host: {name: box, connect: ssh://box, pakages: []}", [], 1),
        ("host: {name: box, users: {root: {}}, connect: local}", [], 0),
    ],
)
def test_whatever_becomes_of_it_no_process_is_left(content, words, status, tmp_path):
    spec, mark = tmp_path / "box.yaml", f"OF_THIS_TEST={tmp_path}"
    spec.write_text(f"apiVersion: cxlstate/v1\n{content}\n")
    command = ["env", mark, sys.executable, "-m", "cxlstate", "plan", *words, spec]
    assert subprocess.run(command, capture_output=True, check=False).returncode == status
    left = [one for one in Path("/proc").glob("[0-9]*/environ") if mark.encode() in _bytes(one)]
    assert left == []


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


@pytest.mark.usefixtures("server")
def test_a_spec_that_says_otherwise_is_believed():
    with ahead(Ssh("box", port=1)) as (opener, _):
        reader = opener(Ssh("box"), "box")
        assert reader.read([VERSION]).text(VERSION)
        reader.close()


@pytest.mark.usefixtures("server")
def test_an_error_while_connecting_is_told_when_something_is_asked():
    nowhere = Ssh("box", port=sshd.free_port())
    with ahead(nowhere) as (opener, _):
        reader = opener(nowhere, "box")
        with pytest.raises(CxlstateError) as refused:
            reader.read([VERSION])
        reader.close()
    (diagnostic,) = refused.value.diagnostics
    assert diagnostic.code == "CXC102"
    assert diagnostic.hint


@pytest.mark.usefixtures("server")
def test_a_process_that_died_is_a_connection_that_was_lost():
    transport = ApartTransport(Ssh("box"))
    transport._process.kill()
    with pytest.raises(Lost, match="ended"):
        transport.exchange("true", b"", 10, 10)
    transport.close()
    transport.close()


@pytest.mark.usefixtures("server")
def test_closing_does_not_wait_for_an_answer():
    code = (
        # Whoever was started in the background of a shell has inherited that SIGINT is ignored.
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from cxlstate.core.connect import Ssh\nfrom cxlstate.core.read import Command\n"
        "from cxlstate.adapters.open_reader import ahead\n"
        "with ahead(Ssh('box')) as (opener, _):\n"
        "    print('asking', flush=True)\n"
        "    opener(Ssh('box'), 'box').read([Command(('dmesg', '--follow'), timeout=60)])\n"
    )
    with python(code, stderr=subprocess.PIPE) as ours:
        assert ours.stdout.readline() == b"asking\n"
        time.sleep(1)
        begun = time.monotonic()
        ours.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in ours.communicate(timeout=30)[1]
    assert time.monotonic() - begun < 20


@pytest.mark.usefixtures("server")
def test_the_process_ends_with_the_one_that_it_serves():
    code = (
        "import time\nfrom cxlstate.core.connect import Ssh\n"
        "from cxlstate.machine.apart import ApartTransport\n"
        "print(ApartTransport(Ssh('box'))._process.pid, flush=True)\ntime.sleep(600)\n"
    )
    with python(code) as ours:
        pid = int(ours.stdout.readline())
        ours.kill()
    assert wait_for(lambda: not running(pid))


def test_the_process_that_connects_loads_no_more_than_that_takes():
    """Nothing of ours that it has no use for: each is time before the first packet."""
    code = (
        "import sys\nfrom cxlstate.machine import apart\napart.lighten()\n"
        "import cxlstate.machine.ssh\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded & {"click", "pydantic", "lxml", "libvirt"} == set()
    assert loaded & {f"cxlstate.core.{name}" for name in ("libvirt", "read", "answers", "guest")} == set()
    assert loaded & {"asyncio", "unittest", "unittest.case"} == set()
    assert "fabric.connection" in loaded


def test_a_plan_is_one_connection_and_one_channel(server, tmp_path):
    spec = tmp_path / "box.yaml"
    spec.write_text(
        "apiVersion: cxlstate/v1\nhost: {name: box, users: {root: {}},\n  connect: ssh://box\n  }\n"
    )
    channels, connections = server.channels(), server.connections()
    done = subprocess.run(
        [sys.executable, "-m", "cxlstate", "plan", spec], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (server.channels() - channels, server.connections() - connections) == (1, 1)


@pytest.mark.parametrize("verb", ["plan", "drift", "show", "apply"])
def test_an_unknown_host_key_ends_a_verb_and_the_pasted_cure_lets_it_run(server, tmp_path, verb):
    spec = tmp_path / "box.yaml"
    spec.write_text("apiVersion: cxlstate/v1\nhost: {name: box, users: {root: {}}, connect: ssh://box}\n")
    (server.folder / "known_hosts").write_text("")
    command = [sys.executable, "-m", "cxlstate", verb, "--json", spec]
    log = len(server.log)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    (problem,) = json.loads(done.stdout)["diagnostics"]
    assert problem["code"] == "CXC104"
    assert "Accepted" not in server.log[log:]
    pasted(problem["hint"].rpartition(": ")[2])
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("verb", "wrong"),
    [("plan", "  pakages: [hello]"), ("drift", "  memmap: [{size: 2GB}]"), ("show", "  users: 7")],
)
def test_a_spec_with_an_error_is_told_to_no_server(server, tmp_path, verb, wrong):
    spec = tmp_path / "box.yaml"
    spec.write_text(f"apiVersion: cxlstate/v1\nhost:\n  name: box\n  connect: ssh://box\n{wrong}\n")
    log = len(server.log)
    done = subprocess.run([sys.executable, "-m", "cxlstate", verb, spec], capture_output=True, check=False)
    assert done.returncode == 1
    assert "Accepted" not in server.log[log:]


def python(code: str, **more):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, **more)


def running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(holds, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()
