"""Killed or without power after any action, the next apply converges: on the emulated host.

A fixed sample runs with the tests; `--every-crash` (make lab-crash) stops after every action in turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.e2e.test_host_memory import SPEC as MEMORY
from tests.e2e.test_host_memory import in_force

pytestmark = pytest.mark.lab

SAMPLE = [("host", "wait", 1), ("host", "kill", 3), ("memory", "wait", 2), ("memory", "kill", 1)]
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
def fresh(host, cli, story, stories):
    """The host as the story finds it, within seconds: as first started, or with kmem kept out."""
    if story in host.remembered:
        host.restore(story)
        return host
    if story == "memory":
        if host.remembered:
            host.restore("host")
        done = cli.run("apply", "--yes", "--allow", "reboot-host", stories["kmem"])
        assert done.returncode == 0, done.stdout + done.stderr
    host.run(["sync"])
    host.snapshot(story)
    host.remembered.append(story)
    return host


@pytest.fixture(scope="module")
def stories(host, spec, tmp_path_factory):
    """The spec of each story, and the one that comes before that of host memory."""
    host.remembered = []
    folder = tmp_path_factory.mktemp("stories")
    (folder / "memory.yaml").write_text(MEMORY)
    (folder / "kmem.yaml").write_text(MEMORY[: MEMORY.index("  dax:")])
    return {"host": spec, "memory": folder / "memory.yaml", "kmem": folder / "kmem.yaml"}


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
    """How many effects a story has, once an apply of it has come to its end."""
    return {}


def test_the_next_apply_converges(request, cli, stories, most, story, how, number):
    if number > most.get(story, number):
        return
    fresh, spec = request.getfixturevalue("fresh"), stories[story]
    stopped = stop_after(fresh, spec, number, how)
    if stopped is None:
        most[story] = number - 1
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
