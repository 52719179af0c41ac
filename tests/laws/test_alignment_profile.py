"""One line of a spec aligns a dax device, the NVDIMM that it is in a VM, and the namespace in the guest."""

from __future__ import annotations

import pytest

from cxlstate.core.libvirt import StartDomain, StopDomain
from cxlstate.engine.plan import Exit, Status
from cxlstate.machine.outcome import Entry, Result
from cxlstate.simulator.folder import load
from cxlstate.simulator.guests import folder
from cxlstate.simulator.writer import SimWriter
from tests.laws.bench import INTERRUPTIONS, bench
from tests.strategies import KERNEL

ORDER = ("shut down g0", "bind dax0.0 to device_dax", "edit the definition of g0", "start g0")
SIZES = {"4KiB": 4 << 10, "2MiB": 2 << 20}
VM = {
    "state": "running",
    "memory": "1GiB",
    "vcpu": 2,
    "os": {"kernel": KERNEL},
    "nvdimm": [{"dax": "dax.cxl0", "size": "96GiB", "label": "16MiB", "access": "shared", "slot": 1}],
}


def guest(**namespace):
    return VM | {
        "guest": {"packages": ["ndctl"], "namespaces": {"cxl": {"nvdimm": 0, "map": "mem"} | namespace}}
    }


def profile(align, **vms):
    return {
        "packages": ["libvirt-daemon-system"],
        "modules": {"kmem": "absent"},
        "dax": {"cxl0": {"range": {"start": "322GiB", "size": "96GiB"}, "align": align}},
        "vms": vms or {"g0": guest()},
    }


def inside(one, vm="g0"):
    return load(folder(one.directory, vm))


def namespace(one, vm="g0"):
    (dimm,) = inside(one, vm).nvdimms
    (found,) = dimm.namespaces
    return found


def aligned(one):
    """The device, the mapping of the VM that runs, and the namespace of the guest."""
    world = load(one.directory)
    xml = world.running.domains["g0"].xml
    alignsize = int(xml.partition("<alignsize unit='KiB'>")[2].partition("<")[0]) << 10
    return world.running.dax["dax0.0"].align, alignsize, namespace(one).align


def started(one):
    return load(one.directory).running.domains["g0"].start


@pytest.fixture(scope="module")
def fine():
    """Aligned to 2MiB, by a kernel whose regions are aligned to 4KiB."""
    with bench() as one:
        with one.world() as world:
            world.region_align = SIZES["4KiB"]
        one.power_cut()
        done = one.apply(one.spec(profile("2MiB")))
        assert done.exit is Exit.IN_SYNC, done.diagnostics
        yield one


def test_there_and_back_is_one_apply_each(fine):
    one = fine.fork("there")
    assert aligned(one) == (SIZES["2MiB"],) * 3
    for align in ("4KiB", "2MiB"):
        before = started(one), namespace(one).uuid
        done = one.apply(one.spec(profile(align)))
        assert done.exit is Exit.IN_SYNC, done.diagnostics
        assert aligned(one) == (SIZES[align],) * 3
        assert started(one) != before[0]
        assert namespace(one).uuid != before[1]
        assert one.plan(one.spec(profile(align))).exit is Exit.IN_SYNC
        assert one.apply(one.spec(profile(align))).done == []


def test_the_vm_goes_away_once_and_the_namespace_comes_last(fine):
    one = fine.fork("order")
    before = len(one.journal())
    one.apply(one.spec(profile("4KiB")))
    away = [what for what, _ in one.watcher.told if what.endswith("away")]
    assert away == ["begins away", "ends away"]
    begun = [line["does"] for line in one.journal()[before:] if line["event"] == "begin"]
    assert [does for does in begun if does in ORDER] == list(ORDER)
    (guests,) = one.guests().values()
    assert guests.journal()[-1]["does"] == "map dax0.0 and read it"


def test_without_consent_to_destroy_all_else_is_done_and_the_namespace_stays(fine):
    one = fine.fork("kept")
    spec, before = one.spec(profile("4KiB")), namespace(one)
    assert one.apply(spec, INTERRUPTIONS).exit is Exit.REFUSED
    assert aligned(one) == (SIZES["4KiB"], SIZES["4KiB"], SIZES["2MiB"])
    assert namespace(one) == before
    assert [str(each.at) for each in one.plan(spec).resources if each.status is not Status.IN_SYNC] == [
        "bench/g0:namespace.cxl"
    ]
    assert one.apply(spec).exit is Exit.IN_SYNC
    assert aligned(one) == (SIZES["4KiB"],) * 3


def test_what_the_region_forbids_is_refused_before_anything_is_begun(fine):
    one = fine.fork("coarse")
    with one.world() as world:
        world.region_align = SIZES["2MiB"]
    spec, before = one.spec(profile("4KiB")), (started(one), namespace(one), aligned(one))
    plan = one.plan(spec)
    assert plan.exit is Exit.ERROR
    assert [each.code for each in plan.all_diagnostics if each.severity == "error"] == ["CXQ390"]
    assert one.apply(spec).exit is Exit.ERROR
    assert (started(one), namespace(one), aligned(one)) == before


def test_what_is_written_overrides(fine):
    one = fine.fork("written")
    vm = guest(align="2MiB")
    vm = vm | {"nvdimm": [vm["nvdimm"][0] | {"alignsize": "2MiB"}]}
    before = namespace(one)
    assert one.apply(one.spec(profile("4KiB", g0=vm)), INTERRUPTIONS).exit is Exit.IN_SYNC
    assert aligned(one) == (SIZES["4KiB"], SIZES["2MiB"], SIZES["2MiB"])
    assert namespace(one) == before


def test_what_a_power_cut_loses_is_made_again_only_with_consent(fine):
    one = fine.fork("lost")
    one.power_cut()
    spec = one.spec(profile("2MiB"))
    assert one.apply(spec, INTERRUPTIONS).exit is Exit.REFUSED
    assert namespace(one).mode == "raw"
    assert one.apply(spec).exit is Exit.IN_SYNC
    assert aligned(one) == (SIZES["2MiB"],) * 3


def restart(one, vm):
    with SimWriter(one.directory, "bench") as writer:
        for effect in (StopDomain(vm, power_off=True), StartDomain(vm)):
            assert writer.perform(effect, Entry("r", ("t",), "t", "live")).result is Result.DONE


def test_a_second_guest_sees_what_the_one_that_writes_has_made_once_it_starts(fine):
    one = fine.fork("second")
    vms = {"g0": guest(writer=True), "g1": guest(writer=False)}
    spec = one.spec(profile("2MiB", **vms))
    assert one.apply(spec).exit is Exit.IN_SYNC  # it starts behind the other, which had its namespace
    assert namespace(one, "g1") == namespace(one)
    one.apply(one.spec(profile("2MiB", **vms | {"g0": guest(writer=True, map="dev")})))
    assert namespace(one).map == "dev"
    assert namespace(one, "g1").map == "mem", "its kernel keeps what it has read"
    spec = one.spec(profile("2MiB", **{name: guest(writer=name == "g0", map="dev") for name in vms}))
    found = [each.code for each in one.plan(spec).all_diagnostics if each.severity == "error"]
    assert found == ["CXA312"]
    restart(one, "g1")
    assert one.plan(spec).exit is Exit.IN_SYNC
