"""Who may write when, and what becomes of a client that dies, hangs or is cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cxlstate.core.action import Generate, Run
from cxlstate.core.connect import Ssh
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.writer import PosixWriter
from cxlstate.machine.ssh import SshTransport
from tests.machine.conftest import ENTRY, AsNobody
from tests.machine.test_ssh import Proxy

PATIENCE = 2

pytestmark = pytest.mark.slow  # they wait for real heartbeats and time limits


@pytest.fixture(params=["local", "ssh"])
def start_client(request, places):
    if request.param == "ssh":
        request.getfixturevalue("server")
    clients = []

    def start(*argv):
        command = [
            sys.executable,
            "-m",
            "tests.machine.client",
            request.param,
            places["state"],
            places["lock"],
        ]
        client = subprocess.Popen([*command, str(PATIENCE), *argv], stdout=subprocess.PIPE, text=True)
        clients.append(client)
        assert client.stdout.readline() == "locked\n"
        return client

    yield start
    for client in clients:
        client.kill()
        client.wait()
        client.stdout.close()


def settings(places):
    return Settings(**places, patience=PATIENCE)


def another(places):
    return PosixWriter(LocalTransport(), "box", survives_reboot=False, settings=settings(places))


def locked(places):
    try:
        another(places).close()
    except CxlstateError as refused:
        return {"CXC302": True}[refused.diagnostics[0].code]
    return False


def seconds_until_free(places, limit=30):
    started = time.monotonic()
    while locked(places):
        assert time.monotonic() - started < limit, "the lock is never free"
        time.sleep(0.1)
    return time.monotonic() - started


def test_the_lock_is_for_one_and_says_whose_it_is(start_client, places):
    start_client()
    with pytest.raises(CxlstateError) as refused:
        another(places)
    (diagnostic,) = refused.value.diagnostics
    assert diagnostic.code == "CXC302"
    assert diagnostic.found.startswith("process ")
    assert ", since 20" in diagnostic.found
    assert "Nothing has to be cleaned up" in diagnostic.hint


def test_the_lock_is_kept_while_its_holder_lives(start_client, places):
    start_client()
    time.sleep(2 * PATIENCE)
    assert locked(places)


def test_a_killed_client_frees_the_lock(start_client, places):
    start_client().kill()
    assert seconds_until_free(places) < PATIENCE


def test_a_killed_client_leaves_no_process_on_the_machine(start_client, places):
    client = start_client()
    agent = Path("/proc") / Path(places["lock"]).read_text().split()[1].rstrip(",")
    assert agent.exists()
    client.kill()
    started = time.monotonic()
    while agent.exists():
        assert time.monotonic() - started < 2 * PATIENCE, "the agent outlives its client"
        time.sleep(0.05)


def test_a_half_open_connection_frees_the_lock_within_the_heartbeat(start_client, places):
    start_client().send_signal(signal.SIGSTOP)
    assert locked(places)
    assert seconds_until_free(places) < 2 * PATIENCE


def test_but_not_while_an_action_still_runs(start_client, places, tmp_path):
    client = start_client("sh", "-c", f"touch {tmp_path}/begun; sleep 5; touch {tmp_path}/ended")
    await_file(tmp_path / "begun")
    client.send_signal(signal.SIGSTOP)
    time.sleep(1.5 * PATIENCE)
    assert locked(places)
    assert not (tmp_path / "ended").exists()
    seconds_until_free(places)
    assert (tmp_path / "ended").exists()


def test_an_action_outlives_its_killed_client(start_client, places, tmp_path):
    noisy = f"touch {tmp_path}/begun; for i in 1 2 3 4; do sleep 0.5; echo on; done; touch {tmp_path}/ended"
    client = start_client("sh", "-c", noisy)
    await_file(tmp_path / "begun")
    client.kill()
    client.wait()
    assert locked(places)
    await_file(tmp_path / "ended")
    seconds_until_free(places)
    journal = (tmp_path / "state" / "journal.jsonl").read_text().splitlines()
    assert '"event":"done"' in journal[-1]


def test_a_daemon_that_an_action_leaves_behind_does_not_keep_the_lock(places, tmp_path):
    writer = another(places)
    leave = f"setsid sleep 20 >/dev/null 2>&1 & echo $! >{tmp_path}/pid"
    writer.perform(Run(("sh", "-c", leave)), ENTRY)
    writer.close()
    try:
        assert seconds_until_free(places) < PATIENCE
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_what_a_killed_run_left_is_cleaned_at_the_next(places, tmp_path):
    another(places).close()
    (tmp_path / "etc").mkdir()
    half = tmp_path / "etc" / ".grub.cfg.cxlstate"
    beside = tmp_path / "etc" / ".grub.cfg.cxlstate.new"
    for path in (half, beside, tmp_path / "etc" / "grub.cfg", tmp_path / "state" / "tmp" / "content"):
        path.write_text("half")
    (tmp_path / "state" / "tmp" / "leftover").write_text(str(half))
    another(places).close()
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["grub.cfg"]
    assert list((tmp_path / "state" / "tmp").iterdir()) == []


@pytest.mark.parametrize("torn", ["", "\0\0\0", "/", "/etc", "relative/.x.cxlstate"])
def test_a_torn_note_of_what_was_left_takes_nothing(places, tmp_path, torn):
    another(places).close()
    (tmp_path / "state" / "tmp" / "leftover").write_text(torn)
    before = sorted(Path("/etc").iterdir())
    another(places).close()
    assert sorted(Path("/etc").iterdir()) == before


def test_a_client_that_dies_between_generating_and_judging_leaves_nothing(places, tmp_path, monkeypatch):
    writer = another(places)
    monkeypatch.setattr("cxlstate.machine.generated.judge", _die)
    with pytest.raises(KeyboardInterrupt):
        writer.perform(Generate(f"{tmp_path}/made", ("sh", "-c", "echo x >$1", "sh"), b"x\n"), ENTRY)
    writer.close()
    seconds_until_free(places)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["lock", "state"]


def _die(*_):
    raise KeyboardInterrupt


def test_a_connection_cut_in_an_action_names_it(server, places, tmp_path):
    with Proxy(server.port) as proxy:
        key = (server.folder / "host_key.pub").read_text()
        (server.folder / "known_hosts").write_text(f"[127.0.0.1]:{proxy.port} {key}")
        transport = SshTransport(Ssh("box", port=proxy.port), "box")
        writer = PosixWriter(transport, "box", survives_reboot=False, settings=settings(places))
        threading.Thread(target=_cut_when, args=(tmp_path / "begun", proxy), daemon=True).start()
        program = Run(("sh", "-c", f"touch {tmp_path}/begun; sleep 3; touch {tmp_path}/ended"))
        with pytest.raises(CxlstateError) as lost:
            writer.perform(program, ENTRY)
        writer.close()
    (diagnostic,) = lost.value.diagnostics
    assert diagnostic.code == "CXC303"
    assert ENTRY.does in diagnostic.message
    assert "converges" in diagnostic.hint
    assert locked(places)
    seconds_until_free(places)
    assert (tmp_path / "ended").exists()


def _cut_when(path, proxy):
    await_file(path)
    proxy.cut()


def await_file(path):
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


def test_without_root_writing_is_refused_with_what_to_do(places):
    with pytest.raises(CxlstateError) as refused:
        PosixWriter(AsNobody(), "box", survives_reboot=False, settings=settings(places))
    (diagnostic,) = refused.value.diagnostics
    assert diagnostic.code == "CXC301"
    assert "NOPASSWD" in diagnostic.hint


def test_a_state_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CxlstateError, match="CXC304") as refused:
        another({"state": f"{tmp_path}/file/state", "lock": f"{tmp_path}/lock"})
    assert "Not a directory" in refused.value.diagnostics[0].found
