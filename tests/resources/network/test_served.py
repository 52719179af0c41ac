"""Whose dnsmasq a process is, told by its command line."""

from __future__ import annotations

import subprocess

import pytest

from cxlstate.resources.network.probe import served_by

LINE = "/usr/sbin/dnsmasq --conf-file=/var/lib/libvirt/dnsmasq/{}.conf --leasefile-ro"


@pytest.mark.parametrize("name", ["default", "lab.1", "a+b", "_x-y.z+0", "1..2", "++."])
def test_a_name_means_itself(name: str) -> None:
    """To us, and to pkill(1), which takes an extended regular expression of POSIX."""
    wanted = served_by(name)
    others = {
        name.replace(".", "x"),
        name.replace("+", "x"),
        name.replace("+", ""),
        f"{name}0",
        f"0{name}",
    } - {name}
    for one in (name, *sorted(others)):
        line = LINE.format(one)
        assert bool(wanted.search(line)) is (one == name)
        found = subprocess.run(["grep", "-Eq", "--", wanted.pattern], input=line, text=True, check=False)
        assert (found.returncode == 0) is (one == name)
