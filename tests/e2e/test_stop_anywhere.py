"""Killed or without power after any action, the next apply converges: on the emulated host.

A fixed sample runs with the tests; `--every-crash` (make lab-crash) stops after every action in turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.lab

SAMPLE = [("wait", 1), ("kill", 3)]
EVERY = [(how, number) for how in ("wait", "kill") for number in range(1, 12)]


def pytest_generate_tests(metafunc):
    every = metafunc.config.getoption("--every-crash")
    metafunc.parametrize(("how", "number"), EVERY if every else SAMPLE)


@pytest.fixture
def fresh(host):
    """The host as it was first started, within seconds."""
    if not getattr(host, "remembered", False):
        host.run(["sync"])
        host.snapshot("first")
        host.remembered = True
    else:
        host.restore("first")
    return host


def stop_after(host, spec, number, how):
    """Apply until the n-th effect; None where there were fewer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.stop_after", str(spec), str(number), how],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"CXLSTATE_SSH_CONFIG": str(host.ssh_config)},
    )
    with process:
        said = process.stdout.readline()
        if said.startswith("stopped") and how == "wait":
            host.power_cut()
            process.kill()
    return said.strip() if said.startswith("stopped") else None


@pytest.fixture(scope="module")
def most():
    """How many effects there were at the most, once an apply has come to its end."""
    return []


def test_the_next_apply_converges(request, cli, spec, most, how, number):
    if most and number > most[0]:
        return
    fresh = request.getfixturevalue("fresh")
    stopped = stop_after(fresh, spec, number, how)
    if stopped is None:
        most.append(number - 1)
        assert number > 5, "an apply of this spec has more than five effects"
        return
    print(stopped)
    if how == "wait":
        fresh.boot()
    done = cli.run("apply", "--yes", spec)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert set(cli.statuses("plan", spec).values()) <= {"in-sync", "pending-reboot", "blocked"}
    again = cli.run("apply", "--yes", spec)
    assert again.returncode == done.returncode
    journal = fresh.run(["cat", "/var/lib/cxlstate/journal.jsonl"]).stdout
    assert all(json.loads(line) for line in journal.splitlines())
    left = fresh.run("find / -xdev -name '*.cxlstate*' -not -path '/proc/*' 2>/dev/null", check=False).stdout
    assert left.split() == []
