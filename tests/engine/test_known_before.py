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


KERNEL = "linux-headers-{kernel}"


def test_a_package_of_a_kernel_in_a_guest_that_is_still_to_be_made(bench):
    plan = plan_of(bench, {"memory": "1GiB", "guest": {"packages": [KERNEL]}})
    (package,) = (one for one in plan.resources if one.address.name == KERNEL)
    assert [(one.path, one.old, one.new) for one in package.changes] == [
        (("state",), "not installed", "installed"),
        (("{kernel}",), None, "known after vm.g"),
    ]
    (later,) = package.later
    assert (KERNEL in later.what, [str(one) for one in later.after]) == (True, ["vm.g"])
    assert package.actions == ()


def test_a_package_of_a_kernel_that_the_archive_does_not_have(bench):
    spec = bench.spec({"packages": ["linux-modules-extra-{kernel}"]})
    assert bench.plan(spec).all_diagnostics == (), "without lists nobody knows"
    bench.run("apt-get", "update")
    plan = bench.plan(spec)
    assert [(one.code, one.found) for one in plan.all_diagnostics] == [
        ("CXP331", "no linux-modules-extra-6.12.117+deb13-amd64 in apt's index")
    ]


def test_after_a_reboot_into_another_kernel_it_is_another_package_and_the_first_one_stays(bench):
    spec = bench.spec({"packages": [KERNEL]})
    assert bench.apply(spec).exit is Exit.IN_SYNC
    assert "linux-headers-6.12.117+deb13-amd64" in bench.machine()["installed"]
    with bench.world() as world:
        world.running.kernel = "6.12.107+deb13-amd64"
    (package,) = bench.plan(spec).resources
    assert [(one.old, one.new) for one in package.changes] == [("not installed", "installed")]
    assert package.actions[0].does == "install linux-headers-6.12.107+deb13-amd64"
    assert bench.apply(spec).exit is Exit.IN_SYNC
    assert {"linux-headers-6.12.107+deb13-amd64", "linux-headers-6.12.117+deb13-amd64"} < set(
        bench.machine()["installed"]
    )
