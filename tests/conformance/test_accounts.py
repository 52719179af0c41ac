"""Facts of users and groups."""

from __future__ import annotations

import pytest

from cxlstate.core.file import PutFile, SetPassword
from cxlstate.core.read import AuthorizedKeys, Command, File
from cxlstate.core.secret import Secret
from cxlstate.machine.outcome import Result


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
@pytest.mark.long
def test_what_does_not_exist_is_told(machine, argv, status, said):
    outcome = machine.run(*argv)
    assert (outcome.status, outcome.output) == (status, said)


def test_a_command_that_is_not_there_ends_with_127(machine):
    assert machine.run("conformance-absent").status == 127


def test_a_user_is_made_changed_and_removed_with_the_home(machine):
    made = ("--create-home", "--home-dir", "/home/conformance")
    assert machine.run("useradd", *made, "--user-group", "conformance").status == 0
    line = machine.ask("getent", "passwd", operands=("conformance",)).text.strip().split(":")
    assert (line[0], line[5], line[6]) == ("conformance", "/home/conformance", "/bin/sh")
    assert int(line[2]) >= 1000
    assert machine.ask("getent", "group", operands=("conformance",)).text.startswith("conformance:x:")
    assert machine.ask("getent", "shadow", operands=("conformance",)).text.split(":")[1] == "!"
    again = machine.run("useradd", *made, "--user-group", "conformance")
    assert (again.status, again.output) == (9, "useradd: user 'conformance' already exists\n")

    assert machine.run("usermod", "--shell", "/bin/bash", "conformance").status == 0
    line = machine.ask("getent", "passwd", operands=("conformance",)).text.strip().split(":")
    assert line[6] == "/bin/bash"
    hash_ = "$6$salt$abcdefghijklmnop"
    assert machine.perform(SetPassword("conformance", Secret(hash_.encode()))).result is Result.DONE
    assert machine.ask("getent", "shadow", operands=("conformance",)).text.split(":")[1] == hash_
    assert hash_ not in machine.text("/var/lib/cxlstate/journal.jsonl")

    keys = "/home/conformance/.ssh/authorized_keys"
    effect = PutFile(keys, b"key\n", None, "conformance", mode=0o600, private=True)
    assert machine.perform(effect).result is Result.DONE
    head, _, content = machine.answer(AuthorizedKeys("conformance")).text.partition("content\n")
    home, *inodes = head.splitlines()
    assert (home, content) == ("home /home/conformance", "key\n")
    assert [line.split(" ")[3] for line in inodes] == [
        f"conformance:conformance:{path}" for path in ("/home/conformance", "/home/conformance/.ssh", keys)
    ]

    assert machine.run("userdel", "--remove", "conformance").status == 0
    assert machine.ask("getent", "passwd", operands=("conformance",)).status == 2
    assert machine.ask("getent", "group", operands=("conformance",)).status == 2
    assert machine.answer(File(keys)).stderr == "No such file or directory"
    assert machine.answer(AuthorizedKeys("conformance")).status == 2
    said = "userdel: user 'conformance' does not exist\n"
    outcome = machine.run("userdel", "--remove", "conformance")
    assert (outcome.status, outcome.output) == (6, said)


@pytest.mark.long
def test_a_group_of_the_name_of_a_new_user_is_in_the_way(machine):
    outcome = machine.run("useradd", "--create-home", "--home-dir", "/home/kvm", "--user-group", "kvm")
    said = "useradd: group kvm exists - if you want to add this user to that group, use -g.\n"
    assert (outcome.status, outcome.output) == (9, said)
    words = ("--create-home", "--home-dir", "/home/kvm", "--gid", "kvm", "kvm")
    assert machine.run("useradd", *words).status == 0
    gid = machine.ask("getent", "group", operands=("kvm",)).text.split(":")[2]
    assert machine.ask("getent", "passwd", operands=("kvm",)).text.split(":")[3] == gid
    assert machine.run("userdel", "--remove", "kvm").status == 0


def test_only_root_sees_hashes_and_keys(machine):
    with machine.unprivileged() as reader:
        shadow = Command(("getent", "shadow"), ("root",))
        answers = reader.read([shadow, AuthorizedKeys("root")])
        assert (answers.raw(shadow).status, answers.raw(shadow).stdout) == (2, b"")
        assert answers.raw(AuthorizedKeys("root")).stderr == "Permission denied: only root can see it"
