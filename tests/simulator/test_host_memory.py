"""Dax devices, MTRRs, guests and the boot unit of the simulated machine: what no kernel is asked about."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from cxlstate.core.action import Run, WriteFile
from cxlstate.core.libvirt import AutostartDomain, DefineDomain, StartDomain, StopDomain
from cxlstate.core.read import Attributes, File, Holders, Links, MapAndRead
from cxlstate.formats import dax, iomem, mtrr, restore
from cxlstate.formats.mtrr import Block
from cxlstate.machine.outcome import Entry, Result
from cxlstate.resources.dax import verbs as dax_verbs
from cxlstate.resources.mtrr import verbs as mtrr_verbs
from cxlstate.simulator.faults import Faults, PowerCut
from cxlstate.simulator.memory import RAM, Range
from cxlstate.simulator.reader import SimReader
from cxlstate.simulator.world import Online
from cxlstate.simulator.writer import SimWriter, power_cut
from cxlstate.simulator.zones import zoneinfo
from tests.fragments import step
from tests.laws.stops import stops

ENTRY = Entry("run", ("test",), "a test", "live")
GIB = 1 << 30
START, SIZE = 322 * GIB, 96 * GIB
SELECTOR = restore.selector([iomem.Range(START, START + SIZE)])
BLOCKS = mtrr.cover(START, START + SIZE, START, 512 * GIB)
LINKS = Links("/dev/cxlstate/*")
GUEST = """\
<domain type='kvm'>
  <name>cxl_vmx</name>
  <maxMemory slots='1' unit='GiB'>97</maxMemory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>/boot/vmlinuz-6.12.117+deb13-amd64</kernel>
  </os>
  <cpu><numa><cell id='0' cpus='0' memory='1' unit='GiB'/></numa></cpu>
  <devices>
    <memory model='nvdimm' access='shared'>
      <source><path>/dev/cxlstate/cxl0</path><alignsize unit='MiB'>2</alignsize></source>
      <target><size unit='GiB'>96</size><node>0</node></target>
    </memory>
  </devices>
</domain>
"""
STEPS = (
    *(mtrr_verbs.at_boot("cxl0", block, "uncachable") for block in BLOCKS),
    dax_verbs.at_boot("cxl0", SELECTOR, 2 << 20),
)


@pytest.fixture
def directory(tmp_path):
    """A machine whose device is free: kmem is kept out."""
    directory = tmp_path / "host"
    with SimWriter(directory, "host") as writer:
        writer.perform(WriteFile("/etc/modprobe.d/kmem.conf", b"blacklist kmem\n"), ENTRY)
    power_cut(directory)
    return directory


def edit(directory, change):
    path = directory / "machine.json"
    world = json.loads(path.read_text())
    change(world)
    path.write_text(json.dumps(world))


def do(directory, *effects, faults=None):
    """The outcomes, of a writer that is closed again."""
    writer = SimWriter(directory, "host", faults=faults)
    try:
        return [writer.perform(effect, ENTRY) for effect in effects]
    finally:
        writer.close()


def text(directory, path):
    return SimReader(directory, "host").read([File(path)]).text_or_none(File(path))


def files(directory, read):
    return SimReader(directory, "host").read([read]).files(read)


def with_unit(directory, *, steps=STEPS, script=None):
    outcomes = do(
        directory,
        WriteFile(restore.SCRIPT, script or restore.script(steps)),
        WriteFile(restore.UNIT_FILE, restore.unit()),
        Run(("systemctl", "daemon-reload")),
        Run(("systemctl", "enable"), (restore.UNIT,)),
    )
    assert {one.result for one in outcomes} == {Result.DONE}


def unit(directory):
    units = json.loads((directory / "machine.json").read_text())["running"]["units"]
    return units.get(restore.UNIT)


def record(directory):
    return dax.memory_types(text(directory, dax.PAT.path), START, START + SIZE)


def driver(directory):
    links = files(directory, dax.DRIVER)
    return {path.split("/")[5]: to.rpartition("/")[2] for path, to in links.items()}


ALL = (
    *(mtrr_verbs.add(block, "uncachable") for block in BLOCKS),
    dax_verbs.bind("dax0.0", SELECTOR, 4096),
    dax_verbs.link("cxl0", "dax0.0", SELECTOR),
)


def test_the_order_of_mtrr_and_binding_is_in_the_record(directory):
    do(directory, step("dax_bind", SELECTOR, "-"))
    assert record(directory) == ("write-back",)
    do(directory, *ALL[:-2])
    assert record(directory) == ("write-back",), "it was made when the device was bound"
    do(directory, step("dax_unbind", SELECTOR))
    assert record(directory) == ()
    do(directory, step("dax_bind", SELECTOR, "-"))
    assert record(directory) == ("uncached-minus",)


@pytest.mark.slow
def test_stopped_behind_any_step_the_same_steps_come_to_the_same_end(directory, tmp_path, every_crash):
    whole, faults = tmp_path / "whole", Faults()
    copy(directory, whole)
    do(whole, *ALL, faults=faults)
    told = {step.partition(":")[0] for step in faults.steps}
    assert {"kept", "told", "linked"} <= told
    for number in stops(faults.steps[:-1], every=every_crash):
        one = tmp_path / f"stopped{number}"
        copy(directory, one)
        with suppress(PowerCut):
            do(one, *ALL, faults=Faults(stop_at=number))
        assert {outcome.result for outcome in do(one, *ALL)} == {Result.DONE}, faults.steps[number - 1]
        assert running(one) == running(whole), faults.steps[number - 1]


def copy(directory, to):
    to.mkdir()
    for path in sorted(directory.rglob("*")):
        other = to / path.relative_to(directory)
        if path.is_dir():
            other.mkdir()
        else:
            other.write_bytes(path.read_bytes())


def running(directory):
    """What is in force, but not since when: a unit that is restarted has another time then."""
    now = json.loads((directory / "machine.json").read_text())["running"]
    return {name: value for name, value in now.items() if name != "since"}


def test_what_is_volatile_is_lost_and_the_unit_makes_it_again(directory):
    do(directory, *ALL)
    assert files(directory, LINKS) == {"/dev/cxlstate/cxl0": "../dax0.0"}
    power_cut(directory)
    assert files(directory, LINKS) == {}
    assert driver(directory) == {}
    assert len(mtrr.parse(text(directory, "/proc/mtrr"))) == 1
    assert text(directory, restore.BEFORE) is None
    with_unit(directory)
    power_cut(directory)
    assert unit(directory) == "active"
    assert files(directory, LINKS) == {"/dev/cxlstate/cxl0": "../dax0.0"}
    assert record(directory) == ("uncached-minus",)
    assert len(mtrr.parse(text(directory, restore.BEFORE))) == 1


def test_a_unit_without_its_link_or_with_another_script_restores_nothing(directory):
    with_unit(directory, script=restore.script(STEPS) + b"echo more\n")
    power_cut(directory)
    assert unit(directory) == "failed"
    assert driver(directory) == {}
    do(directory, Run(("systemctl", "disable"), (restore.UNIT,)))
    power_cut(directory)
    assert unit(directory) is None


def test_registers_are_all_restored_or_none_and_then_no_device_is(directory):
    edit(directory, lambda world: world["mtrr"].update(registers=len(BLOCKS)))
    with_unit(directory)
    power_cut(directory)
    assert unit(directory) == "failed"
    assert len(mtrr.parse(text(directory, "/proc/mtrr"))) == 1, "only the firmware's"
    assert driver(directory) == {}
    assert files(directory, LINKS) == {}


def test_one_device_that_is_gone_does_not_keep_another_back(directory):
    gone = dax_verbs.at_boot("gone", restore.selector([iomem.Range(GIB, 2 * GIB)]), None)
    with_unit(directory, steps=(*STEPS, gone))
    power_cut(directory)
    assert unit(directory) == "failed"
    assert files(directory, LINKS) == {"/dev/cxlstate/cxl0": "../dax0.0"}


def test_restoring_again_does_nothing_and_binds_again_for_a_new_register(directory):
    with_unit(directory)
    power_cut(directory)
    before = running(directory)
    do(directory, Run(("systemctl", "restart"), (restore.UNIT,)))
    assert running(directory) == before
    do(directory, step(*mtrr_verbs.remove(BLOCKS[0], "uncachable").words))
    do(directory, Run(("systemctl", "restart"), (restore.UNIT,)))
    assert running(directory)["dax"] == before["dax"]
    assert unit(directory) == "active"


def test_a_device_with_another_name_is_found_by_its_memory(directory):
    with_unit(directory)
    edit(directory, lambda world: world.update(first_region=1))
    power_cut(directory)
    assert files(directory, LINKS) == {"/dev/cxlstate/cxl0": "../dax1.0"}
    low = {"start": hex(321 * GIB), "end": hex(322 * GIB - 1), "type": "Soft Reserved"}
    edit(directory, lambda world: world["firmware"].insert(-1, low))
    edit(directory, lambda world: world["firmware"][-3].update(end=hex(321 * GIB - 1)))
    power_cut(directory)
    assert files(directory, LINKS) == {"/dev/cxlstate/cxl0": "../dax2.0"}
    assert driver(directory) == {"dax2.0": "device_dax"}, "the other one is nobody's"


def test_a_guest_holds_its_device_and_lets_go_of_it(directory):
    define_guest(directory)
    do(directory, *ALL, StartDomain("cxl_vmx"))
    held = Holders("dax*")
    (holder,) = dax.holders(SimReader(directory, "host").read([held]).text(held))
    assert (holder.vm, holder.device) == ("cxl_vmx", "dax0.0")
    (outcome,) = do(directory, step("dax_unbind", SELECTOR))
    assert f"dax0.0 is held by process {holder.pid}: /usr/bin/qemu-system-x86_64 -name" in outcome.output
    assert do(directory, Run(("rmmod", "device_dax")))[0].status == 1
    outcomes = do(directory, StopDomain("cxl_vmx", 300), step("dax_unbind", SELECTOR))
    assert [one.status for one in outcomes] == [0, 0]
    (outcome,) = do(directory, StartDomain("cxl_vmx"))
    assert "unable to open /dev/cxlstate/cxl0: No such device or address" in outcome.output


def define_guest(directory):
    outcomes = do(
        directory,
        Run(("apt-get", "update")),
        Run(("apt-get", "--yes", "install"), ("libvirt-daemon-system",)),
        DefineDomain("cxl_vmx", GUEST),
        AutostartDomain("cxl_vmx", on=True),
    )
    assert {one.result for one in outcomes} == {Result.DONE}, outcomes


@pytest.mark.parametrize(("transient", "why"), [(True, "transient"), (False, "300 s")])
def test_a_guest_that_cannot_be_stopped_goes_on(directory, transient, why):
    define_guest(directory)
    do(directory, *ALL, StartDomain("cxl_vmx"))
    if transient:
        (directory / "root/etc/libvirt/qemu/cxl_vmx.xml").unlink()
    else:
        edit(directory, lambda world: world["guests"].update(cxl_vmx={"obeys": False}))
    (outcome,) = do(directory, StopDomain("cxl_vmx", 300))
    assert outcome.status == 1
    assert why in outcome.output
    assert len(running(directory)["processes"]) == 1


@pytest.mark.parametrize("restored", [True, False])
def test_at_boot_a_guest_starts_only_where_the_link_is(directory, restored):
    define_guest(directory)
    if restored:
        with_unit(directory)
    power_cut(directory)
    assert len(running(directory)["processes"]) == restored


@pytest.mark.parametrize("movable", [True, False])
def test_memory_that_kmem_took_comes_back_where_it_can_be_moved(directory, movable):
    if movable:
        edit(
            directory,
            lambda world: world["running"].update(command_line="x memhp_default_state=online_movable"),
        )
    do(directory, Run(("modprobe", "kmem")))
    assert driver(directory) == {"dax0.0": "kmem"}
    assert "System RAM (kmem)" in text(directory, "/proc/iomem")
    (outcome,) = do(directory, step("dax_reclaim", SELECTOR))
    assert outcome.status == (0 if movable else 1)
    assert ("System RAM (kmem)" in text(directory, "/proc/iomem")) is not movable
    assert do(directory, step("dax_bind", SELECTOR, "-"))[0].status == (0 if movable else 1)


def test_alignments_are_those_of_the_kernel(directory):
    for align, status in ((1 << 30, 0), (12288, 1), (4096, 0)):
        do(directory, step("dax_unbind", SELECTOR))
        assert do(directory, step("dax_bind", SELECTOR, f"{align:#x}"))[0].status == status
    found = files(directory, Attributes("/sys/bus/dax/devices/*/align"))
    assert found == {"/sys/bus/dax/devices/dax0.0/align": "4096"}
    (outcome,) = do(directory, step("dax_bind", SELECTOR, "0x200000"))
    assert "is in use with alignment 4096, not 2097152" in outcome.output


def test_what_cannot_be_told_of_a_device_is_told_as_a_failure(directory):
    do(directory, *ALL)
    look = MapAndRead(START)
    assert SimReader(directory, "host").read([look]).text(look).splitlines()[0] == "0x0 0x00"
    edit(directory, lambda world: world.update(python=False, debugfs="locked"))
    answers = SimReader(directory, "host").read([look, dax.PAT])
    assert (answers.raw(look).status, answers.raw(look).stderr) == (127, "python3 is not installed")
    assert answers.raw(dax.PAT).stderr == "Operation not permitted"
    edit(directory, lambda world: world.update(debugfs="absent"))
    assert text(directory, dax.PAT.path) is None


def test_a_machine_without_mtrrs(directory):
    edit(directory, lambda world: world["mtrr"].update(registers=0))
    edit(directory, lambda world: world["running"].update(mtrr=[]))
    assert text(directory, "/proc/mtrr") is None
    (outcome,) = do(directory, ALL[0])
    assert "there is no /proc/mtrr" in outcome.output


def test_a_register_that_was_there_before_is_not_replaced(directory):
    theirs = Block(448 * GIB, GIB)
    edit(
        directory,
        lambda world: world["running"]["mtrr"].append(
            {"index": 1, "base": hex(theirs.base), "size": hex(theirs.size)}
        ),
    )
    (outcome,) = do(directory, step("mtrr_add", hex(448 * GIB), hex(2 * GIB), "uncachable"))
    assert "which is not cxlstate's" in outcome.output
    (outcome,) = do(directory, step("mtrr_add", hex(128 * GIB), hex(GIB), "uncachable"))
    assert "has System RAM in it: 0x100000000-0x507fffffff, System RAM" in outcome.output


def test_zoneinfo_tells_where_added_memory_went():
    ram = [(one.start, one.end, 0) for one in (Range(0, 3 * GIB, RAM), Range(4 * GIB, 6 * GIB, RAM))]
    online = [Online(hex(8 * GIB), hex(10 * GIB - 1), "dax0.0", node=1, movable=True)]
    zones = zoneinfo(ram, online).split("Node ")[1:]
    told = {zone.splitlines()[0]: zone for zone in zones}
    assert "spanned  524288\n" in told["0, zone   Normal"]
    assert "start_pfn:           2097152\n" in told["1, zone  Movable"]
    assert "start_pfn" not in told["1, zone   Normal"]
