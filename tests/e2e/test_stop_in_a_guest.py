"""Stopped behind any action inside a guest, the next apply goes on: a namespace, and the end of a first boot.

On machines that are guests without a host around them. `--every-crash`: behind each action of a namespace,
killed and without power; else a sample. Of a first boot it is each action, each with its own power cut.
"""

from __future__ import annotations

import json
import time
from contextlib import closing

import pytest

from cxlstate.adapters.open_writer import open_writer
from cxlstate.core.connect import Ssh
from tests.e2e.conftest import cli_of
from tests.e2e.test_first_boot import LOOK, PASSWORD, Guest, assessed, only_its_user_logs_in, perform
from tests.e2e.test_stop_anywhere import stop_after
from tests.lab.bare_guest import BareGuest

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(5400)]

SPEC = """\
apiVersion: cxlstate/v1
host:
  name: box
  connect: ssh://lab-root
  modules: {{nd_pmem: present}}
  files: {{/etc/profile-of-it: {{content: {align}}}}}
  namespaces: {{cxl: {{mode: devdax, map: mem, align: {align}}}}}
"""
HASHED = "sudo grep ^comsys: /etc/shadow | cut -d: -f2"
CONSENT = "destroy-data=box/namespace.cxl"
SAMPLE = [("kill", 1), ("wait", 2), ("kill", 2)]
EVERY = [(how, number) for how in ("kill", "wait") for number in range(1, 8)]


def pytest_generate_tests(metafunc):
    if "number" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-crash")
        metafunc.parametrize(("how", "number"), EVERY if every else SAMPLE)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    with BareGuest.started(tmp_path_factory.mktemp("stopped")) as made:
        yield made


def other_align(bare):
    """What the namespace has to be made anew for."""
    (found,) = json.loads(bare.run(["ndctl", "list", "-N"]).stdout)
    return "2MiB" if found.get("align") == 4 << 10 else "4KiB"


def test_a_namespace_that_was_being_made(bare, tmp_path, how, number):
    cli, spec = cli_of(bare), tmp_path / "box.yaml"
    spec.write_text(SPEC.format(align=other_align(bare)))
    stopped = stop_after(bare, spec, number, how, CONSENT)
    print(stopped or "it had fewer actions")
    if how == "wait" and stopped:
        bare.boot()
    done = cli.run("apply", "--yes", "--allow", CONSENT, spec)
    assert done.returncode == 0, done.stdout + done.stderr
    assert cli.run("plan", spec).returncode == 0
    journal = bare.run(["cat", "/var/lib/cxlstate/journal.jsonl"]).stdout
    assert all(json.loads(line) for line in journal.splitlines())
    left = bare.run("find / -xdev -name '*.cxlstate*' -not -path '/proc/*' 2>/dev/null", check=False).stdout
    assert left.split() == []


def test_a_first_boot_whose_seed_was_being_taken_away(tmp_path, monkeypatch):
    """Without power behind each action in turn: what is left is done, and it is the same guest.

    Before all that cloud-init wrote has reached the disk, nothing is done that it could not do again.
    """
    guest = Guest.seeded(tmp_path)
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", str(guest.config))
    with guest.machine:
        hashed = guest.told(HASHED)
        for number in range(2, 6):
            print(f"without power behind: {_done(guest, number)}")
            guest.machine.power_cut()
            guest.machine.start_and_wait("login:")
            _awaited(guest)
        assert guest.told(HASHED) == hashed
        assert guest.ssh(LOOK, text=f"{hashed}{PASSWORD}\n").stdout == ""
        only_its_user_logs_in(guest)


def _done(guest, number):
    """Do what is left to do, up to this action; what that is."""
    with closing(open_writer(Ssh("cloud"), "cloud", progress=lambda _: None)) as writer:
        _, found = assessed(writer)
        assert not found.problems, (number, found.problems)
        for action in found.actions[:number]:
            perform(writer, action)
    return found.actions[number - 1].does


def _awaited(guest):
    in_time = time.monotonic() + 900
    while guest.ssh("true").returncode and time.monotonic() < in_time:
        time.sleep(2)
