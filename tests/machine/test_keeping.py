"""The journal and its store do not grow for ever, and never lose the latest run."""

from __future__ import annotations

import json
import os
import re
import time
from hashlib import sha256

import pytest

from cxlstate.core.action import WriteFile
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Entry, Result
from cxlstate.machine.posix import agent, keeping
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.writer import PosixWriter
from cxlstate.simulator.writer import SimWriter

OLD = time.time() - 800 * 86400


@pytest.fixture
def state(places, tmp_path):
    """Where the machine keeps what it does."""
    apply(places)
    return tmp_path / "state"


def apply(places, *effects, run="run-new"):
    """A run: take the lock, which prunes, and do something."""
    writer = PosixWriter(LocalTransport(), "box", survives_reboot=False, settings=Settings(**places))
    for effect in effects:
        assert writer.perform(effect, Entry(run, ("x",), "does it", "live")).result is Result.DONE
    writer.close()


def bounds(monkeypatch, **changed):
    shell = keeping.PRUNE
    for name, value in changed.items():
        shell, count = re.subn(rf"\b{name}=[0-9]+", f"{name}={value}", shell, count=1)
        assert count == 1
    monkeypatch.setattr(agent, "PRUNE", shell)


def keep(state, content, at=OLD):
    """In the store, as something that a file held."""
    name = sha256(content).hexdigest()
    (state / "blobs" / name).write_bytes(content)
    os.utime(state / "blobs" / name, (at, at))
    return name


def line(run, before="", at="2026-01-01T00:00:00Z"):
    return json.dumps(
        {"at": at, "event": "done", "status": 0, "before": before, "run": run}, separators=(",", ":")
    )


def journal(state, *lines, part=""):
    (state / f"journal{part}.jsonl").write_text("".join(f"{one}\n" for one in lines))


def kept(state):
    return {path.name for path in (state / "blobs").iterdir()}


def test_a_small_young_journal_is_left_alone(state, places):
    named, unnamed = keep(state, b"named"), keep(state, b"unnamed")
    journal(state, line("run-1", named, at=f"{time.strftime('%Y-%m-%dT%H:%M:%SZ')}"))
    before = (state / "journal.jsonl").read_bytes()
    apply(places)
    assert (state / "journal.jsonl").read_bytes() == before
    assert kept(state) == {named, unnamed}
    assert not (state / "journal.1.jsonl").exists()


@pytest.mark.parametrize("why", ["size", "age"])
def test_a_full_journal_becomes_the_earlier_and_what_was_that_goes(state, places, monkeypatch, tmp_path, why):
    before, latest = keep(state, b"before"), keep(state, b"latest")
    young = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    journal(state, line("run-0", before, at="2020-01-01T00:00:00Z"), part=".1")
    journal(state, line("run-1", latest, at=young if why == "size" else "2025-06-01T00:00:00Z"))
    if why == "size":
        bounds(monkeypatch, most=10)
    path = tmp_path / "file"
    path.write_bytes(b"old content")
    apply(places, WriteFile(str(path), b"new", sha256(b"old content").hexdigest()))
    assert "run-1" in (state / "journal.1.jsonl").read_text()
    assert "run-0" not in (state / "journal.1.jsonl").read_text()
    assert "run-new" in (state / "journal.jsonl").read_text()
    assert kept(state) == {latest, sha256(b"old content").hexdigest()}


def test_what_a_killed_action_put_there_is_kept(state, places, monkeypatch):
    killed = keep(state, b"killed", at=time.time())
    journal(state, line("run-1"))
    bounds(monkeypatch, most=10)
    apply(places)
    assert kept(state) == {killed}


def test_a_full_store_loses_the_oldest_but_nothing_of_the_latest_run(state, places, monkeypatch):
    latest = keep(state, b"L" * 200_000, at=OLD - 1000)
    blobs = [keep(state, bytes([65 + at]) * 200_000, at=OLD + at) for at in range(5)]
    journal(
        state,
        *(line("run-1", blob, at=f"{time.strftime('%Y-%m-%d')}") for blob in blobs),
        line("run-2", latest),
    )
    bounds(monkeypatch, room=700)
    apply(places)
    assert latest in kept(state)
    assert kept(state) == {latest, *blobs[-2:]}


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\xff\0\n", b'{"at":"', b"x" * 100, b'{"at":"$(touch owned)"}\n']
)
def test_a_damaged_journal_prunes_nothing_wrong(state, places, monkeypatch, content):
    named = keep(state, b"named", at=time.time())
    (state / "journal.jsonl").write_bytes(content)
    bounds(monkeypatch, most=1)
    apply(places)
    assert kept(state) == {named}
    together = b"".join(path.read_bytes() for path in state.glob("journal*"))
    assert together == content


def test_the_latest_run_is_whole_however_long_it_is(state, places, monkeypatch, tmp_path):
    bounds(monkeypatch, most=10)
    files = [tmp_path / f"file{at}" for at in range(3)]
    for path in files:
        path.write_bytes(path.name.encode())
    writes = [WriteFile(str(path), b"new", sha256(path.name.encode()).hexdigest()) for path in files]
    apply(places, *writes)
    apply(places)
    assert len((state / "journal.1.jsonl").read_text().splitlines()) == 6
    assert kept(state) == {sha256(path.name.encode()).hexdigest() for path in files}


def test_a_simulated_host_bounds_its_journal_the_same_way(tmp_path):
    host = tmp_path / "host"
    SimWriter(host, "host").close()
    state = host / "root/var/lib/cxlstate"
    latest, gone = keep(state, b"latest"), keep(state, b"gone")
    journal(state, line("run-0", gone), part=".1")
    journal(state, *[line("run-1", latest)] * (keeping.JOURNAL // 100))
    with SimWriter(host, "host") as writer:
        assert not (state / "journal.jsonl").exists()
        assert kept(state) == {latest}
        assert list((state / "tmp").iterdir()) == []
        assert writer.perform(WriteFile("/etc/motd", b"new", None), Entry("run-2", ("x",), "x", "live"))
    assert '"run":"run-1"' in (state / "journal.1.jsonl").read_text()
    assert '"run":"run-2"' in (state / "journal.jsonl").read_text()
