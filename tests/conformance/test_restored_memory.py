"""Facts of dax devices that the boot unit restored, and of what is done to them then."""

from __future__ import annotations

import pytest

from cxlstate.core.read import Holders, Links, MapAndRead, TimeLoads
from cxlstate.engine.caching import Access, judge
from cxlstate.engine.measuring import VIRTUAL
from cxlstate.formats import dax, loads, mtrr, restore
from cxlstate.machine.outcome import Result
from cxlstate.resources.dax import verbs as dax_verbs
from cxlstate.resources.mtrr import verbs as mtrr_verbs
from tests.conformance.machines import HOLDER, Simulated
from tests.conformance.test_boot import DROP_IN
from tests.conformance.test_host_memory import FAR, add, devices, refused, registers, remove, step
from tests.lab.stages import Stage

LINKS = Links("/dev/cxlstate/*")


def restore_at_boot(machine):
    """The device has a unit that restores it, and is not given to kmem."""
    (device,) = devices(machine)
    machine.write(DROP_IN, 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX modprobe.blacklist=kmem"\n')
    assert machine.generate().result is Result.DONE
    steps = [mtrr_verbs.at_boot("fact", block, "uncachable") for block in blocks(device)]
    steps.append(dax_verbs.at_boot("fact", selector(device), None))
    machine.write(restore.SCRIPT, restore.script(steps).decode())
    machine.write(restore.UNIT_FILE, restore.unit().decode())
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", restore.UNIT)
    machine.reboot()
    (now,) = devices(machine)
    assert (now.start, now.size) == (device.start, device.size)


RESTORED = Stage("restored", restore_at_boot)
pytestmark = [pytest.mark.long, pytest.mark.stage(RESTORED)]


@pytest.fixture
def device(machine):
    (one,) = devices(machine)
    return one


def blocks(device):
    return mtrr.cover(device.start, device.end, device.start, device.end)


def selector(device):
    return restore.selector(device.ranges)


def record(machine, device):
    return dax.memory_types(machine.text(dax.PAT.path), device.start, device.end)


def links(machine):
    return machine.writer.read([LINKS]).files(LINKS)


def unit(machine):
    asked = "Type,ActiveState,SubState,Result"
    answer = machine.ask("systemctl", "show", f"--property={asked}", operands=(restore.UNIT,))
    return [line.partition("=")[2] for line in answer.text.splitlines()]


GOOD, BAD = ["oneshot", "success", "active", "exited"], ["oneshot", "exit-code", "failed", "failed"]


def again(machine):
    return machine.run("systemctl", "restart", restore.UNIT).status


def done(machine, *words):
    assert step(machine, *words).result is Result.DONE


def test_the_unit_restored_everything_at_boot(machine, device):
    assert unit(machine) == GOOD
    assert device.driver == "device_dax"
    assert links(machine) == {"/dev/cxlstate/fact": f"../{device.name}"}
    kept = mtrr.parse(machine.text(restore.BEFORE))
    new = [one for one in registers(machine) if one not in kept]
    assert [(one.block, one.count) for one in new] == [(block, 1) for block in blocks(device)]
    assert record(machine, device) == ("uncached-minus",)
    iomem = machine.text("/proc/iomem")
    span = f"{device.start:08x}-{device.end - 1:08x}"
    assert f"{span} : Soft Reserved\n  {span} : {device.name}\n" in iomem
    assert "System RAM (kmem)" not in iomem


def test_restoring_once_more_changes_nothing(machine, device):
    was = machine.text("/proc/mtrr")
    assert again(machine) == 0
    assert machine.text("/proc/mtrr") == was
    assert devices(machine) == (device,)


def test_the_device_can_be_mapped(machine, device):
    look = MapAndRead(device.start)
    lines = machine.writer.read([look]).text(look).splitlines()
    assert [int(line.split()[0], 16) for line in lines] == [0, device.size - 1]
    done(machine, "dax_check", selector(device))


def test_loads_from_it_are_timed_whoever_holds_it_and_an_emulated_processor_tells_nothing(machine, device):
    look = TimeLoads(device.name)
    with machine.held(device.name):
        answers = machine.writer.read([look, VIRTUAL])
    found = loads.parse(answers.text(look))
    assert found.rounds >= 8
    vm = answers.raw(VIRTUAL).text.strip()
    verdict = judge(found, vm)
    if isinstance(machine, Simulated):
        assert (vm, verdict.access) == ("none", Access.UNCACHED)
    elif vm != "kvm":  # the emulated host, where it has no KVM
        assert (vm, verdict.access) == ("qemu", Access.CANNOT_TELL)
        assert verdict.why.startswith("the processor is emulated: ")


def test_who_may_not_open_it_gets_no_times(machine, device):
    look = TimeLoads(device.name)
    with machine.unprivileged() as reader:
        answer = reader.read([look]).raw(look)
    assert (answer.status, answer.stderr) == (1, f"/dev/{device.name}: Permission denied")


def test_who_holds_it_is_named_and_keeps_it(machine, device):
    held = Holders("dax*")
    with machine.held(device.name) as pid:
        (holder,) = dax.holders(machine.writer.read([held]).text(held))
        assert (holder.pid, holder.device, holder.command) == (pid, device.name, HOLDER)
        said = refused(machine, "dax_unbind", selector(device)).rstrip()
        assert said == f"cxlstate: {device.name} is held by process {pid}: {HOLDER}"
        assert machine.run("rmmod", "device_dax").status == 1
    assert machine.writer.read([held]).text(held) == ""


def test_its_alignment_is_set_while_it_is_free(machine, device):
    said = refused(machine, "dax_bind", selector(device), "0x1000")
    assert said == f"cxlstate: {device.name} is in use with alignment 2097152, not 4096"
    done(machine, "dax_unbind", selector(device))
    said = refused(machine, "dax_bind", selector(device), "0x3000")
    assert said == f"cxlstate: the kernel refuses alignment 12288 for {device.name}: Invalid argument"
    done(machine, "dax_bind", selector(device), "0x1000")
    (now,) = devices(machine)
    assert (now.align, now.region_align, now.driver) == (4096, 2 << 20, "device_dax")
    done(machine, "dax_unbind", selector(device))
    assert devices(machine)[0].driver is None
    assert record(machine, device) == ()
    done(machine, "dax_bind", selector(device), "0x200000")


def bind_before_the_registers(machine, device):
    done(machine, "dax_unbind", selector(device))
    for block in blocks(device):
        assert remove(machine, block).result is Result.DONE
    done(machine, "dax_bind", selector(device), "-")
    assert record(machine, device) == ("write-back",)
    for block in blocks(device):
        assert add(machine, block).result is Result.DONE


def test_the_record_of_its_mapping_is_made_when_it_is_bound(machine, device):
    """And a device that is mapped with the wrong type loses its link."""
    bind_before_the_registers(machine, device)
    assert record(machine, device) == ("write-back",)
    assert again(machine) == 1
    assert unit(machine) == BAD
    assert links(machine) == {}
    done(machine, "dax_unbind", selector(device))
    assert again(machine) == 0
    assert unit(machine) == GOOD
    assert record(machine, device) == ("uncached-minus",)
    assert links(machine) == {"/dev/cxlstate/fact": f"../{device.name}"}


def test_for_a_register_that_is_missing_the_device_is_bound_again(machine, device):
    assert remove(machine, blocks(device)[0]).result is Result.DONE
    assert again(machine) == 0
    assert record(machine, device) == ("uncached-minus",)


def test_where_a_register_cannot_be_restored_nothing_is(machine, device):
    kept = registers(machine)
    ours = len(blocks(device))
    for block in blocks(device):
        assert remove(machine, block).result is Result.DONE
    others = [FAR.base + 8192 * number for number in range(8 - len(kept) + 1)]
    for base in others:
        done(machine, "mtrr_add", f"{base:#x}", "0x1000", "uncachable")
    used = registers(machine)
    assert len(used) == 8 - ours + 1
    assert again(machine) == 1
    assert unit(machine) == BAD
    assert registers(machine) == used, "those that were added are gone again"
    assert devices(machine)[0].driver is None
    assert links(machine) == {}
    for base in others:
        done(machine, "mtrr_remove", f"{base:#x}", "0x1000", "uncachable")
    assert again(machine) == 0
    assert unit(machine) == GOOD
