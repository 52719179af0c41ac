"""What needs no machine: configuration texts, known hosts, judging what was generated."""

from __future__ import annotations

import pytest

from cxlstate.core.action import Generate
from cxlstate.core.read import Command, File
from cxlstate.machine import generated, known_hosts, records, ssh_config
from cxlstate.machine.outcome import Result
from cxlstate.machine.posix import read_script


def test_an_included_file_stands_in_its_place_and_its_block_ends_with_it(tmp_path):
    (tmp_path / "config").write_text("Host a\n  Port 1\n  Include conf.d/*\n  User x\nHost b\n")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "1").write_text("Host c\n  Port 3")
    text = ssh_config.load([tmp_path / "config", tmp_path / "absent"])
    assert [line.strip() for line in text.splitlines()] == [
        "Host *",
        "Host a",
        "Port 1",
        "Host a",
        "Match originalhost a originalhost c",  # readconf.c: in a block that does not match, no other does
        "Port 3",
        "Host a",
        "User x",
        "Host b",
    ]


def test_what_is_included_in_a_block_holds_for_that_block_only(tmp_path):
    (tmp_path / "config").write_text("Host a\n  Include more\nHost b\n")
    (tmp_path / "more").write_text("Port 7\n")
    text = ssh_config.load([tmp_path / "config"])
    assert [line.strip() for line in text.splitlines()] == [
        "Host *",
        "Host a",
        "Host a",
        "Port 7",
        "Host a",
        "Host b",
    ]


@pytest.mark.parametrize("times", [1, 3])
def test_a_file_that_includes_itself_is_refused_at_once(tmp_path, times):
    (tmp_path / "config").write_text("include = config\n" * times)
    with pytest.raises(ValueError, match="a loop"):
        ssh_config.load([tmp_path / "config"])


def test_a_name_of_many_stars_is_compared_at_once():
    assert not known_hosts.keys(["*a" * 30 + "b ssh-ed25519 AAAA"], "a" * 255)


HASHED = "|1|5pMI8ePhfGhhj+Xf94UGN60hTiU=|9bkvBfuXM2IySqU3bTNRsL14vrQ="


@pytest.mark.parametrize(
    ("names", "host", "found"),
    [
        ("box", "box", True),
        ("other,box", "box", True),
        ("box", "bo", False),
        ("*.lab", "a.lab", True),
        ("*.lab,!a.lab", "a.lab", False),
        ("b?x", "box", True),
        ("*", "box", True),
        ("b*x*", "BOX", True),
        ("b.x", "box", False),
        ("b*y", "box", False),
        ("?", "", False),
        ("(box|other)", "box", False),
        ("[box]", "b", False),
        ("[127.0.0.1]:2222", "[127.0.0.1]:2222", True),
        ("127.0.0.1", "[127.0.0.1]:2222", False),
        ("|1|damaged", "box", False),
        ("|1|&|&", "box", False),
        (HASHED, "box", False),
    ],
)
def test_names_of_known_hosts(names, host, found):
    assert (known_hosts.keys([f"{names} ssh-ed25519 AAAA comment"], host) != []) is found


def test_a_revoked_key_and_a_certificate_authority_vouch_for_nobody():
    lines = [
        "box ssh-ed25519 AAAA",
        "box ssh-rsa BBBB",
        "@revoked * ssh-ed25519 AAAA",
        "@cert-authority * k C",
    ]
    assert known_hosts.keys(["# box k A", "", "torn", *lines], "box") == [("ssh-rsa", "BBBB")]


@pytest.mark.parametrize(
    ("made", "predicted", "must_hold", "foreign", "result"),
    [
        (b"a  b\n", b"a b\n", (), False, None),
        (b"a\tb\n", b"a b\n", ("a b",), False, None),
        (b"\tlinux /vmlinuz ro single \n", b"\tlinux /vmlinuz ro single\n", ("ro single",), False, None),
        (b"a \\ \n", b"a \\\n", (), False, Result.FOREIGN),
        (b"a b", b"a b\n", (), False, Result.FOREIGN),
        (b"ab\n", b"a b\n", (), False, Result.FOREIGN),
        (b"a b\nc\n", b"a b\n", (), True, None),
        (b"a c\n", b"a b\n", ("a b",), True, Result.FAILED),
        (b"a c\n", b"a b\n", ("a b",), False, Result.FAILED),
        (b"a b\n", b"a b\n", ("not there",), False, Result.FAILED),
        (b"\xff\0\n", b"\xff\0\n", (), False, None),
    ],
)
def test_a_generated_file_is_judged(made, predicted, must_hold, foreign, result):
    judged = generated.judge(Generate("/x", (), predicted, must_hold, foreign=foreign), made)
    assert (judged.result if judged else None) is result


def test_commands_are_merged_and_other_reads_are_not():
    one, two = (
        Command(("getent", "group"), ("b",), timeout=5),
        Command(("getent", "group"), ("a",), timeout=9),
    )
    everything, file = Command(("getent", "group")), File("/x")
    merged = Command(("getent", "group"), ("a", "b"), timeout=9)
    assert read_script.merge([one, two, everything, file]) == {
        one: merged,
        two: merged,
        everything: everything,
        file: file,
    }


@pytest.mark.parametrize("address", ["grub", "vm.a/b", "vm...", ".", "..", "x.%2F", "vm.\u00e9 \n'"])
def test_an_address_is_one_file_name_and_comes_back(address):
    name = records.file_name(address)
    assert "/" not in name
    assert not name.startswith(".")
    assert records.unquote(name) == address


def test_without_a_home_there_is_no_configuration_of_ssh(tmp_path, monkeypatch):
    def nobody(*_):
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", "~nobody.of.that.name/config")
    assert ssh_config.load(ssh_config.files()) == ""
    monkeypatch.delenv("CXLSTATE_SSH_CONFIG")
    assert ssh_config.load(ssh_config.usual()[:1]) == ""


def test_a_circle_of_links_is_no_configuration_of_ssh(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh/config.d").mkdir(parents=True)
    (tmp_path / ".ssh/config.d/cxlstate").symlink_to("cxlstate")
    (tmp_path / ".ssh/config").write_text("Include config.d/*\nUser bob\n")
    assert "User bob" in ssh_config.load(ssh_config.usual()[:1])
