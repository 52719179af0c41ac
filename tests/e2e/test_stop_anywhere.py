"""Killed or without power after any action, the next apply converges: on the emulated host.

A fixed sample runs with the tests; `--every-crash` (make lab-crash) stops after every action in turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.e2e.conftest import cli_of, written
from tests.e2e.test_foundation import PROVEN
from tests.e2e.test_host_memory import SPEC as MEMORY
from tests.e2e.test_host_memory import in_force
from tests.e2e.test_host_memory import written as memory_spec
from tests.lab.stages import FRESH

pytestmark = pytest.mark.lab

SAMPLE = [
    pytest.param("host", "wait", 1, marks=pytest.mark.long),
    pytest.param("host", "kill", 3, marks=pytest.mark.long),
    pytest.param("memory", "wait", 2, marks=pytest.mark.long),
    ("memory", "kill", 1),
]
EVERY = [
    (story, how, number)
    for story in ("host", "memory")
    for how in ("wait", "kill")
    for number in range(1, 12)
]
LEAST = {"host": 5, "memory": 6}
"""An apply of this story has more than so many effects."""


def pytest_generate_tests(metafunc):
    every = metafunc.config.getoption("--every-crash")
    metafunc.parametrize(("story", "how", "number"), EVERY if every else SAMPLE)


@pytest.fixture
def fresh(hosts, story):
    """The host as the story finds it: as first started, or booted with what takes a reboot."""
    return hosts.at(FRESH if story == "host" else PROVEN, looks=False)


@pytest.fixture
def spec(story, tmp_path):
    return written(tmp_path) if story == "host" else memory_spec(tmp_path, MEMORY)


def stop_after(host, spec, number, how, *allowed):
    """Apply until the n-th effect; None where there were fewer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.stop_after", str(spec), str(number), how, *allowed],
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


MOST = {}
"""How many effects a story has, once an apply of it has come to its end."""


def test_the_next_apply_converges(request, spec, story, how, number):
    if number > MOST.get(story, number):
        return
    fresh = request.getfixturevalue("fresh")
    cli = cli_of(fresh)
    stopped = stop_after(fresh, spec, number, how)
    if stopped is None:
        MOST[story] = number - 1
        assert number > LEAST[story]
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
    if story == "memory":
        assert done.returncode == 0, done.stdout
        in_force(fresh)
