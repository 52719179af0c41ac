"""Facts of users and groups."""

from __future__ import annotations

import pytest


def test_getent_shows_what_it_finds_and_tells_of_what_it_does_not(machine):
    answer = machine.ask("getent", "group", operands=("conformance-absent", "root"))
    assert (answer.status, answer.text) == (2, "root:x:0:\n")
    assert machine.ask("getent", "passwd", operands=("conformance-absent",)).status == 2
    assert machine.ask("getent", "passwd", operands=("root",)).text.startswith("root:x:0:0:root:/root:")
    assert machine.ask("getent", "group", operands=("0",)).text == "root:x:0:\n"


def test_adding_to_a_group_twice_and_removing_twice(machine):
    for _ in range(2):
        outcome = machine.run("gpasswd", "--add", "admin", "kvm")
        assert (outcome.status, outcome.output) == (0, "Adding user admin to group kvm\n")
        members = machine.ask("getent", "group", operands=("kvm",)).text.strip().split(":")[3]
        assert members.split(",") == ["admin"]
    said = "Removing user admin from group kvm\n"
    outcome = machine.run("gpasswd", "--delete", "admin", "kvm")
    assert (outcome.status, outcome.output) == (0, said)
    outcome = machine.run("gpasswd", "--delete", "admin", "kvm")
    assert (outcome.status, outcome.output) == (3, f"{said}gpasswd: user 'admin' is not a member of 'kvm'\n")


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (
            ("gpasswd", "--add", "admin", "absent"),
            3,
            "gpasswd: group 'absent' does not exist in /etc/group\n",
        ),
        (("gpasswd", "--add", "absent", "kvm"), 3, "gpasswd: user 'absent' does not exist\n"),
        (("gpasswd", "--add", "absent", "absent"), 3, "gpasswd: user 'absent' does not exist\n"),
        (("usermod", "-aG", "absent", "admin"), 6, "usermod: group 'absent' does not exist\n"),
        (("usermod", "-aG", "kvm", "absent"), 6, "usermod: user 'absent' does not exist\n"),
    ],
)
def test_what_does_not_exist_is_told(machine, argv, status, said):
    outcome = machine.run(*argv)
    assert (outcome.status, outcome.output) == (status, said)


def test_a_command_that_is_not_there_ends_with_127(machine):
    assert machine.run("conformance-absent").status == 127
