"""Which VMs run on a host, as far as its files tell."""

import re
from pathlib import Path

import pytest

from cxlstate.core.answers import Answer, Answers
from cxlstate.engine.running import AUTOSTART, RUNNING, running, running_reads
from cxlstate.resources import kinds

ROOT = Path(__file__).parents[2]
DENIED = Answer(1, b"", "/etc/libvirt/qemu/autostart: Permission denied")


def told(names, links):
    paths = {f"/run/libvirt/qemu/{name}.xml": Answer(0) for name in names}
    folder = "/etc/libvirt/qemu/autostart"
    autostart = (
        Answer(0, files={f"{folder}/{name}": Answer(0, to.encode()) for name, to in links.items()})
        if isinstance(links, dict)
        else links
    )
    return running(Answers({RUNNING: Answer(0, files=paths), AUTOSTART: autostart}))


@pytest.mark.parametrize(
    ("names", "links", "found"),
    [
        ((), {}, []),
        ((), {"a.xml": "/etc/libvirt/qemu/a.xml"}, []),
        (("a",), {"a.xml": "/etc/libvirt/qemu/a.xml"}, [("a", True)]),
        (("a",), {"a.xml": "../a.xml"}, [("a", True)]),
        (("a",), {"a.xml.once": "/etc/libvirt/qemu/a.xml"}, [("a", True)]),
        (("a",), {"a.xml": "/somewhere/a.xml"}, [("a", False)]),
        (("a",), {"b.xml": "/etc/libvirt/qemu/b.xml"}, [("a", False)]),
        (("b", "a"), {"a.xml": "/etc/libvirt/qemu/a.xml"}, [("a", True), ("b", False)]),
        (("a", "b c"), {}, [("a", False), ("b c", False)]),
        (("a", "b"), DENIED, [("a", None), ("b", None)]),
    ],
)
def test_who_runs_is_told_by_name_with_whether_it_starts_with_the_host(names, links, found):
    running = told(names, links)
    assert [(vm.name, vm.autostart) for vm in running.vms] == found
    assert running.unknown is None


def test_what_cannot_be_read_is_unknown_and_not_no_vm():
    denied = Answer(1, b"", "/run/libvirt/qemu: Permission denied")
    found = running(Answers({RUNNING: denied, AUTOSTART: Answer(0)}))
    assert "Permission denied" in found.unknown
    assert found.vms == ()


def test_kinds_that_may_reboot_say_so_and_no_others():
    """By their source: who makes the effect `Reboot`."""
    for kind in kinds().values():
        folder = ROOT / "cxlstate/resources" / kind.kind
        makes = any(re.search(r"\bReboot\(\)", one.read_text()) for one in folder.glob("*.py"))
        assert kind.reboots is makes, kind.kind


def test_what_runs_is_asked_in_two_reads():
    assert set(running_reads()) == {RUNNING, AUTOSTART}
