"""The judgement of the planner, one rule a test. Kinds are data; no machine is near."""

from __future__ import annotations

import pytest

from cxlstate.core.action import Risk
from cxlstate.core.address import Address, AllOf
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import CxlstateError, Diagnostic
from cxlstate.core.observation import Unknown
from cxlstate.core.reconciler import How, Leftover, Need
from cxlstate.engine.plan import Exit
from cxlstate.engine.record import Record
from tests.engine.fakes import Fake, FakeGatherer, Wish, World, addresses

A, B = Address("a", "x"), Address("b", "y")


def requires(target):
    return Wish(needs=(Need(target, How.REQUIRES),))


def after(target, **more):
    return Wish(needs=(Need(target, How.AFTER),), **more)


def test_what_is_as_wished_is_in_sync_and_exits_0():
    world = World({"a.x": Wish()}, {"a.x": "on"})
    assert world.statuses() == {"a.x": "in-sync"}
    assert world.plan().exit is Exit.IN_SYNC


def test_what_requires_a_change_is_blocked_shows_its_own_change_and_takes_its_exit():
    plan = World({"b.y": requires(A), "a.x": Wish()}).plan()
    b = plan.at(B)
    assert (b.status.value, addresses(b.waits_for), b.exit) == ("blocked", (A,), Exit.CHANGES)
    assert b.changes
    assert b.actions
    assert [r.address for r in plan.resources] == [A, B]


def test_what_comes_after_a_change_is_not_blocked_by_it():
    assert World({"b.y": after(A), "a.x": Wish()}).statuses() == {"a.x": "change", "b.y": "change"}


def test_a_difference_without_action_waits_for_what_comes_before():
    world = World({"b.y": after(A, no_action=True), "a.x": Wish()})
    assert world.statuses()["b.y"] == "blocked"


def test_a_difference_that_nothing_closes_is_an_error_and_not_a_change_for_ever():
    plan = World({"b.y": after(A, no_action=True), "a.x": Wish()}, {"a.x": "on"}).plan()
    assert plan.exit is Exit.ERROR
    assert [d.code for d in plan.all_diagnostics] == ["CXE130"]


def test_unknown_is_not_absent_nothing_is_planned_on_it_and_what_requires_it_exits_5():
    plan = World({"a.x": Wish(), "b.y": requires(A)}, {"a.x": Unknown("no permission")}).plan()
    assert plan.at(A).status.value == "unknown"
    assert plan.at(A).actions == plan.at(A).changes == ()
    assert (plan.at(B).status.value, plan.at(B).exit) == ("blocked", Exit.UNKNOWN)
    assert plan.exit is Exit.UNKNOWN


def test_unknown_that_a_coming_change_cures_is_blocked_and_planned_as_absent():
    cured = Unknown("no such tool", cured_by=(AllOf("a"),))
    plan = World({"a.x": Wish(), "b.y": after(A)}, {"b.y": cured}).plan()
    assert (plan.at(B).status.value, addresses(plan.at(B).waits_for), plan.exit) == (
        "blocked",
        (A,),
        Exit.CHANGES,
    )
    assert plan.at(B).changes


def test_unknown_whose_cure_is_in_force_already_stays_unknown():
    cured = Unknown("no such tool", cured_by=(AllOf("a"),))
    assert World({"a.x": Wish(), "b.y": after(A)}, {"a.x": "on", "b.y": cured}).statuses()["b.y"] == "unknown"


def test_an_error_found_on_the_machine_stops_its_resource_and_exits_1():
    plan = World({"a.x": Wish(error="this range is no RAM")}).plan()
    assert (plan.at(A).status.value, plan.exit) == ("blocked", Exit.ERROR)
    assert plan.at(A).reason == "this range is no RAM"


@pytest.mark.parametrize("seen", ["error", "unknown"])
def test_who_gathers_does_nothing_while_one_of_those_it_gathers_from_cannot_be_told(seen):
    """To leave a contribution out would take it away from the machine."""
    gatherer = FakeGatherer("g")
    gatherer.needs = lambda me: (Need(AllOf("a"), How.KNOWS),)
    wish = Wish(tells=("memmap=1G!4G",), error="not RAM" if seen == "error" else None)
    world = World({"a.x": wish, "g": None}, {"g": "", "a.x": Unknown("?") if seen == "unknown" else "on"})
    world.kinds["g"] = gatherer
    world.implied = frozenset({Address("g")})
    plan = world.plan()
    assert plan.at(Address("g")).status.value == "blocked"
    assert plan.exit is (Exit.ERROR if seen == "error" else Exit.UNKNOWN)


def test_what_is_known_to_be_wrong_is_told_of_what_is_unknown_too():
    wish = after(B, known="no such CPU")
    cured = {"a.x": Unknown("libvirt is not installed", (B,))}
    plan = World({"a.x": wish, "b.y": Wish()}, cured).plan()
    one = plan.at(A)
    assert (one.status.value, one.exit, one.reason) == ("blocked", Exit.ERROR, "no such CPU")
    assert [problem.code for problem in plan.all_diagnostics] == ["CXX002"]
    alone = World({"a.x": wish}, cured).plan().at(A)
    assert (alone.status.value, alone.exit) == ("unknown", Exit.ERROR)
    assert alone.reason == "libvirt is not installed"


def test_what_only_all_of_a_kind_show_is_told_of_each_and_stops_it():
    world = World({"a.x": Wish(), "a.y": Wish(), "b.y": Wish()})
    world.kinds["a"] = kind = Fake("a")
    kind.together = lambda assessed, *, whole: [Diagnostic("CXX003", "both", address=one) for one in assessed]
    plan = world.plan()
    found = [(one.code, str(one.address)) for one in plan.all_diagnostics]
    assert found == [("CXX003", "a.x"), ("CXX003", "a.y")]
    assert world.statuses() == {"a.x": "blocked", "a.y": "blocked", "b.y": "change"}


def test_the_implied_is_hidden_where_it_has_nothing_to_do_and_shown_where_it_has():
    gatherer = FakeGatherer("g")
    gatherer.needs = lambda me: (Need(AllOf("a"), How.KNOWS),)
    world = World(
        {"a.x": Wish(), "g": None}, {"a.x": "on", "g": ""}, {"g": gatherer}, frozenset({Address("g")})
    )
    assert world.statuses() == {"a.x": "in-sync"}
    world.seen["g"] = "left by an earlier spec"
    assert world.statuses() == {"a.x": "in-sync", "g": "change"}


def test_only_activation_left_is_pending_and_exits_3():
    plan = World({"a.x": Wish(pending=True, risk=Risk.REBOOT_HOST)}).plan()
    assert (plan.at(A).status.value, plan.exit) == ("pending-reboot", Exit.PENDING)
    assert World({"a.x": Wish(pending=True, risk=Risk.RESTART_VM)}).statuses() == {"a.x": "pending-restart"}


@pytest.mark.parametrize(
    ("wanted", "cause"), [("same", "drifted"), ("another", "unapplied"), (None, "undetermined")]
)
def test_drifted_is_told_from_unapplied_by_what_was_applied_last(wanted, cause):
    world = World({"a.x": Wish()}, records={})
    now = world.plan().at(A).wanted
    world.records = {A: Record(now if wanted == "same" else wanted)} if wanted else {}
    assert world.plan().at(A).cause.value == cause


def test_a_leftover_is_a_change_and_is_not_shown_with_a_target():
    world = World({"a.x": Wish()}, {"a.x": "on"})
    world.leftovers = {B: Leftover("y", (Change((), "there", None),), ())}
    assert world.statuses() == {"a.x": "in-sync", "b.y": "change"}
    assert world.statuses(frozenset({A})) == {"a.x": "in-sync"}


def test_a_target_takes_along_what_it_needs_and_nothing_else():
    world = World({"b.y": requires(A), "a.x": Wish(), "c.z": Wish()})
    assert set(world.statuses(frozenset({B}))) == {"a.x", "b.y"}


@pytest.mark.parametrize(
    ("only", "told"),
    [
        (None, ("whole", ["a.x", "a.y", "a.z"])),
        ({A}, ("partial", ["a.x"])),
        ({A, Address("a", "z")}, ("partial", ["a.x", "a.z"])),
    ],
)
def test_judged_together_are_those_that_are_done_in_the_same_run(only, told):
    """What a target leaves alone frees nothing that another could count on."""
    seen = []

    class Comparing(Fake):
        def together(self, assessed, *, whole=True):
            seen.append(("whole" if whole else "partial", sorted(map(str, assessed))))
            return ()

    wishes = {f"a.{name}": Wish() for name in "xyz"}
    World(wishes, kinds={"a": Comparing("a")}).plan(frozenset(only) if only else None)
    assert seen == [told]


def test_the_worst_exit_is_told():
    plan = World({"a.x": Wish(), "b.y": Wish()}, {"b.y": Unknown("?")}).plan()
    assert plan.exit is Exit.UNKNOWN
    assert plan.summary["change"] == plan.summary["unknown"] == 1


def test_needs_in_a_circle_are_an_error_with_a_code():
    world = World({"a.x": requires(B), "b.y": requires(A)})
    with pytest.raises(CxlstateError, match="CXE120"):
        world.plan()


def test_five_hundred_that_come_after_five_hundred_are_ordered_with_few_edges():
    world = World({f"b.{i}": after(AllOf("a")) for i in range(500)} | {f"a.{i}": Wish() for i in range(500)})
    order = [r.address.kind for r in world.plan().resources]
    assert order == ["a"] * 500 + ["b"] * 500
    assert isinstance(world.kinds["a"], Fake)
