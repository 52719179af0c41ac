"""Facts of kernel modules, without a reboot."""

from __future__ import annotations

import pytest

from cxlstate.core.read import Attributes


def loaded(machine):
    return {line.split()[0]: line.split() for line in machine.text("/proc/modules").splitlines()}


def release(machine):
    return machine.text("/proc/sys/kernel/osrelease").strip()


def test_a_module_comes_and_goes(machine):
    assert "dummy" not in loaded(machine)
    assert machine.run("modprobe", "dummy").output == ""
    assert loaded(machine)["dummy"][2:5] == ["0", "-", "Live"]
    assert machine.run("modprobe", "dummy").status == 0
    assert machine.run("rmmod", "dummy").output == ""
    assert "dummy" not in loaded(machine)
    outcome = machine.run("rmmod", "dummy")
    assert (outcome.status, outcome.output) == (1, "rmmod: ERROR: Module dummy is not currently loaded\n")
    assert machine.run("modprobe", "-r", "dummy").status == 0


def test_a_module_that_is_not_there(machine):
    outcome = machine.run("modprobe", "conformance-absent")
    where = f"/lib/modules/{release(machine)}"
    said = f"modprobe: FATAL: Module conformance-absent not found in directory {where}\n"
    assert (outcome.status, outcome.output) == (1, said)
    outcome = machine.run("modprobe", "-r", "conformance-absent")
    assert (outcome.status, outcome.output) == (1, "modprobe: FATAL: Module conformance-absent not found.\n")


def test_a_module_that_is_built_in(machine):
    name = machine.names.held_back
    assert f"/{name}.ko\n" in machine.text(f"/lib/modules/{release(machine)}/modules.builtin")
    assert machine.run("modprobe", name).status == 0
    outcome = machine.run("rmmod", name)
    assert (outcome.status, outcome.output) == (1, f"rmmod: ERROR: Module {name} is builtin.\n")
    outcome = machine.run("modprobe", "-r", name)
    assert (outcome.status, outcome.output) == (1, f"modprobe: FATAL: Module {name} is builtin.\n")


def test_a_module_that_another_one_uses(machine):
    user = machine.names.kvm
    assert loaded(machine)["kvm"][3] == f"{user},"
    outcome = machine.run("rmmod", "kvm")
    assert (outcome.status, outcome.output) == (1, f"rmmod: ERROR: Module kvm is in use by: {user}\n")
    outcome = machine.run("modprobe", "-r", "kvm")
    assert (outcome.status, outcome.output) == (1, "modprobe: FATAL: Module kvm is in use.\n")


def test_a_module_brings_what_it_needs_and_dashes_are_underscores(machine):
    assert machine.run("modprobe", "vfio-pci").status == 0
    assert {"vfio_pci", "vfio"} <= set(loaded(machine))
    assert machine.run("modprobe", "-r", "vfio-pci").status == 0


def test_kmem_was_loaded_at_boot_and_holds_the_soft_reserved_memory(machine):
    assert {"kmem", "dax_hmem"} <= set(loaded(machine))
    devices = Attributes("/sys/module/kmem/drivers/*/*/modalias")
    found = machine.writer.read([devices]).files(devices)
    ((path, alias),) = found.items()
    name = path.split("/")[-2]  # dax0.0 as a rule, which is no promise of the kernel
    assert (path, alias) == (f"/sys/module/kmem/drivers/dax:kmem/{name}/modalias", "dax:t0")
    lines = machine.text("/proc/iomem").splitlines()
    soft = next(line for line in lines if line.endswith(" : Soft Reserved"))
    span = soft.split()[0]
    at = lines.index(soft)
    assert lines[at + 1 : at + 3] == [f"  {span} : {name}", f"    {span} : System RAM (kmem)"]


@pytest.mark.changes
def test_unloading_kmem_does_not_give_its_memory_back(machine):
    assert machine.run("rmmod", "kmem").status == 0
    devices = Attributes("/sys/module/kmem/drivers/*/*/modalias")
    assert machine.writer.read([devices]).files(devices) == {}
    assert " : System RAM (kmem)" in machine.text("/proc/iomem")
    assert machine.run("modprobe", "kmem").status == 0
    assert machine.writer.read([devices]).files(devices) == {}, "it cannot take the device again"
