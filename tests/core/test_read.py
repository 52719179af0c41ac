"""What can be asked is closed: every word of a command, not only the first ones."""

from __future__ import annotations

import pytest

from cxlstate.core.read import Command


@pytest.mark.parametrize(
    "argv",
    [
        ("dmesg", "--clear"),
        ("dmesg", "-C"),
        ("dmesg", "--console-off"),
        ("systemctl", "show", "--property=Id", "start"),
        ("systemctl", "start"),
        ("systemctl",),
        ("dpkg-query", "--show", "--admindir=/x"),
        ("getent", "group", "--service=x"),
        ("qemu-img", "info", "--output=json", "nbd://host/x"),
        ("qemu-img", "info", "--output=json", "json:{}"),
        ("qemu-img", "info", "--output=json", "--image-opts"),
        ("qemu-img", "create"),
        ("stat", "--format=%n", "-f"),
        ("pgrep", "--list-full", "--full", "--signal"),
        ("pkill",),
        ("uname", "x"),
        ("loginctl", "list-sessions", "--host=x"),
        (),
    ],
)
def test_what_could_change_something_cannot_be_made(argv):
    with pytest.raises(ValueError, match="not in the list of read-only commands"):
        Command(argv)


def test_no_operand_is_an_option():
    with pytest.raises(ValueError, match="taken as an option"):
        Command(("getent", "group"), ("--service=x",))
