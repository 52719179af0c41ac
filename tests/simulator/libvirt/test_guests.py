"""The machine in a simulated domain: there while that runs, booted with it, a machine like any other."""

from __future__ import annotations

import pytest

from cxlstate.adapters.open_reader import open_reader
from cxlstate.core.action import Run
from cxlstate.core.address import Address
from cxlstate.core.connect import Sim, Through
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.guest import GuestAccess, Route
from cxlstate.core.libvirt import StartDomain, StopDomain
from cxlstate.core.read import Attributes, Command, File
from cxlstate.machine.outcome import Result
from cxlstate.simulator import guests
from cxlstate.simulator.folder import load, save
from cxlstate.simulator.host import Host
from cxlstate.simulator.reader import SimGuestReader
from cxlstate.simulator.world import Installed
from cxlstate.simulator.writer import SimGuestWriter, power_cut
from tests.simulator.libvirt.machine import ENTRY

BOOT_ID, IOMEM = File("/proc/sys/kernel/random/boot_id"), File("/proc/iomem")
ROUTE = Route("host/vm", Through(Address("vm", "vm")), GuestAccess(running=True))


def boot_id(directory):
    return SimGuestReader(directory, ROUTE).read([BOOT_ID]).text(BOOT_ID)


def refusal(directory, way=ROUTE):
    with pytest.raises(CxlstateError) as refused:
        SimGuestReader(directory, way).read([BOOT_ID])
    (said,) = refused.value.diagnostics
    assert said.machine == "host/vm"
    return said


def content(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_it_is_another_machine_than_its_host(running):
    host = open_reader(Sim(running.directory), "host")
    guest = host.guest(ROUTE)
    assert guest.read([BOOT_ID]).text(BOOT_ID) != host.read([BOOT_ID]).text(BOOT_ID)
    assert guest.accepted is None
    folder = guests.folder(running.directory, "vm")
    (folder / "root/etc/hostname").write_text("vm\n")
    assert guest.read([name := File("/etc/hostname")]).text(name) == "vm\n"
    guest.close()
    host.close()


def test_its_kernel_has_the_nvdimms_of_its_domain(running):
    seen = SimGuestReader(running.directory, ROUTE).read([IOMEM]).text(IOMEM)
    assert "100000000-11effffff : Persistent Memory\n" in seen  # 512 MiB less a label of 16 MiB
    power = load(guests.folder(running.directory, "vm")).power
    assert [(one.slot, one.label) for one in power.dimms] == [(0, 16 << 20)]


def test_reading_changes_nothing_of_one_that_is_there(running):
    boot_id(running.directory)
    before = content(running.directory)
    boot_id(running.directory)
    refusal(running.directory, Route("host/vm", Through(Address("vm", "another")), GuestAccess(running=True)))
    assert content(running.directory) == before


def test_it_goes_with_its_domain_and_comes_back_booted(running):
    first = boot_id(running.directory)
    running.done(StopDomain("vm", power_off=True))
    assert refusal(running.directory).code == "CXC122"
    running.done(StartDomain("vm"))
    assert boot_id(running.directory) != first


def test_a_process_that_was_killed_takes_it_along(running):
    boot_id(running.directory)
    world = load(running.directory)
    world.running.processes.clear()
    save(world, running.directory)
    assert "does not run" in refusal(running.directory).found


def test_a_power_cut_of_the_host_is_one_of_the_guest(running):
    boot_id(running.directory)
    power_cut(running.directory)
    assert "does not run" in refusal(running.directory).found


def test_one_that_another_start_has_booted_is_not_taken_for_it(running):
    """As if somebody had put another folder in its place."""
    boot_id(running.directory)
    folder = guests.folder(running.directory, "vm")
    world = load(folder)
    world.power.start = "another"
    save(world, folder)
    assert "was not booted by this start" in refusal(running.directory).found


def test_it_is_written_under_its_own_lock(running):
    writer = SimGuestWriter(running.directory, ROUTE)
    with pytest.raises(CxlstateError) as refused:
        SimGuestWriter(running.directory, ROUTE)
    assert refused.value.diagnostics[0].code == "CXC302"
    assert writer.perform(Run(("apt-get", "update")), ENTRY).result is Result.DONE
    writer.record({"package.tree": "{}"})
    before = boot_id(running.directory)
    writer.reboot(ENTRY, lambda _: None)
    assert boot_id(running.directory) != before
    assert "Persistent Memory" in writer.read([IOMEM]).text(IOMEM)
    records = Attributes("/var/lib/cxlstate/applied/*")
    assert writer.read([records]).files(records)
    writer.close()


def test_a_domain_that_ends_is_a_connection_that_was_lost(running):
    writer = SimGuestWriter(running.directory, ROUTE)
    running.done(StopDomain("vm", power_off=True))
    with pytest.raises(CxlstateError) as lost:
        writer.perform(Run(("apt-get", "update")), ENTRY)
    assert lost.value.diagnostics[0].code == "CXC303"
    with pytest.raises(CxlstateError) as lost:
        writer.read([BOOT_ID])
    assert lost.value.diagnostics[0].code == "CXC122"
    writer.close()


@pytest.mark.parametrize("name", ["..", "a/b", ".hidden"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    folder = guests.folder(tmp_path, name)
    assert folder.parent == tmp_path / "guests"
    assert not folder.name.startswith(".")


# What is in its NVDIMM --------------------------------------------------------------------------------

MADE = Run(("ndctl", "create-namespace", "--force", "--reconfig=namespace0.0", "--mode=devdax", "--map=mem"))
LABELS = Command(("ndctl", "read-labels", "-j"), ("all",), timeout=120)


def made(directory):
    """With ndctl in it, and a namespace made."""
    boot_id(directory)
    folder = guests.folder(directory, "vm")
    world = load(folder)
    world.installed["ndctl"] = Installed("81-1")
    save(world, folder)
    with SimGuestWriter(directory, ROUTE) as writer:
        assert writer.perform(MADE, ENTRY).result is Result.DONE


def found(directory):
    """Mode and handle of what its kernel has."""
    (dimm,) = load(guests.folder(directory, "vm")).nvdimms
    return dimm.namespaces[0].mode, dimm.handle


def restarted(running):
    running.done(StopDomain("vm", power_off=True))
    running.done(StartDomain("vm"))


def test_what_is_in_its_nvdimm_outlives_it_and_a_reboot_of_the_host_but_not_its_power(running):
    made(running.directory)
    restarted(running)
    assert found(running.directory) == ("devdax", 1)
    host = Host.load(running.directory)
    host.boot()
    host.save()
    assert load(running.directory).memory
    power_cut(running.directory)
    assert not load(running.directory).memory


def test_what_is_in_a_file_outlives_the_power_and_what_is_in_a_dax_device_does_not(running):
    made(running.directory)
    for source, mode in (("0x5080000000", "raw"), ("/srv/nvdimm", "devdax")):
        world = load(running.directory)
        world.memory[0].source = source
        guests.lose(world)
        machine = load(guests.folder(running.directory, "vm"))
        machine.power.dimms[0].source = source
        save(world, running.directory)
        guests.plug_in(running.directory, machine)
        (dimm,) = machine.nvdimms
        assert [one.mode for one in dimm.namespaces] == ([] if mode == "raw" else [mode])
        made(running.directory)


def test_its_kernel_keeps_the_labels_that_it_has_read_and_the_nvdimm_has_those_of_the_last_writer(running):
    made(running.directory)
    before = load(guests.folder(running.directory, "vm")).nvdimms
    world = load(running.directory)
    world.memory[0].namespaces[0].label = "of another"
    save(world, running.directory)
    assert load(guests.folder(running.directory, "vm")).nvdimms == before
    said = SimGuestReader(running.directory, ROUTE).read([LABELS]).text(LABELS)
    assert "of another" in said
    restarted(running)
    (dimm,) = load(guests.folder(running.directory, "vm")).nvdimms
    assert dimm.namespaces[0].label == "of another"


def test_of_another_size_there_is_nothing_where_its_labels_are_looked_for(running):
    made(running.directory)
    machine = load(guests.folder(running.directory, "vm"))
    machine.power.dimms[0].end = hex(int(machine.power.dimms[0].end, 16) - (2 << 20))
    guests.plug_in(running.directory, machine)
    assert machine.nvdimms[0].namespaces == []
