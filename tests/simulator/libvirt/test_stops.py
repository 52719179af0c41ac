"""Boots, stops in the middle, and what is kept of what was."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress

import pytest

from cxlstate.core.action import Run
from cxlstate.core.domain import Domain
from cxlstate.core.libvirt import (
    AutostartDomain,
    AutostartNetwork,
    DefineDomain,
    EditDomain,
    PinDomain,
    PinOf,
    StartDomain,
    StopDomain,
    StopNetwork,
    Update,
)
from cxlstate.core.read import File
from cxlstate.machine.outcome import Result
from cxlstate.resources.dax import verbs as dax_verbs
from cxlstate.simulator.faults import Faults, PowerCut
from cxlstate.simulator.reader import SimReader
from cxlstate.simulator.writer import power_cut
from tests.simulator.libvirt.machine import (
    BARE,
    DEVICE,
    MAC,
    MIB,
    ONE,
    START,
    THREE,
    TWO,
    XML,
    Machine,
    digest,
    hosts,
    update,
)


def test_what_starts_by_itself_is_there_after_a_boot_and_the_rest_is_not(running):
    running.done(AutostartNetwork("default", on=True), DefineDomain("bare", BARE), StartDomain("bare"))
    bare_only = XML.replace("/dev/cxlstate/cxl0", "/dev/cxlstate/gone").replace("<name>vm<", "<name>third<")
    running.done(DefineDomain("third", bare_only), AutostartDomain("third", on=True))
    power_cut(running.directory)
    assert running.facts(running.network())["active"] == "yes"
    assert [running.state(name) for name in ("vm", "bare", "third")] == ["shut-off"] * 3
    running.done(AutostartDomain("bare", on=True))
    power_cut(running.directory)
    assert [running.state(name) for name in ("vm", "bare", "third")] == ["shut-off", "running", "shut-off"]
    running.done(Run(("systemctl", "disable", "libvirtd.service")))
    power_cut(running.directory)
    assert running.facts(running.network())["active"] == "no"
    assert running.state("bare") == "shut-off"


def test_the_boot_script_sees_what_a_domain_holds(running):
    unbind = dax_verbs.unbind("dax0.0", DEVICE)
    assert "dax0.0 is held by process" in running.refused(unbind)
    running.done(StopDomain("vm"), unbind)
    assert running.state() == "shut-off"
    assert "unable to open /dev/cxlstate/cxl0" in running.refused(StartDomain("vm"))
    running.done(dax_verbs.bind("dax0.0", DEVICE, 2 * MIB), StartDomain("vm"))
    assert running.state() == "running"
    assert running.network()["ports"] == f"{MAC} vm\n"


EFFECTS = {
    "define": (lambda _: DefineDomain("bare", BARE), lambda m: m.domain("bare") != {}),
    "edit": (
        lambda m: EditDomain("vm", Domain(vcpupin=((1, frozenset({3})),)), m.digest()),
        lambda m: "vcpu='1'" in m.domain()["inactive.xml"],
    ),
    "stop": (lambda _: StopDomain("vm"), lambda m: m.state() == "shut-off"),
    "autostart": (
        lambda _: AutostartDomain("vm", on=True),
        lambda m: m.facts(m.domain())["autostart"] == "yes",
    ),
    "pin": (
        lambda _: PinDomain("vm", PinOf.VCPU, frozenset({5}), 1),
        lambda m: m.domain()["affinity"].endswith("1 5\n"),
    ),
    "stop network": (lambda _: StopNetwork("default"), lambda m: "active.xml" not in m.network()),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_that_was_stopped_behind_any_step_can_be_done_again(running, tmp_path, name):
    effect, done = EFFECTS[name]
    whole = copied(running, tmp_path / "whole")
    faults = Faults()
    whole.tell(effect(whole), faults=faults)
    assert len(faults.steps) > 2
    for number in range(1, len(faults.steps)):
        one = copied(running, tmp_path / f"stopped{number}")
        with suppress(PowerCut):
            one.tell(effect(one), faults=Faults(stop_at=number))
        again = one.tell(effect(one))[0].result
        assert again is (Result.STALE if name == "define" and number > 1 else Result.DONE)
        assert done(one), faults.steps[number - 1]
        assert list(one.root.rglob(".*.cxlstate")) == []


def test_between_the_two_definitions_of_a_network_a_stop_leaves_one_of_them_changed(reserving):
    effect, faults = update(Update.DELETE, START[0]), Faults(stop_at=2)
    with pytest.raises(PowerCut):
        reserving.tell(effect, faults=faults)
    assert faults.steps[1] == "network updated, on the disk: default"
    answer = reserving.network()
    assert hosts(answer["inactive.xml"]) == [TWO, THREE]
    assert hosts(answer["active.xml"]) == [ONE, TWO, THREE]


def copied(machine, to):
    shutil.copytree(machine.directory, to, symlinks=True)
    return Machine(to)


def test_what_was_before_is_in_the_store_without_secrets_and_the_journal_names_it(running):
    before, network = running.domain()["inactive.xml"], running.network()["inactive.xml"]
    running.done(
        EditDomain("vm", Domain(emulatorpin=frozenset({1})), running.digest()),
        update(Update.ADD_LAST, START[0]),
        StopDomain("vm"),
    )
    kept = running.root / "var/lib/cxlstate"
    lines = [json.loads(line) for line in (kept / "journal.jsonl").read_text().splitlines()]
    ended = [one for one in lines if "before" in one][-3:]
    assert [(one["event"], one["effect"], one["name"], one["before"]) for one in ended] == [
        ("done", "edit-domain", "vm", digest(before)),
        ("done", "update-network", "default", digest(network)),
        ("done", "stop-domain", "vm", ""),
    ]
    assert (kept / "blobs" / digest(before)).read_text() == before
    everything = b"".join(path.read_bytes() for path in kept.rglob("*") if path.is_file())
    assert b"secret" not in everything


def test_the_processors_of_the_default_host_are_interleaved_between_its_nodes(machine):
    paths = [f"/sys/devices/system/{name}" for name in ("cpu/online", "node/online", "node/node1/cpulist")]
    answers = SimReader(machine.directory, "host").read([File(path) for path in paths])
    cpus, nodes, odd = (answers.text(File(path)) for path in paths)
    assert (cpus, nodes) == ("0-47\n", "0-1\n")
    assert odd.startswith("1,3,5,")
