"""The plugin that runs a failed test of the emulated host again: what it tells, and how the run ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECOND_TIME = """
    import pytest
    pytestmark = pytest.mark.lab
    runs = []

    @pytest.fixture(scope="session")
    def host():
        runs.append("host")

    def passes_second(name):
        runs.append(name)
        assert runs.count(name) == 2, f"{name} fails once"
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    pytester.makeini("[pytest]\nmarkers =\n  lab: as here\n")

    def run(text, *options):
        pytester.makepyfile(test_it=text)
        arguments = ("-p", "tests.lab.again", "-p", "no:cacheprovider", "-p", "no:randomly", *options)
        return pytester.runpytest_subprocess(*arguments, timeout=120)

    return run


def test_what_passes_the_second_time_is_listed_and_the_run_passes(suite):
    result = suite(f"""{SECOND_TIME}
    def test_good(host): assert runs == ["host"]
    def test_one(host): passes_second("one")
    def test_new(host): assert runs == ["host", "one", "host", "one"]
""")
    result.assert_outcomes(passed=3)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*flaky: failed, and passed from a fresh start*",
            "test_it.py::test_one",
            "*AssertionError: one fails once*",
        ]
    )


def test_three_flaky_ones_fail_the_run(suite):
    two = "".join(f"\n    def test_{name}(host): passes_second('{name}')" for name in ("one", "two"))
    assert suite(SECOND_TIME + two).ret == 0
    result = suite(SECOND_TIME + two + "\n    def test_three(host): passes_second('three')")
    result.assert_outcomes(passed=3)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["3 flaky tests: 3 or more fail the run"])


def test_what_fails_twice_is_a_failure_and_leaves_nothing_to_the_next(suite):
    result = suite(f"""{SECOND_TIME}
    def test_bad(host): assert False, "always"
    def test_next(host): assert runs == ["host"] * 3
""")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == 1
    result.stdout.no_fnmatch_line("*flaky*")


def test_a_fixture_that_fails_is_made_again(suite):
    result = suite(f"""{SECOND_TIME}
    @pytest.fixture(scope="session")
    def stage(host): passes_second("stage")
    def test_it(stage): pass
    def test_other(stage): pass
""")
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["test_it.py::test_it", "*stage fails once*"])


def test_other_tests_are_run_once(suite):
    result = suite(
        SECOND_TIME.replace("pytestmark = pytest.mark.lab", "") + "\n    def test_it(): passes_second('it')"
    )
    result.assert_outcomes(failed=1)
    assert result.ret == 1


@pytest.mark.slow
def test_one_that_takes_too_long_fails_and_is_run_again_with_as_much_time(suite):
    result = suite(f"""{SECOND_TIME}
    import time
    def test_once(host):
        runs.append(0)
        time.sleep(30 if runs.count(0) == 1 else 0)
    def test_twice(host): time.sleep(30)
""", "--timeout=1")  # fmt: skip
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_once", "*Timeout (>1*"])
    assert result.duration < 25


@pytest.mark.slow
def test_one_that_hears_no_signal_is_ended_and_run_in_a_new_worker(suite, tmp_path):
    result = suite(f"""
    import ctypes, pathlib, signal, pytest, tests.lab.again
    tests.lab.again.DEAF_SECONDS = 1.0
    seen = pathlib.Path({str(tmp_path)!r})
    def hangs():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        ctypes.CDLL(None).sleep(60)
    @pytest.mark.lab
    def test_once():
        if not (seen / "here").exists():
            (seen / "here").touch()
            hangs()
    @pytest.mark.lab
    def test_next(): pass
    @pytest.mark.lab
    def test_always(): hangs()
    @pytest.mark.lab
    def test_last(): pass
""", "--timeout=1", "-n", "1")  # fmt: skip
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_once", "*its process ended*", "*test_always*"])
    assert result.duration < 50


def test_an_emulator_that_ended_is_listed_apart(suite):
    result = suite("""
    import pytest, tests.lab.again as again
    ends = ["msix_table_mmio_write: Assertion"]
    again.aborted = lambda: ends.pop() if ends else None
    @pytest.mark.lab
    def test_it(): assert not ends
""")
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*the emulator ended, and was started again*", "*msix_table_mmio_write*"])
    result.stdout.no_fnmatch_line("*flaky*")
