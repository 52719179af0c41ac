"""tools/suite: a part that fails or hangs ends, the others are run, and the table tells."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from tests.conftest import ALL, OTHERS, SHORT, shards, takes

SUITE = Path(__file__).parents[1] / "tools/suite"


@pytest.fixture
def suite(monkeypatch):
    loader = SourceFileLoader("suite", str(SUITE))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("suite", loader))
    monkeypatch.setitem(sys.modules, "suite", module)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    monkeypatch.setattr(module, "BIN", Path("/bin"))
    monkeypatch.setattr(sys, "argv", ["tools/suite", "try"])
    before = signal.getsignal(signal.SIGTERM)
    yield module
    signal.signal(signal.SIGTERM, before)


def table(suite, monkeypatch, capfd, *parts):
    monkeypatch.setitem(suite.SUITES, "try", lambda: list(parts))
    status = suite.main()
    said = capfd.readouterr().out
    return status, [line.split(maxsplit=1)[1] for line in said.partition("minutes  part")[2].splitlines()[1:]]


def test_a_failure_stops_none_of_the_others(suite, monkeypatch, capfd):
    part = suite.Part
    status, told = table(
        suite, monkeypatch, capfd, part("bad", ("false",), 1), part("good", ("sh", "-c", "true"), 1)
    )
    assert (status, told) == (1, ["bad: exit 1", "good"])


def test_what_hangs_is_ended_with_all_it_started(suite, monkeypatch, capfd, tmp_path):
    monkeypatch.setattr(suite, "GRACE_SECONDS", 0.5)
    deaf = f"trap '' TERM; (trap '' TERM; sleep 2; touch {tmp_path}/late) & while :; do sleep 0.1; done"
    begun = time.monotonic()
    status, told = table(
        suite,
        monkeypatch,
        capfd,
        suite.Part("deaf", ("sh", "-c", deaf), 0.01),
        suite.Part("good", ("true",), 1),
    )
    assert (status, told) == (1, ["deaf: ended after 0.01 minutes", "good"])
    time.sleep(max(0, begun + 3 - time.monotonic()))
    assert not (tmp_path / "late").exists()


def test_who_waits_is_left_out_for_want_of_what_runs_beside(suite, monkeypatch, capfd):
    part = suite.Part
    beside = part("images", ("false",), 1, beside=True)
    status, told = table(
        suite, monkeypatch, capfd, beside, part("good", ("true",), 1), part("last", ("true",), 1, waits=True)
    )
    assert (status, told) == (1, ["images: exit 1", "good", "last: left out, for want of images"])


def test_what_runs_beside_runs_at_the_same_time_and_counts(suite, monkeypatch, capfd, tmp_path):
    meets = "until [ -e {} ]; do sleep 0.05; done; touch {}; exit {}"
    there, back = tmp_path / "there", tmp_path / "back"
    beside = suite.Part("mypy", ("sh", "-c", meets.format(there, back, 3)), 1, beside=True)
    with_it = suite.Part("tests", ("sh", "-c", f"touch {there}; {meets.format(back, there, 0)}"), 1)
    status, told = table(suite, monkeypatch, capfd, beside, with_it)
    assert (status, told) == (1, ["mypy: exit 3", "tests"])


def test_when_it_is_told_to_end_nothing_is_left(suite, monkeypatch, capfd, tmp_path):
    late = suite.Part("late", ("sh", "-c", f"sleep 3; touch {tmp_path}/late"), 1)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(SystemExit, match="told to end"):
        table(suite, monkeypatch, capfd, late)
    timer.join()
    time.sleep(3.5)
    assert not (tmp_path / "late").exists()


@pytest.mark.parametrize("of", [1, 2, 3, 5])
@pytest.mark.parametrize("minutes", [SHORT, ALL])
def test_each_file_is_in_one_shard_and_no_shard_takes_much_longer(of, minutes):
    files = [*minutes, *(f"tests/e2e/test_{number}.py" for number in range(10))]
    parts = shards(files, of, minutes)
    assert sorted(file for part in parts for file in part) == sorted(files)
    every = [takes(part, minutes) for part in parts]
    assert max(every) <= max(*minutes.values(), sum(every) / of + 2 * OTHERS)


def test_those_that_wait_run_together_and_after_all_others_and_each_line_tells_whose_it_is(
    suite, monkeypatch, capfd, tmp_path
):
    meets = "[ -e {}/first ] && touch {}/{}; until [ -e {}/{} ]; do sleep 0.05; done; echo seen"
    one, two = (
        suite.Part(me, ("sh", "-c", meets.format(tmp_path, tmp_path, me, tmp_path, other)), 1, waits=True)
        for me, other in (("one", "two"), ("two", "one"))
    )
    first = suite.Part("first", ("touch", f"{tmp_path}/first"), 1)
    monkeypatch.setitem(suite.SUITES, "try", lambda: [one, first, two])
    assert suite.main() == 0
    assert {"one: seen", "two: seen"} <= set(capfd.readouterr().out.splitlines())
