"""A source that its package brings as a tarball: known after it, unpacked, and only then patched.

The tree is a small one of a test: Debian's own are in `test_runs.py`.
"""

from __future__ import annotations

from contextlib import suppress

import pytest

from cxlstate.core.address import Address, ScopedAddress
from cxlstate.engine.plan import Exit, Status
from cxlstate.simulator.faults import Faults, PowerCut
from cxlstate.simulator.world import Brings, Package
from tests.engine.test_apply import codes, keep_to
from tests.laws.bench import Bench
from tests.laws.stops import stops
from tests.tarballs import tarball

NAME = "linux-source-6.12"
TREE = f"usr/src/{NAME}"
HMEM_C = (
    "\tdax_region = alloc_dax_region(dev, pdev->id, &mri->range,\n"
    "\t\t\t\t      mri->target_node, PMD_SIZE, flags);\n"
    "\tif (!dax_region)\n\t\treturn -ENOMEM;\n\n"
)
FILES = {"Makefile": "VERSION = 6\n", "drivers/dax/hmem/hmem.c": HMEM_C}
KERNEL, SOURCE = Address("kernel"), Address("package", NAME)
SPEC = {
    "packages": [NAME],
    "kernel": {
        "source": f"/{TREE}",
        "patches": ["dax-hmem-align-4k"],
        "build": {"commands": [["uname", "-r"]]},
    },
}


@pytest.fixture
def bench(tmp_path):
    """A host whose archive has the package."""
    one = Bench(tmp_path)
    content = tarball({f"{NAME}/{path}": text for path, text in FILES.items()}, "").decode()
    brings = Brings(files={f"/{TREE}.tar.xz": content})
    with one.world() as world:
        world.archive.packages.append(Package(NAME, "6.12.107-1", architecture="all", brings=brings))
    return one


def standing(one):
    """How the patch and what goes with it stand: what it changed, its note, and the stamp of the build."""
    tree = one.path(TREE)
    names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file())
    return names, "PMD_SIZE" in (tree / "drivers/dax/hmem/hmem.c").read_text()


WHOLE = (
    [".cxlstate-dax-hmem-align-4k.patch", ".cxlstate-installed", "Makefile", "drivers/dax/hmem/hmem.c"],
    False,
)


def test_what_the_package_brings_is_planned_before_it_is_there(bench):
    plan = bench.plan(bench.spec(SPEC))
    kernel = plan.at(ScopedAddress("bench", KERNEL))
    assert (kernel.status, kernel.exit, plan.exit) == (Status.BLOCKED, Exit.CHANGES, Exit.CHANGES)
    assert [at.address for at in kernel.waits_for] == [SOURCE]
    assert [action.does for action in kernel.actions] == [f"unpack /{TREE}.tar.xz"]
    assert [str(after) for one in kernel.later for after in one.after] == [str(SOURCE)]


def test_without_its_package_it_is_unknown(bench):
    plan = bench.plan(bench.spec({"kernel": SPEC["kernel"], "packages": ["hello"]}))
    kernel = plan.at(ScopedAddress("bench", KERNEL))
    assert (kernel.status, plan.exit) == (Status.UNKNOWN, Exit.UNKNOWN)
    assert NAME in kernel.hint


def test_one_apply_fetches_unpacks_patches_and_builds(bench):
    spec = bench.spec(SPEC)
    done = bench.apply(spec)
    assert (done.exit, standing(bench)) == (Exit.IN_SYNC, WHOLE), done.diagnostics
    assert bench.plan(spec).exit is Exit.IN_SYNC
    assert bench.apply(spec).done == []


def test_a_patch_that_does_not_apply_to_it_is_told_once_it_is_unpacked(bench):
    content = tarball({f"{NAME}/Makefile": "VERSION = 6\n"}, "").decode()
    with bench.world() as world:
        world.archive.packages[-1].brings.files = {f"/{TREE}.tar.xz": content}
    done = bench.apply(bench.spec(SPEC))
    assert (done.exit, codes(done)) == (Exit.ERROR, ["CXK412"])
    assert bench.path(f"{TREE}/Makefile").exists()


def test_a_plan_file_unpacks_it_and_leaves_what_it_could_not_show(bench):
    spec = bench.spec(SPEC)
    done = keep_to(bench, spec)
    assert (done.exit, done.left, done.diagnostics) == (Exit.CHANGES, (ScopedAddress("bench", KERNEL),), [])
    assert standing(bench) == (["Makefile", "drivers/dax/hmem/hmem.c"], True)
    assert keep_to(bench, spec).exit in (Exit.IN_SYNC, Exit.PENDING)
    assert standing(bench) == WHOLE


@pytest.mark.slow
@pytest.mark.parametrize("cut", [False, True], ids=["killed", "power cut"])
def test_stopped_behind_any_step_it_converges(bench, cut, every_crash):
    whole, faults = bench.fork("whole"), Faults()
    assert whole.apply(whole.spec(SPEC), faults=faults).exit is Exit.IN_SYNC
    assert any(step.startswith("unpacked, not in place") for step in faults.steps)
    for number in stops(faults.steps, every=every_crash)[int(cut) :: 2]:
        one = bench.fork(f"stop{number}")
        with suppress(PowerCut):
            one.apply(one.spec(SPEC), faults=Faults(stop_at=number))
        if cut:
            one.power_cut()
        done = one.apply(one.spec(SPEC))
        assert (done.exit, standing(one)) == (Exit.IN_SYNC, WHOLE), faults.steps[number - 1]
        assert not one.drafts()
