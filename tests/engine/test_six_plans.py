"""The six plans of docs/decisions/0006-a-tree-of-machines.md, as they are printed.

On the simulator, but for 4 and a part of 5, which are made of the things of `fake_tree`.
CXLSTATE_GOLDEN=1 writes the texts again.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click import unstyle

from cxlstate.cli.main import _run
from cxlstate.core.libvirt import AutostartDomain, DefineDomain, StartDomain
from cxlstate.engine.plan import Exit
from cxlstate.engine.promise import Promise
from cxlstate.machine.outcome import Entry, Result
from cxlstate.render.head import head_text
from cxlstate.render.plan_text import body_text
from cxlstate.render.problems import diagnostics_text
from cxlstate.simulator.writer import SimWriter
from tests.docs.story import untimed
from tests.engine.fake_tree import HOST, Bench, Vm, VmWish, Wish, World, requires
from tests.laws.bench import BASE
from tests.laws.bench import Bench as Simulated

GOLDEN = Path(__file__).parents[1] / "golden"


def is_golden(name, said):
    """The text of that name says so."""
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("CXLSTATE_GOLDEN"):
        golden.write_text(said)
    assert said == golden.read_text(), f"{golden.name}: CXLSTATE_GOLDEN=1 writes it again"


def printed(plan, **how):
    parts = (head_text(plan), diagnostics_text(plan.all_diagnostics), body_text(plan, **how))
    return unstyle("\n\n".join(filter(None, parts))) + "\n"


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """What a command prints, without the folder that it ran in."""
    monkeypatch.delenv("CXLSTATE_DEBUG", raising=False)

    def run(*arguments):
        status = _run([str(one) for one in arguments])
        said = capsys.readouterr()
        text = f"{said.out}--- stderr ---\n{said.err}" if said.err else said.out
        return untimed(text.replace(f"{tmp_path}/", "")) + f"--- exit status {status} ---\n"

    return run


KERNEL = "/boot/vmlinuz-6.12.117+deb13-amd64"
NVDIMM = {"dax": "dax.cxl0", "size": "96GiB", "label": "16MiB", "pmem": True, "slot": 1}


def runbook(align, **host):
    """A host with a dax device, a VM that has it as an NVDIMM, and a namespace in the guest."""
    guest = {
        "packages": ["ndctl", "daxctl"],
        "modules": {"nd_pmem": "present", "dax_pmem": "present"},
        "namespaces": {"cxl": {"nvdimm": 0, "mode": "devdax", "map": "mem"}},
    }
    vm = {"state": "running", "memory": "1GiB", "vcpu": 2, "os": {"kernel": KERNEL}}
    return {
        "packages": ["libvirt-daemon-system", "qemu-utils"],
        "modules": {"kmem": "absent"},
        "dax": {"cxl0": {"range": {"start": "322GiB", "size": "96GiB"}, "align": align}},
        "vms": {"g0": {**vm, "nvdimm": [NVDIMM], "guest": guest}},
        **host,
    }


def test_1_a_bare_host_whose_vm_and_guest_are_still_to_be_made(tmp_path, run):
    bench = Simulated(tmp_path)
    cover = {"cxl0": {"cover": "dax.cxl0", "within": {"start": "320GiB", "end": "448GiB"}}}
    bench.spec(
        runbook(
            "2MiB",
            grub={"args": ["quiet", "splash"], "absent": ["nomodeset"]},
            memmap=[{"size": "2GiB", "start": "320GiB", "type": "reserved"}],
            mtrr=cover,
        )
    )
    is_golden("plan-1-bare-host-and-guest", run("plan", bench.file))


def test_2_a_device_is_switched_below_a_running_guest_whose_namespace_holds_data(tmp_path, run):
    """The switch of `align` in one line, by a kernel whose dax regions are aligned to 4KiB."""
    bench = Simulated(tmp_path)
    with bench.world() as world:
        world.region_align = 4 << 10
    bench.power_cut()
    assert bench.apply(bench.spec(runbook("2MiB"))).exit is Exit.IN_SYNC
    bench.spec(runbook("4KiB"))
    is_golden("plan-2-switch-below-a-guest", run("plan", bench.file))


def test_2_and_with_a_region_of_2mib_nothing_of_it_is_begun(tmp_path, run):
    bench = Simulated(tmp_path)
    assert bench.apply(bench.spec(runbook("2MiB"))).exit is Exit.IN_SYNC
    bench.spec(runbook("4KiB"))
    is_golden("plan-2-region-forbids", run("plan", bench.file))


def test_3_a_host_reboot_with_declared_vms_and_one_undeclared_running(tmp_path, run):
    bench = Simulated(tmp_path)
    names = ("cxl_vm1", "cxl_vm2", "cxl_vm3")
    vms = {name: {"memory": "64MiB", "vcpu": 1} for name in names}
    rest = {"packages": ["libvirt-daemon-system"], "vms": vms}
    bench.apply(bench.spec(rest))
    with SimWriter(bench.directory, "bench") as writer:
        effects = [
            DefineDomain("build7", BASE.replace("base", "build7")),
            *(AutostartDomain(name, on=True) for name in names[:2]),
            *(StartDomain(name) for name in (*names, "build7")),
        ]
        for effect in effects:
            assert writer.perform(effect, Entry("r", ("t",), "t", "live")).result is Result.DONE
    bench.spec({**rest, "grub": {"args": ["mitigations=off"]}})
    is_golden("plan-3-reboot-with-vms", run("plan", bench.file))


def test_4_a_guest_that_is_off_one_that_does_not_answer_and_one_whose_host_key_changed():
    world = World(vms={"g1": Vm(active=None), "g2": Vm(), "g3": Vm()}, silent={"g2"}, refused={"g3"})
    host = {name: VmWish() for name in ("vm.g1", "vm.g2", "vm.g3")}
    things = {f"thing.{name}": Wish() for name in "abcdef"}
    five = dict(list(things.items())[:5])
    is_golden("plan-4-guests-unread", printed(Bench(world, host, g1=things, g2=five, g3=things).plan()))


def test_5_a_plan_file_after_somebody_stopped_a_service_that_it_showed_in_sync(tmp_path, run):
    bench = Simulated(tmp_path)
    bench.run("systemctl", "start", "cron")
    bench.spec({"packages": ["ndctl"], "services": {"cron": {"running": True}}, "grub": {"args": ["a=1"]}})
    run("plan", "--out", tmp_path / "plan.json", bench.file)
    bench.run("systemctl", "stop", "cron")
    text = run("apply", tmp_path / "plan.json")
    head, _, rest = text.partition(", planned ")
    is_golden("plan-5-plan-file", f"{head}, planned …{rest[16:]}")
    assert "cron.service" not in bench.machine()["running"]["units"]


def test_5_and_where_it_builds_on_what_moved_nothing_is_done():
    world = World(things={HOST: {"thing.libvirtd": "on"}})
    bench = Bench(world, {"thing.libvirtd": Wish(), "vm.g1": VmWish(needs=(requires("thing.libvirtd"),))})
    promise = Promise.of(bench.plan())
    world.things[HOST]["thing.libvirtd"] = "off"
    is_golden("plan-5-stale", unstyle(diagnostics_text(promise.stale(bench.plan()))) + "\n")


def test_6_two_units_of_which_none_says_that_it_stops_the_other(tmp_path, run):
    bench = Simulated(tmp_path)
    with bench.world() as world:
        for unit, other in (("cron.service", "ssh.service"), ("ssh.service", "cron.service")):
            world.units[unit].stops.append(other)
            world.running.units.pop(unit, None)
    bench.spec({"services": {"cron": {"running": True}, "ssh": {"running": True}}})
    is_golden("plan-6-undo-each-other", run("apply", "--yes", bench.file))


def test_6_two_units_that_conflict(tmp_path, run):
    bench = Simulated(tmp_path)
    with bench.world() as world:
        world.units["cron.service"].conflicts.append("ssh.service")
        world.running.units.pop("cron.service", None)
    bench.spec({"services": {"cron": {"running": True}, "ssh": {"running": True}}})
    is_golden("plan-6-conflicts", run("plan", bench.file))
