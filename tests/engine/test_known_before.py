"""What can be known before the first action is said before it, also of what is blocked: on the simulator."""

from __future__ import annotations

import pytest

from cxlstate.engine.plan import Exit
from tests.laws.bench import Bench

PACKAGES = ["libvirt-daemon-system", "qemu-utils"]
DAX = {"cxl0": {"range": {"start": "322GiB", "size": "96GiB"}}}


@pytest.fixture
def bench(tmp_path):
    """A host without libvirt and qemu-img."""
    return Bench(tmp_path)


def plan_of(bench, vm, **host):
    spec = bench.spec({"packages": PACKAGES, **host, "vms": {"g": {"state": "running", "vcpu": 2, **vm}}})
    return bench.plan(spec)


def problems(plan):
    return [(one.code, str(one.address), one.path[-1]) for one in plan.all_diagnostics]


def test_a_region_that_forbids_the_alignsize_of_a_vm_that_is_blocked_by_packages(bench):
    nvdimm = {"dax": "dax.cxl0", "size": "4GiB", "label": "2MiB", "alignsize": "4KiB", "slot": 1}
    memory = {"memory": "1GiB", "nvdimm": [nvdimm]}
    plan = plan_of(bench, memory, dax=DAX, modules={"kmem": "absent"})
    vm = next(one for one in plan.resources if str(one.address) == "vm.g")
    assert ("CXQ305", "vm.g", "alignsize") in problems(plan)
    assert (vm.status.value, vm.exit, vm.reason) == (
        "blocked", Exit.ERROR, "alignsize is smaller than the alignment of the dax device",
    )  # fmt: skip


def test_a_pin_to_a_cpu_that_is_not_there(bench):
    plan = plan_of(bench, {"memory": "1GiB", "vcpupin": ["0", "4000"]})
    assert problems(plan) == [("CXQ301", "vm.g", 1)]


def test_registers_that_do_not_suffice_for_all_covers_though_each_alone_fits(bench):
    ranges = {
        name: {"ranges": [{"start": f"{at + 2 * number}GiB", "size": "1GiB"} for number in range(4)]}
        for name, at in (("a", 900), ("b", 950))
    }
    plan = bench.plan(bench.spec({"packages": PACKAGES, "mtrr": ranges}))
    assert {code for code, *_ in problems(plan)} == {"CXT303"}
    assert {address for _, address, _ in problems(plan)} == {"mtrr.a", "mtrr.b"}
