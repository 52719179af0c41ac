"""What a guest's resource does on its host, and what comes first in a guest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cxlstate.core.action import Action, Run, undoing
from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.reconciler import Resource
from cxlstate.engine.plan import Exit, ResourcePlan, Status
from cxlstate.engine.turns import group
from tests.engine import fake_tree
from tests.engine.fake_tree import Bench, FakeMachine, Thing, Vm, VmWish, Wish, World


class Teller(Thing):
    """Tells its host before it does anything in its guest."""

    kind = "first"
    place = replace(Thing.place, key="firsts")
    comes_first = True

    def _actions(self, me, live):
        undo = undoing(Run(("set", "off"), ("thing.told",)))
        tell = Action("tell", Run(("set", "told"), ("thing.told",)), undo=undo, on_parent=True)
        own = Action("look", Run(("set", "seen"), ("thing.seen",)), undo=undoing(Run(("set", "unseen"))))
        return (tell, own, *super()._actions(me, live))


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setitem(fake_tree.KINDS, "first", Teller())
    return Bench(
        World(vms={"g1": Vm()}),
        {"vm.g1": VmWish(), "thing.told": Wish("told")},
        g1={"first": Wish(), "another.a": Wish(), "thing.a": Wish()},
    )


@pytest.fixture(autouse=True)
def another(monkeypatch):
    """A kind whose name would put it before all else."""
    kind = Thing()
    kind.kind = "another"
    monkeypatch.setitem(fake_tree.KINDS, "another", kind)


def test_it_is_done_under_the_locks_of_both_and_both_are_read_again(bench):
    bench.world.things["h"] = {"thing.told": "told"}
    assert bench.apply().exit is Exit.IN_SYNC
    told = bench.world.log.index("h: set told thing.told")
    own = bench.world.log.index("h/g1: set on first")
    assert bench.world.log.index("h/g1: lock") < told < own
    after = bench.world.log[own + 1 : own + 3]
    assert after == ["h: read", "h/g1: read"]


def test_all_else_in_the_guest_comes_after_it(bench):
    bench.apply()
    did = [line for line in bench.did() if line.startswith("h/g1: set on")]
    assert did == ["h/g1: set on first", "h/g1: set on another.a", "h/g1: set on thing.a"]


def test_what_fails_in_the_guest_is_taken_back_on_the_host(bench):
    bench.world.fails = {"set on first"}
    assert bench.apply().exit is Exit.ERROR
    back = [line for line in bench.did() if "set unseen" in line or "set off" in line]
    assert back == ["h/g1: set unseen", "h: set off thing.told"]


def test_what_cannot_be_taken_back_on_the_host_is_told_with_both_machines(bench):
    bench.world.fails = {"set on first", "set unseen"}
    hints = [one.hint for one in bench.apply().diagnostics if one.code == "CXE212"]
    assert hints == ["on h/g1: set unseen; then on h: set off thing.told"]


def test_what_has_nothing_above_it_does_it_itself(bench):
    bench = Bench(World(), {"first": Wish()})
    assert bench.apply().exit is Exit.IN_SYNC
    assert "h: set told thing.told" in bench.did()


def test_what_is_done_on_the_host_and_in_the_guest_is_not_run_together():
    plans = [
        ResourcePlan(
            ScopedAddress("h/g1", Address("thing", name)),
            Resource(Address("thing", name), Wish()),
            Status.CHANGE,
            Exit.CHANGES,
            actions=(Action(f"set {name}", Run(("set", "on"), (name,)), on_parent=on_parent),),
        )
        for name, on_parent in (("a", False), ("b", True), ("c", False))
    ]
    assert [plan.at.address.name for plan in group(plans)] == ["a", "c"]


def test_what_the_host_could_not_perform_is_known_before(bench, monkeypatch):
    def lacks(machine, effect):
        on_host = machine.machine == "h" and effect is Run
        return Diagnostic("CXC501", "it is not here") if on_host else None

    monkeypatch.setattr(FakeMachine, "lacks", lacks)
    plan = bench.plan()
    first = next(one for one in plan.resources if str(one.at) == "h/g1:first")
    assert [one.code for one in first.errors] == ["CXC501"]
