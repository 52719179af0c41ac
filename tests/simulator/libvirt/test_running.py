"""Domains that run: what they need, their active definitions, and what is changed live."""

from __future__ import annotations

import re

import pytest

from cxlstate.core.domain import Domain
from cxlstate.core.libvirt import (
    AutostartDomain,
    DefineDomain,
    EditDomain,
    LinkInterface,
    PinDomain,
    PinOf,
    StartDomain,
    StartNetwork,
    StopDomain,
    TuneNuma,
    UndefineDomain,
)
from cxlstate.core.read import LibvirtAddresses, Names
from cxlstate.formats import domain_xml
from cxlstate.machine.outcome import Result
from cxlstate.resources.dax import verbs as dax_verbs
from cxlstate.simulator.writer import power_cut
from tests.simulator.libvirt.machine import BARE, DEVICE, DISK, MAC, XML


def test_a_running_domain_has_an_active_definition_of_its_own(running):
    answer = running.domain()
    active = answer["active.xml"]
    for part in (
        "<domain type='kvm' id='1'>",
        "<cell id='0' cpus='0-1' memory='132096' unit='KiB'/>",
        "<size unit='KiB'>524288</size>",
        f"<memory unit='KiB'>{132096 + 524288}</memory>",
        "<currentMemory unit='KiB'>132096</currentMemory>",
        "bridge='virbr0'/>",
        "<target dev='vnet0'/>",
        "<alias name='nvdimm0'/>",
        "<address type='dimm' slot='0' base='0x100000000'/>",
    ):
        assert part in active
    assert "passwd" not in active
    assert answer["affinity"] == "0 0-1,3\n1 0-47\n"
    assert running.facts(answer) == {
        "state": "running",
        "id": "1",
        "persistent": "yes",
        "autostart": "no",
        "managed-save": "no",
        "snapshots": "0",
        "checkpoints": "0",
    }
    assert "base=" not in answer["inactive.xml"]
    running.done(StopDomain("vm"), StartDomain("vm"))
    assert "id='1'" in running.domain()["active.xml"]


def test_a_domain_that_is_off_has_no_active_part(machine):
    machine.done(DefineDomain("vm", XML))
    answer = machine.domain()
    assert set(answer) == {"inactive.xml", "facts"}
    assert (machine.facts(answer)["state"], machine.facts(answer)["id"]) == ("shut-off", "-")


def test_started_and_stopped_twice_nothing_happens(running):
    before = (running.directory / "machine.json").read_bytes()
    running.done(StartDomain("vm", ("/dev/cxlstate/nowhere",)))
    assert (running.directory / "machine.json").read_bytes() == before
    running.done(StopDomain("vm"), StopDomain("vm"))
    assert running.state() == "shut-off"


NOT_STARTED = {
    "network": (
        "<source network='default'/>",
        "<source network='nix'/>",
        "Network not found: no network with matching name 'nix'",
    ),
    "disk": (DISK, "/x.qcow2", "Cannot access storage file '/x.qcow2'"),
    "node": ("nodeset='0'", "nodeset='7'", "unsupported configuration: NUMA node 7 is unavailable"),
    "CPU": ("0-3,^2", "99", "cpuset.cpus': Numerical result out of range"),
    "path": (
        "/dev/cxlstate/cxl0",
        "/dev/cxlstate/x",
        "Path '/dev/cxlstate/x' is not accessible: No such file or directory",
    ),
    "kernel": (
        "<os>",
        "<os><kernel>/nokernel</kernel>",
        "unable to stat: /nokernel: No such file or directory",
    ),
}


@pytest.mark.parametrize("case", NOT_STARTED)
def test_what_is_missing_keeps_a_domain_from_starting(machine, case):
    old, new, why = NOT_STARTED[case]
    xml = XML.replace(old, new).replace("unit='MiB'>1024<", "unit='GiB'>200<")
    machine.done(StartNetwork("default"), DefineDomain("vm", xml))
    assert why in machine.refused(StartDomain("vm"))
    assert machine.state() == "shut-off"
    assert machine.network()["ports"] == ""


def test_a_network_that_is_off_and_a_device_that_is_not_bound_keep_a_domain_from_starting(machine):
    machine.done(DefineDomain("vm", XML))
    said = machine.refused(StartDomain("vm"))
    assert said == "Requested operation is not valid: network 'default' is not active"
    machine.done(StartNetwork("default"), dax_verbs.unbind("dax0.0", DEVICE))
    said = machine.refused(StartDomain("vm"))
    assert said == "unable to open /dev/cxlstate/cxl0: No such device or address"


def test_devices_are_looked_at_before_a_start(machine):
    machine.done(StartNetwork("default"), DefineDomain("vm", XML))
    (machine.root / "plain").write_text("")
    said = machine.refused(StartDomain("vm", ("/dev/cxlstate/x",)))
    assert said == "/dev/cxlstate/x leads nowhere: there is no such device"
    said = machine.refused(StartDomain("vm", ("/plain",)))
    assert said == "/plain leads to /plain, which is no character device"
    machine.done(StartDomain("vm", ("/dev/cxlstate/cxl0", "/dev/dax0.0")))


def test_a_guest_that_obeys_is_off_and_one_that_does_not_goes_on_until_it_is_powered_off(running):
    running.done(StopDomain("vm"))
    assert running.state() == "shut-off"
    running.done(StartDomain("vm"))
    running.edit_json(lambda world: world["guests"].update(vm={"obeys": False}))
    (outcome,) = running.tell(StopDomain("vm", timeout=7))
    assert (outcome.result, outcome.status) == (Result.REFUSED, 1)
    assert outcome.output == "the guest does not react to its power button: after 7 s it is running"
    assert running.state() == "running"
    running.done(StopDomain("vm", power_off=True))
    assert running.state() == "shut-off"


def test_a_guest_without_a_system_does_not_obey_and_asks_for_no_address(machine):
    machine.done(StartNetwork("default"), DefineDomain("bare", BARE), StartDomain("bare"))
    assert machine.tell(StopDomain("bare"))[0].result is Result.REFUSED
    plug = f"<interface type='network'><mac address='{MAC}'/><source network='default'/></interface>"
    xml = re.sub(r"<disk.*?</disk>", "", XML.replace("<name>vm<", "<name>other<"), flags=re.DOTALL)
    assert plug in xml.replace(MAC.upper(), MAC)
    machine.done(DefineDomain("other", xml), StartDomain("other"))
    assert machine.network()["ports"] == f"{MAC} other\n"
    assert machine.ask(LibvirtAddresses("other")) == ""


def test_a_transient_domain_is_not_stopped_nor_changed_for_good(running):
    running.file().unlink()
    facts = running.facts(running.domain())
    assert (facts["state"], facts["persistent"]) == ("running", "no")
    assert "inactive.xml" not in running.domain()
    assert running.refused(StopDomain("vm")) == "it is transient: once off, it would be gone"
    said = "Requested operation is not valid: cannot set autostart for transient domain"
    assert running.refused(AutostartDomain("vm", on=True)) == said
    power_cut(running.directory)
    assert running.domain() == {}


def test_a_domain_whose_process_was_killed_is_off(running):
    running.edit_json(lambda world: world["running"]["processes"].clear())
    assert running.state() == "shut-off"
    running.done(StartDomain("vm"))
    assert running.state() == "running"


def test_what_would_be_lost_keeps_a_domain_defined(running):
    said = running.refused(UndefineDomain("vm"))
    assert said == "it runs: undefined, it would be gone for good as soon as it is off"
    running.done(StopDomain("vm"), AutostartDomain("vm", on=True))
    state = running.root / "var/lib/libvirt/qemu"
    for path in ("save/vm.save", "snapshot/vm/s1.xml", "checkpoint/vm/c1.xml"):
        (state / path).parent.mkdir(parents=True, exist_ok=True)
        (state / path).write_text("")
    facts = running.facts(running.domain())
    assert (facts["managed-save"], facts["snapshots"], facts["checkpoints"]) == ("yes", "1", "1")
    said = running.refused(UndefineDomain("vm"))
    assert said == "it has a managed save image and snapshots and checkpoints, which would be lost with it"
    running.done(StartDomain("vm"))
    assert running.facts(running.domain())["managed-save"] == "no", "it was used up"
    running.done(StopDomain("vm"))
    for path in ("snapshot/vm/s1.xml", "checkpoint/vm/c1.xml"):
        (state / path).unlink()
    running.done(UndefineDomain("vm"))
    assert running.domain() == {}
    assert not (running.root / "etc/libvirt/qemu/autostart/vm.xml").is_symlink()


def test_pins_of_a_running_domain(running):
    before = running.domain()["inactive.xml"]
    running.done(
        PinDomain("vm", PinOf.VCPU, frozenset({1, 3}), 1),
        PinDomain("vm", PinOf.EMULATOR, frozenset({5})),
        PinDomain("vm", PinOf.IOTHREAD, frozenset({7}), 1),
    )
    answer = running.domain()
    read = domain_xml.read(answer["active.xml"])
    assert read.vcpupin == ((0, frozenset({0, 1, 3})), (1, frozenset({1, 3})))
    assert (read.emulatorpin, read.iothreadpin) == (frozenset({5}), ((1, frozenset({7})),))
    assert answer["affinity"] == "0 0-1,3\n1 1,3\n"
    assert answer["inactive.xml"] == before
    assert "99 is not there" in running.refused(PinDomain("vm", PinOf.VCPU, frozenset({1, 99})))
    said = running.refused(PinDomain("vm", PinOf.VCPU, frozenset({1}), 2))
    assert said == "invalid argument: vcpu 2 is out of range of live cpu count 2"
    said = running.refused(PinDomain("vm", PinOf.IOTHREAD, frozenset({1}), 5))
    assert said == "invalid argument: iothread 5 not found"


def test_where_memory_comes_from_is_changed_in_one_mode_alone(running):
    said = "change of nodeset for running domain requires restrictive numa mode"
    assert said in running.refused(TuneNuma("vm", frozenset({1})))
    running.done(StopDomain("vm"))
    running.done(EditDomain("vm", Domain(numa_mode="restrictive"), running.digest()), StartDomain("vm"))
    running.done(TuneNuma("vm", frozenset({1})))
    assert domain_xml.read(running.domain()["active.xml"]).numa_nodeset == {1}
    assert "NUMA node 9 is unavailable" in running.refused(TuneNuma("vm", frozenset({9})))


def test_a_cable_is_pulled_and_plugged_in(running):
    running.done(LinkInterface("vm", MAC, up=False))
    assert domain_xml.read(running.domain()["active.xml"]).interfaces[0].link is False
    assert domain_xml.read(running.domain()["inactive.xml"]).interfaces[0].link is True
    assert running.ask(LibvirtAddresses("vm")) == ""
    running.done(LinkInterface("vm", MAC, up=True))
    assert running.ask(LibvirtAddresses("vm")) == f"{MAC} 192.168.122.2/24\n"
    other = "52:54:00:00:00:09"
    said = running.refused(LinkInterface("vm", other, up=True))
    assert said == f"none of its interfaces has the address {other}"


def test_live_changes_are_for_domains_that_run(machine):
    machine.done(DefineDomain("vm", XML))
    for effect in (
        PinDomain("vm", PinOf.VCPU, frozenset({1})),
        TuneNuma("vm", frozenset({1})),
        LinkInterface("vm", MAC, up=False),
    ):
        assert machine.refused(effect) == "Requested operation is not valid: domain is not running"


def test_libvirt_keeps_a_file_of_each_guest_that_runs(running):
    status = Names("/run/libvirt/qemu/*.xml")
    assert list(running.ask(status)) == ["/run/libvirt/qemu/vm.xml"]
    running.done(StopDomain("vm", timeout=0, power_off=True))
    assert running.ask(status) == {}
