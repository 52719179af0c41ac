"""Laws of namespaces and file systems, on a simulated machine with an NVDIMM and a disk that has grown."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from cxlstate.core.consent import parse_consents
from cxlstate.core.diagnostic import Severity
from cxlstate.engine.plan import Exit, Status
from cxlstate.engine.promise import Promise
from cxlstate.simulator.faults import Faults, PowerCut
from cxlstate.simulator.writer import power_cut
from cxlstate.spec.load import load
from tests.laws.bench import bench

MIB = 1 << 20
SIZE = 1008 * MIB
CONSENT = parse_consents(("destroy-data=bench/namespace.cxl",))
PART = {"number": 1, "start": 2048, "size": 2047 * 2048, "type": "ext4", "holds": 2047 * MIB}
SPEC = {
    "packages": ["ndctl", "cloud-guest-utils"],
    "modules": {"nd_pmem": "present", "dax_pmem": "present"},
    "namespaces": {"cxl": {"mode": "devdax", "map": "mem", "align": "2MiB"}},
    "filesystems": {"/": {"grow": True}},
}
DEVICE = "dax0.0"


def spec_of(one, **words):
    """Written beside the machine, and read from there."""
    host = {"name": "bench", "connect": "sim:host", **SPEC, **words}
    one.file.write_text(json.dumps({"apiVersion": "cxlstate/v1", "host": host}))
    loaded = load([one.file])
    assert not [problem for problem in loaded.diagnostics if problem.severity is Severity.ERROR]
    return loaded.trees[0]


def edited(one, edit):
    path = one.directory / "machine.json"
    world = json.loads(path.read_text())
    edit(world)
    path.write_text(json.dumps(world))


def world_of(one):
    return json.loads((one.directory / "machine.json").read_text())


def namespaces(one):
    return world_of(one)["nvdimms"][0]["namespaces"]


@pytest.fixture(scope="module")
def before():
    """An NVDIMM without labels, its drivers loaded, and a disk of 4 GiB of which a partition has half."""
    with bench() as one:

        def give(world):
            world["nvdimms"] = [{"start": "0x6900000000", "end": f"{0x6900000000 + SIZE - 1:#x}"}]
            world["disks"] = {"sda": {"size": 4096 * 2048, "partitions": [PART]}}
            world["autoload"] += ["nd_pmem", "dax_pmem", "device_dax"]

        edited(one, give)
        power_cut(one.directory)
        yield one


@pytest.fixture(scope="module")
def whole(before):
    """The machine of an apply that nothing stops, and its steps."""
    one, faults = before.fork("whole"), Faults()
    assert one.apply(spec_of(one), CONSENT, faults=faults).exit is Exit.IN_SYNC
    return one, faults.steps


def test_reading_and_planning_change_nothing(before):
    one = before.fork("read")
    seen = one.snapshot()
    assert one.plan(spec_of(one)).exit is Exit.CHANGES
    assert one.snapshot() == seen


def test_a_second_apply_does_nothing(whole):
    one = whole[0].fork("second")
    found = namespaces(one)
    assert one.plan(spec_of(one)).exit is Exit.IN_SYNC
    assert one.apply(spec_of(one), CONSENT).done == []
    assert namespaces(one) == found
    (part,) = world_of(one)["disks"]["sda"]["partitions"]
    assert 4094 * MIB < part["holds"] <= part["size"] * 512 <= 4095 * MIB


def test_it_is_so_again_after_a_boot(whole):
    one = whole[0].fork("boot")
    one.power_cut()
    assert one.plan(spec_of(one)).exit is Exit.IN_SYNC


def test_without_consent_all_else_is_done_and_the_namespace_stays(before):
    one = before.fork("refused")
    found = namespaces(one)
    assert one.apply(spec_of(one)).exit is Exit.REFUSED
    assert namespaces(one) == found
    left = [str(each.address) for each in one.plan(spec_of(one)).resources if each.status is Status.CHANGE]
    assert left == ["namespace.cxl"]


def test_the_alignment_goes_there_and_back(whole):
    one = whole[0].fork("profile")
    for align, size in (("4KiB", 4096), ("2MiB", 2 * MIB)):
        spec = spec_of(one, namespaces={"cxl": {"align": align}})
        assert one.apply(spec).exit is Exit.REFUSED
        assert one.apply(spec, CONSENT).exit is Exit.IN_SYNC
        assert world_of(one)["running"]["dax"][DEVICE]["align"] == size
        assert one.plan(spec).exit is Exit.IN_SYNC


@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
def test_stopped_behind_any_step_it_converges(before, whole, odd):
    """Killed behind one step, without power behind the next."""
    steps = whole[1]
    for number in range(1 + odd, len(steps) + 1, 2):
        cut = number // 2 % 2 == 1
        one = before.fork(f"{cut}{number}")
        with suppress(PowerCut):
            one.apply(spec_of(one), CONSENT, faults=Faults(stop_at=number))
        if cut:
            one.power_cut()
        assert one.apply(spec_of(one), CONSENT).exit is Exit.IN_SYNC, steps[number - 1]
        assert namespaces(one)[0]["mode"] == "devdax"


def refilled(one):
    """Somebody made the namespace anew, in the same mode."""

    def edit(world):
        world["nvdimms"][0]["namespaces"][0]["uuid"] = "5f0e2c1a-0000-4000-8000-000000000000"

    edited(one, edit)


def test_a_plan_that_was_shown_destroys_only_what_it_showed(whole):
    one = whole[0].fork("shown")
    spec = spec_of(one, namespaces={"cxl": {"align": "4KiB"}})
    shown = Promise.of(one.plan(spec))
    assert shown.stale(one.plan(spec)) == ()
    refilled(one)
    assert [problem.code for problem in shown.stale(one.plan(spec))] == ["CXE205"]


def mounted(world):
    world["mounts"]["/mnt"] = "ext4 /dev/pmem0"


def held(world):
    world["running"]["processes"].append({"pid": 812, "holds": [DEVICE], "command": "famfs"})


def of_kmem(world):
    world["running"]["dax"][DEVICE]["driver"] = "kmem"


@pytest.mark.parametrize("use", [held, of_kmem])
def test_what_is_in_use_is_never_made_anew(whole, use):
    one = whole[0].fork(use.__name__)
    edited(one, use)
    found = namespaces(one)
    assert one.apply(spec_of(one, namespaces={"cxl": {"align": "4KiB"}}), CONSENT).exit is Exit.ERROR
    assert namespaces(one) == found


def test_what_is_mounted_is_never_made_anew(before):
    one = before.fork("mounted")
    edited(one, mounted)
    found = namespaces(one)
    assert one.apply(spec_of(one), CONSENT).exit is Exit.ERROR
    assert namespaces(one) == found


def test_a_namespace_whose_driver_is_not_loaded_is_unknown_until_it_is(whole):
    """What is in it cannot be seen, and it is not taken for raw."""
    one = whole[0].fork("unloaded")

    def unload(world):
        world["autoload"] = [name for name in world["autoload"] if name not in ("nd_pmem", "dax_pmem")]

    edited(one, unload)
    for path in one.directory.glob("root/etc/modules-load.d/cxlstate-*"):
        path.unlink()
    one.power_cut()
    found = namespaces(one)
    plan = {str(each.address): each.status for each in one.plan(spec_of(one)).resources}
    assert plan["namespace.cxl"] is Status.BLOCKED
    assert one.apply(spec_of(one), CONSENT).exit is Exit.IN_SYNC
    assert namespaces(one) == found


def test_another_ones_partition_keeps_it_from_growing(before):
    one = before.fork("blocked")

    def add(world):
        other = {"number": 2, "start": 2048 * 2048, "size": 512 * 2048, "type": ""}
        world["disks"]["sda"]["partitions"].append(other)

    edited(one, add)
    found = [part["size"] for part in world_of(one)["disks"]["sda"]["partitions"]]
    spec = spec_of(one, namespaces={})
    assert one.apply(spec).exit is Exit.ERROR
    assert [part["size"] for part in world_of(one)["disks"]["sda"]["partitions"]] == found
