"""Facts of sshd: what it has in force, whose line counts, and what it does with a broken configuration."""

from __future__ import annotations

import pytest

from cxlstate.core.action import Run
from cxlstate.core.read import SshLogin
from cxlstate.formats import units
from cxlstate.formats.sshd_config import DROP_IN, FOLDER, effective

UNIT = (
    "systemctl",
    "show",
    "--property=Id,Names,LoadState,ActiveState,StateChangeTimestamp",
)


def in_force(machine):
    return effective(machine.ask("sshd", "-T").text)


def test_the_first_value_counts(machine):
    machine.write(f"{FOLDER}/99-conformance.conf", "PermitRootLogin yes\n")
    assert in_force(machine)["permitrootlogin"] == "yes"
    machine.write(DROP_IN, "PermitRootLogin prohibit-password\n")
    assert in_force(machine)["permitrootlogin"] == "prohibit-password"
    assert "permitrootlogin without-password\n" in machine.ask("sshd", "-T").text
    for path in (DROP_IN, f"{FOLDER}/99-conformance.conf"):
        machine.remove(path)


def test_a_match_is_for_those_that_it_names(machine):
    user = machine.answer(SshLogin()).text.splitlines()[0].split()[2]
    machine.write(f"{FOLDER}/99-conformance.conf", f"Match User {user}\nAllowTcpForwarding no\n")
    assert in_force(machine)["allowtcpforwarding"] == "yes"
    assert "\nallowtcpforwarding no\n" in machine.answer(SshLogin()).text
    machine.remove(f"{FOLDER}/99-conformance.conf")
    assert "\nallowtcpforwarding yes\n" in machine.answer(SshLogin()).text


@pytest.mark.long
def test_users_and_groups_are_printed_as_written_and_those_of_a_match_in_place_of_the_others(machine):
    lines = machine.answer(SshLogin()).text.splitlines()
    user, groups = lines[0].split()[2], lines[2].split()[2:]
    assert lines[2].startswith("login groups ")
    path = f"{FOLDER}/99-conformance.conf"
    machine.write(path, f"AllowUsers Alice bob@10.0.0.0/8\nAllowUsers {user}\nAllowGroups {groups[0]}\n")
    said = machine.answer(SshLogin()).text.splitlines()
    allowed = [line for line in said if line.startswith("allow") and not line.startswith("allowt")]
    users = ["allowusers Alice", "allowusers bob@10.0.0.0/8", f"allowusers {user}"]
    assert [line for line in allowed if "users" in line] == users
    assert [line for line in allowed if "groups" in line] == [f"allowgroups {groups[0]}"]
    machine.write(path, f"AllowUsers Alice\nMatch User {user}\nAllowUsers {user}\n")
    said = machine.answer(SshLogin()).text.splitlines()
    assert [line for line in said if line.startswith("allowusers")] == [f"allowusers {user}"]
    machine.remove(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("PermitRootLogin perhaps\n", 'line 1: unsupported option "perhaps".'),
        ("\nNoSuchWord yes\n", ": line 2: Bad configuration option: "),
    ],
)
def test_a_broken_configuration_is_told_and_not_reloaded(machine, text, said):
    path = f"{FOLDER}/99-conformance.conf"
    machine.write(path, text)
    answer = machine.ask("sshd", "-T")
    assert answer.status == 255
    assert answer.stderr.startswith(path)
    assert said in answer.stderr
    assert machine.perform(Run(("sshd", "-t"))).status == 255
    machine.remove(path)
    assert machine.perform(Run(("sshd", "-t"))).status == 0


def test_a_reload_is_a_change_of_state(machine):
    before = since(machine)
    assert machine.perform(Run(("systemctl", "reload"), ("ssh.service",))).status == 0
    assert since(machine) >= max(before, 1)
    assert machine.ask(*UNIT, operands=("ssh.service",)).text.splitlines()[:2] == [
        "Id=ssh.service",
        "Names=ssh.service sshd.service",
    ]


@pytest.mark.parametrize(
    ("unit", "status", "said"),
    [
        ("fact-reloads.service", 1, "fact-reloads.service is not active, cannot reload."),
        ("fact-runs.service", 3, "Job type reload is not applicable for unit fact-runs.service."),
        ("fact-absent.service", 5, "Unit fact-absent.service not found."),
    ],
)
@pytest.mark.long
def test_what_does_not_run_or_cannot_is_not_reloaded(machine, unit, status, said):
    outcome = machine.perform(Run(("systemctl", "reload"), (unit,)))
    assert outcome.status == status
    assert said in outcome.output


def since(machine):
    lines = machine.ask(*UNIT, operands=("ssh.service",)).text.splitlines()
    return units.since(
        next(line for line in lines if line.startswith("StateChangeTimestamp=")).partition("=")[2]
    )
