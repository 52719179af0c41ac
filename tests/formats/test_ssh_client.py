"""Blocks and sections, as texts. What ssh makes of them: tests/machine/test_ssh_client.py."""

from __future__ import annotations

import pytest

from cxlstate.core.guest import HostKey
from cxlstate.formats.ssh_client import (
    SshHost,
    blocks_of,
    distinct,
    is_name,
    merged,
    names_in,
    quoted,
    section,
)

KEY = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
HOSTILE = (
    *("", "*", "!vm", "?", "a*", "a b", "a\tb", "a\nb", "a\nProxyCommand x", "a\x00", "%h", "a%b", "a,b"),
    *(
        "#a",
        "-oProxyCommand=x",
        "--",
        ".a",
        "a@b",
        "a:b",
        "a/b",
        '"a"',
        "'a'",
        "a\\",
        "${HOME}",
        "$(x)",
        "`x`",
    ),
    "ä",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_more_than_a_name_is_none(name):
    assert not is_name(name)


@pytest.mark.parametrize("name", ["cxl_vmx", "vm-1", "a.b", "_", "0", "A"])
def test_a_name(name):
    assert is_name(name)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("/home/a/.ssh/x", "/home/a/.ssh/x"),
        ("fe80::1%eth0", "fe80::1%%eth0"),
        ("/a b", '"/a b"'),
        ('/a"b\\c', '"/a\\"b\\\\c"'),
        ("/a#b", '"/a#b"'),
        ("/a$b", '"/a$b"'),
    ],
)
def test_an_argument_is_written_so_that_it_means_itself(text, written):
    assert quoted(text) == written


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\x00b", "${HOME}", "a\u2028b"])
def test_what_cannot_be_written_is_not(text):
    with pytest.raises(ValueError, match=r"."):
        quoted(text)


def host(machine, name=None):
    return SshHost(machine, name or machine.rpartition("/")[2])


def test_names_are_nobody_elses_and_hosts_keep_theirs():
    several = [host("a"), host("a/vm"), host("a/b"), host("b"), host("b/vm"), host("b/other")]
    assert [one.name for one in distinct(several, {"other"})] == ["a", "vm", "b.a", "b", "vm.b", "other.b"]


def test_a_guest_without_keys_trusts_nobody():
    words = dict(SshHost("a/vm", "vm", keys=()).words(None))
    assert words == {
        "HostKeyAlias": "a/vm",
        "UserKnownHostsFile": "/dev/null",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
    }
    assert dict(SshHost("a/vm", "vm", keys=(KEY,)).words("/k"))["UserKnownHostsFile"] == "/k"


def test_sections_take_each_others_place():
    one = merged("", {"b": section("b", ["Host b\n", "Host vm\n"])}, "ours\nand more")
    assert one == "# ours\n# and more\n\n# cxlstate host b\nHost b\n\nHost vm\n"
    two = merged(one, {"a": section("a", ["Host a\n"])}, "ours\nand more")
    assert two == "# ours\n# and more\n\n# cxlstate host a\nHost a\n\n# cxlstate host b\nHost b\n\nHost vm\n"
    assert merged(two, {"b": section("b", ["Host b\n", "Host vm\n"])}, "ours\nand more") == two
    assert merged(two, {"b": section("b", ["Host c\n"])}, "ours\nand more").endswith("host b\nHost c\n")
    assert names_in(two, ()) == {"a", "b", "vm"}
    assert names_in(two, {"b"}) == {"a"}


def test_the_block_of_a_guest_is_found_by_its_machine():
    hosts = SshHost("a", "a"), SshHost("a/vm", "vm", keys=(KEY,)), SshHost("a/b", "b.a", keys=())
    text = merged("", {"a": section("a", [one.text("/k") for one in hosts])}, "ours")
    assert blocks_of(text, {"a/vm", "a/b"}) == [one.text("/k") for one in hosts[1:]]
    assert blocks_of(text, {"a", "b"}) == []
