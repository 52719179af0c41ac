"""Which VMs run on a host, as far as its files tell."""

import re
from pathlib import Path

import pytest

from cxlstate.core.read import Answer, Answers
from cxlstate.engine.running import AUTOSTART, RUNNING, Running, RunningVm, running, running_reads
from cxlstate.render.stops import stops_json, stops_text
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
    ("names", "links", "text"),
    [
        ((), {}, ""),
        ((), {"a.xml": "/etc/libvirt/qemu/a.xml"}, ""),
        (("a",), {"a.xml": "/etc/libvirt/qemu/a.xml"}, "stops VM a"),
        (("a",), {"a.xml": "../a.xml"}, "stops VM a"),
        (("a",), {"a.xml.once": "/etc/libvirt/qemu/a.xml"}, "stops VM a"),
        (("a",), {"a.xml": "/somewhere/a.xml"}, "stops VM a (autostart off: a)"),
        (("a",), {"b.xml": "/etc/libvirt/qemu/b.xml"}, "stops VM a (autostart off: a)"),
        (("b", "a"), {"a.xml": "/etc/libvirt/qemu/a.xml"}, "stops VMs a, b (autostart off: b)"),
        (("a", "b c"), {}, "stops VMs a, b c (autostart off: a, b c)"),
        (("a", "b"), DENIED, "stops VMs a, b (autostart unknown: a, b)"),
        (("a\n  ✓ all is well",), {}, r"stops VM a\n  ✓ all is well (autostart off: a\n  ✓ all is well)"),
    ],
)
def test_what_a_reboot_stops_is_named(names, links, text):
    assert stops_text(told(names, links)) == text


def test_what_cannot_be_read_is_unknown_and_not_no_vm():
    denied = Answer(1, b"", "/run/libvirt/qemu: Permission denied")
    found = running(Answers({RUNNING: denied, AUTOSTART: Answer(0)}))
    assert found.unknown is not None
    assert stops_text(found).startswith("which VMs it stops is unknown: ")
    assert "Permission denied" in stops_text(found)
    assert stops_json(found) is None
    assert stops_json(Running((RunningVm("a", None),))) == [{"vm": "a", "autostart": None}]


def test_kinds_that_may_reboot_say_so_and_no_others():
    """By their source: who makes the effect `Reboot`."""
    for kind in kinds().values():
        folder = ROOT / "cxlstate/resources" / kind.kind
        makes = any(re.search(r"\bReboot\(\)", one.read_text()) for one in folder.glob("*.py"))
        assert kind.reboots is makes, kind.kind


def test_what_runs_is_asked_in_two_reads():
    assert set(running_reads()) == {RUNNING, AUTOSTART}
