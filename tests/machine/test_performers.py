"""Who performs what: the tables are whole, and what is missing is told by a look at them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cxlstate.core.libvirt import StartDomain, StopNetwork
from cxlstate.machine.lacking import lacks
from cxlstate.machine.performing import find_performer
from cxlstate.machine.posix.performers import POSIX
from cxlstate.simulator.writer import SimWriter
from tests.core.test_effects import EVERY, Login

TYPES = [type(effect) for effect in EVERY]


def test_every_effect_has_a_performer_on_every_machine(writer, tmp_path):
    with SimWriter(tmp_path / "sim", "m") as simulated:
        for machine in (writer, simulated):
            assert [one for one in TYPES if machine.lacks(one)] == []
            assert machine.lacks(Login).code == "CXE900"


def test_nobody_is_found_for_what_is_in_no_table():
    assert find_performer(POSIX, Login) is None


def test_what_is_told_to_libvirt_needs_its_library_here():
    code = (
        "import sys\nsys.modules['libvirt'] = None\n"
        "from cxlstate.core.action import Run\nfrom cxlstate.core.libvirt import StopDomain\n"
        "from cxlstate.machine.local import LocalTransport\n"
        "from cxlstate.machine.posix.reader import PosixReader\n"
        "reader = PosixReader(LocalTransport(), 'here')\n"
        "print(reader.lacks(Run), reader.lacks(StopDomain).code)\n"
        "print([one for one in sys.modules if 'writ' in one and one.startswith('cxlstate')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None CXC501\n[]\n"


@pytest.mark.parametrize("effect", [StartDomain, StopNetwork])
def test_with_it_nothing_is_lacking(effect):
    pytest.importorskip("libvirt")
    assert lacks(effect) is None
