"""What is written and not in force: it waits for a restart, and is restarted where that was allowed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cxlstate.core.action import Risk
from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.consent import Consents, parse_consents
from cxlstate.engine.plan import Exit, Status
from cxlstate.formats import network_xml
from cxlstate.simulator.world import Guest, Process
from tests.assessing import answering
from tests.engine.fakes import addresses
from tests.laws.bench import Bench

VM = Address("vm", "a")
NOTHING = Consents()
HOST = {
    "packages": ["libvirt-daemon-system", "qemu-utils"],
    "services": {"libvirtd": {"enabled": True, "running": True}},
    "images": {"a": {"path": "/var/lib/libvirt/images/a.qcow2", "size": "1GiB"}},
}
OBEYS = {"disks": [{"target": "vda", "image": "image.a"}]}
"""A guest with a disk has a system in it, and so follows."""


def spec(bench, memory="1GiB", **words):
    vm = {"state": "running", "memory": memory, "vcpu": 1, "shutdown_timeout": 5, **words}
    return bench.spec({**HOST, "vms": {"a": vm}})


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    assert bench.apply(spec(bench, **OBEYS)).exit is Exit.IN_SYNC
    return bench


def ids(bench):
    return [process["pid"] for process in bench.machine()["running"]["processes"]]


def test_without_consent_it_is_written_and_waits(bench):
    before = ids(bench)
    applied = bench.apply(spec(bench, "2GiB", **OBEYS), NOTHING)
    assert applied.exit is Exit.PENDING
    assert applied.plan.at(VM).status is Status.PENDING_RESTART
    assert ids(bench) == before
    assert "2097152" in bench.path("etc/libvirt/qemu/a.xml").read_text()


def test_with_consent_it_is_restarted_once_and_is_in_force(bench):
    wish = spec(bench, "2GiB", **OBEYS)
    applied = bench.apply(wish, parse_consents(("restart-vm=bench/vm.a",)))
    assert applied.exit is Exit.IN_SYNC
    assert [line["does"] for line in bench.journal() if line["event"] == "begin"].count("shut down a") == 1
    journal = bench.journal()
    assert bench.apply(wish).exit is Exit.IN_SYNC
    assert bench.journal() == journal


def breaks_at_start(bench):
    """Somebody's edit: libvirt takes the definition, and finds at the start that the file is not there."""
    bench.edit("etc/libvirt/qemu/a.xml", "</devices>", LACKING + "</devices>")


LACKING = (
    "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/srv/gone.iso'/>"
    "<target dev='sdz' bus='sata'/><readonly/></disk>"
)


def test_a_start_that_fails_goes_back_to_the_definition_with_which_it_ran(bench):
    wish = spec(bench, "2GiB", **OBEYS)
    bench.apply(wish, NOTHING)
    breaks_at_start(bench)
    applied = bench.apply(wish, parse_consents(("restart-vm",)))
    assert applied.exit is Exit.ERROR
    (told,) = [one for one in applied.diagnostics if one.code.startswith("CXE")]
    assert told.code == "CXE203"
    assert "gone.iso" in told.found
    assert "taken back: shut down a (it runs again, with the definition that it ran with before" in told.hint
    assert len(ids(bench)) == 1, "it runs"
    xml = bench.path("etc/libvirt/qemu/a.xml").read_text()
    assert "1048576" in xml
    assert "gone.iso" not in xml
    assert "<alias" not in xml
    undone = [line for line in bench.journal() if line["does"] == "undo shut down a: virsh start a"]
    assert [(line["event"], line["effect"]) for line in undone] == [
        ("begin", "restore-domain"),
        ("done", "restore-domain"),
    ]


def test_where_it_does_not_start_with_either_it_is_told_that_it_is_off_and_the_edit_stays(bench):
    wish = spec(bench, "2GiB", **OBEYS)
    bench.apply(wish, NOTHING)
    bench.path("var/lib/libvirt/images/a.qcow2").unlink()
    edited = bench.path("etc/libvirt/qemu/a.xml").read_text()
    kinds = {**bench.kinds}
    image = kinds["image"].reconciler
    kinds["image"] = answering(image, lambda found: replace(found, changes=(), actions=()))
    bench.kinds = kinds
    applied = bench.apply(wish, parse_consents(("restart-vm",)))
    assert applied.exit is Exit.ERROR
    assert [d.code for d in applied.diagnostics] == ["CXE203", "CXE212"]
    assert applied.diagnostics[1].hint == "on bench: virsh start a"
    assert ids(bench) == []
    assert bench.path("etc/libvirt/qemu/a.xml").read_text() == edited


def test_what_waited_is_restarted_later(bench):
    wish = spec(bench, "2GiB", **OBEYS)
    bench.apply(wish, NOTHING)
    assert bench.apply(wish, parse_consents(("restart-vm",))).exit is Exit.IN_SYNC


@pytest.mark.parametrize("allowed", ["restart-vm=bench/vm.b", "restart-vm=other", "power-off-vm"])
def test_another_consent_is_none(bench, allowed):
    assert bench.apply(spec(bench, "2GiB", **OBEYS), parse_consents((allowed,))).exit is Exit.PENDING


def deafen(bench):
    with bench.world() as world:
        world.guests["a"] = Guest(obeys=False)


def test_a_guest_that_does_not_follow_runs_on_and_is_told(bench):
    deafen(bench)
    before = ids(bench)
    applied = bench.apply(spec(bench, "2GiB", **OBEYS), parse_consents(("restart-vm",)))
    assert applied.exit is Exit.REFUSED
    assert applied.refused == {ScopedAddress("bench", VM): (Risk.POWER_OFF_VM,)}
    assert [d.code for d in applied.diagnostics] == ["CXE207"]
    assert ids(bench) == before
    assert applied.plan.at(VM).status is Status.PENDING_RESTART


def test_its_power_is_cut_only_where_that_was_allowed_too(bench):
    deafen(bench)
    wish = spec(bench, "2GiB", **OBEYS)
    assert bench.apply(wish, parse_consents(("restart-vm,power-off-vm=bench/vm.b",))).exit is Exit.REFUSED
    assert bench.apply(wish, parse_consents(("restart-vm,power-off-vm=bench/vm.a",))).exit is Exit.IN_SYNC


def test_it_is_not_restarted_while_what_it_needs_is_not_in_force(bench):
    """The image is to be larger than can be: in error, and the VM that has it is left alone."""
    words = {**HOST, "images": {"a": {"path": "/var/lib/libvirt/images/a.qcow2", "size": "1MiB"}}}
    vm = {"state": "running", "memory": "2GiB", "vcpu": 1, **OBEYS}
    bench.apply(spec(bench, "2GiB", **OBEYS), NOTHING)
    before = ids(bench)
    applied = bench.apply(bench.spec({**words, "vms": {"a": vm}}), parse_consents(("restart-vm",)))
    assert applied.exit is Exit.ERROR
    assert addresses(applied.plan.at(VM).waits_for) == (Address("image", "a"),)
    assert ids(bench) == before


def test_a_network_whose_start_was_cut_off_is_started(bench):
    """libvirt's daemon died then: the bridge is there, and it knows nothing of it."""
    wish = bench.spec({**HOST, "networks": {"default": {"active": True}}})
    assert bench.apply(wish).exit is Exit.IN_SYNC
    with bench.world() as world:
        gone = world.running.networks.pop("default")
        world.running.strays[gone.bridge] = network_xml.parse(gone.xml).mac
    assert bench.apply(wish, NOTHING).exit is Exit.IN_SYNC
    assert bench.machine()["running"]["networks"]["default"]["bridge"] == "virbr0"


def test_a_network_whose_server_has_outlived_the_daemon_is_started(bench):
    wish = bench.spec({**HOST, "networks": {"default": {"active": True}}})
    assert bench.apply(wish).exit is Exit.IN_SYNC
    command = "/usr/sbin/dnsmasq --conf-file=/var/lib/libvirt/dnsmasq/default.conf --leasefile-ro"
    another = command.replace("default", "defaultXconf")
    with bench.world() as world:
        del world.running.networks["default"]
        world.running.processes += [Process(4713, command=command), Process(4714, command=another)]
    assert bench.apply(wish, NOTHING).exit is Exit.IN_SYNC
    left = [one["command"] for one in bench.machine()["running"]["processes"]]
    assert another in left
    assert command not in left


def on_the_device(bench, align):
    vm = {
        "state": "running",
        "memory": "1GiB",
        "vcpu": 1,
        "cpu": {"numa": [{"cpus": 0, "memory": "1GiB"}]},
        "nvdimm": [{"dax": "dax.cxl0", "size": "90GiB", "alignsize": "1GiB", "node": 0}],
        **OBEYS,
    }
    words = {
        **HOST,
        "modules": {"kmem": "absent"},
        "dax": {"cxl0": {"range": {"start": "322GiB", "size": "96GiB"}, "align": align}},
    }
    return bench.spec({**words, "vms": {"a": vm}})


@pytest.mark.parametrize("allowed", ["restart-vm", "restart-vm,power-off-vm=bench/vm.a"])
def test_a_deaf_guest_keeps_its_device_unless_its_power_may_be_cut(bench, allowed):
    cuts = "power-off-vm" in allowed
    assert bench.apply(on_the_device(bench, "2MiB")).exit is Exit.IN_SYNC
    deafen(bench)
    before = ids(bench)
    applied = bench.apply(on_the_device(bench, "1GiB"), parse_consents((allowed,)))
    assert applied.exit is (Exit.IN_SYNC if cuts else Exit.REFUSED), applied.diagnostics
    assert [d.code for d in applied.diagnostics] == ([] if cuts else ["CXE207"])
    (device,) = bench.machine()["running"]["dax"].values()
    assert (device["driver"], device["align"]) == ("device_dax", (1 << 30) if cuts else (2 << 20))
    assert len(ids(bench)) == 1
    assert cuts or ids(bench) == before
