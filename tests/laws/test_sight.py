"""Law 6: any one effect undone is seen, called drift, and mended. Law 7: any leaf changed is a change."""

from __future__ import annotations

import pytest

from cxlstate.core.address import ScopedAddress
from cxlstate.engine.plan import Exit
from cxlstate.render.terminal import drift_text
from tests.laws.bench import bench
from tests.laws.sight import CHANGED, RICH, UNDONE, applied, is_not_in_sync, is_seen, where


@pytest.fixture(scope="module")
def in_force():
    with bench() as one:
        yield applied(one)


@pytest.fixture
def machine(in_force, request):
    folder = f"{abs(hash(request.node.name)):x}"
    return in_force.fork(folder)


def _rarely(cases, every):
    """All of them, and of those only some in the fast loop."""
    return [
        one if number % every == 0 else pytest.param(*one, marks=pytest.mark.slow)
        for number, one in enumerate(cases)
    ]


@pytest.mark.parametrize(
    ("undone", "address"), _rarely([(name, of) for name, (of, _) in UNDONE.items()], every=9)
)
def test_an_effect_that_was_undone_is_seen_and_mended(machine, undone, address):
    is_seen(machine, undone)
    spec = machine.spec(RICH)
    at = where(address)
    assert f"{at.machine}  {at.address}  " in drift_text([machine.plan(spec)])
    done = machine.apply(spec)
    assert done.exit is Exit.IN_SYNC, (done.diagnostics, done.plan)


@pytest.mark.parametrize(
    ("path", "value", "address"), _rarely(CHANGED, every=9), ids=lambda one: str(one)[:60]
)
def test_a_leaf_that_was_changed_is_a_change_that_was_not_applied(machine, path, value, address):
    is_not_in_sync(machine, path, value, address)


def test_every_resource_of_the_rich_spec_has_an_effect_that_can_be_undone_and_a_leaf_that_can_be_changed(
    machine,
):
    declared = {
        ScopedAddress(one.id, r.address) for one in machine.spec(RICH).machines for r in one.resources
    }
    idle = {where("package.libvirt-daemon-system"), where("module.virtio")}  # needed by others; built in
    undone = {where(address) for address, _ in UNDONE.values()}
    assert declared - idle <= undone
    implied = {"boot"}
    # Those are undone in their cases, in tests/kernel and in tests/simulator/test_first_boot.py.
    own_laws = {"kernel", "provision"}
    assert {at.address.kind for at in declared} | implied | own_laws == set(machine.kinds)
    assert implied <= {at.address.kind for at in undone}


def test_every_leaf_of_the_rich_spec_is_changed_by_one_of_the_changes():
    changed = {path for path, _, _ in CHANGED}
    untouched = [leaf for leaf in _leaves(RICH) if not any(leaf[: len(path)] == path for path in changed)]
    # A built-in module cannot be absent; `enabled`/`masked: false` are said by their resource's other leaves;
    # there is one device alone, so that no other can be meant; memory and vCPUs have to fit the cells, and
    # are changed in the VM that has none; a base is for a VM that is not there yet.
    device = [("dax", "cxl0", "range", "start"), ("dax", "cxl0", "range", "size")]
    guest = [("memory",), ("vcpu",), ("numatune", "memnode", 0, "cellid")]
    fits = [("vms", "guest", *leaf) for leaf in guest]
    grows = ("vms", "guest", "guest", "filesystems", "/", "grow")  # `false` wants nothing
    base = ("vms", "based", "xml")
    assert untouched == [("grub", "args", 3), ("modules", "virtio"), *device, *fits, grows, base]


def _leaves(value, path=()):
    if isinstance(value, dict):
        return [leaf for key, one in value.items() for leaf in _leaves(one, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, one in enumerate(value) for leaf in _leaves(one, (*path, index))]
    return [path]
