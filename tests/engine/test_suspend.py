"""What the engine puts around an action that nobody's memory may be in use for; and what is left over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cxlstate.core.action import Action, Risk, Run, Span, Step
from cxlstate.core.address import Address, AllOf, ScopedAddress
from cxlstate.core.consent import Consents
from cxlstate.core.diagnostic import CxlstateError, Diagnostic, fail
from cxlstate.core.observation import Unknown
from cxlstate.core.reconciler import How, Need, Resource
from cxlstate.engine.execute import Executor
from cxlstate.engine.plan import Exit, ResourcePlan, Status
from cxlstate.engine.turns import group, todo
from cxlstate.machine.outcome import Outcome, Result
from tests.assessing import answering
from tests.engine.fake_host import MAPPED, STATE, Bench, Host, Killed, everything, step
from tests.engine.fakes import Wish, World, addresses
from tests.fragments import NONE

CXL0 = (0, 100)
COVER = (("lo", "hi"), Span(0, 128))
WISHES = {"dax.cxl0": CXL0, "mtrr.cxl0": COVER}
RIGHT_TABLE = ["dax cxl0", "mtrr cxl0"]
DANCE = ["vm-stop vm", "dax-unbind cxl0", "mtrr-add lo", "mtrr-add hi", "dax-bind cxl0", "vm-start vm"]


def in_use(**more):
    """The runbook's wrong order: bound before the registers were written, and held by a running VM."""
    return Host(vms={"vm": True}, holds={"vm": ["cxl0"]}, table=list(RIGHT_TABLE), **more)


def converged(bench):
    host = bench.host
    return bench.plan().exit is Exit.IN_SYNC and host.dax["cxl0"] and host.types["cxl0"] == "uncached-minus"


def acting(bench, kind, edit):
    """A kind that does other things than it would."""
    bench.kinds[kind] = answering(
        bench.kinds[kind], lambda found: replace(found, actions=edit(*found.actions))
    )


def words(actions):
    return [" ".join(action.effect.words) for action in actions]


# The plan --------------------------------------------------------------------------------------------


def test_the_plan_shows_every_step_in_order_with_its_risk_and_for_whom():
    plan = Bench(WISHES, in_use()).at("mtrr.cxl0")
    assert words(everything(plan)) == DANCE
    assert plan.risks == (Risk.RESTART_VM,)
    whys = list(dict.fromkeys(action.why for action in everything(plan)))
    assert whys == [
        "mtrr.cxl0 changes, and dax.cxl0 must not be in use meanwhile",
        "",
        "restores dax.cxl0 after the change of mtrr.cxl0",
    ]


def test_neighbours_under_the_same_suspension_share_one_and_others_have_their_own():
    wishes = {**WISHES, "mtrr.far": (("far",), Span(1000, 1100))}
    bench = Bench(wishes, in_use())
    assert bench.runs("mtrr.cxl0") == DANCE
    assert bench.runs("mtrr.far") == ["mtrr-add far"]


def test_a_step_between_that_needs_no_suspension_is_done_while_the_device_is_in_use():
    """The VM is away once, for all of it."""
    bench = Bench(WISHES, in_use())
    plain = step("note", "note")
    acting(bench, "mtrr", lambda lo, hi: (lo, plain, hi))
    assert bench.runs("mtrr.cxl0") == [*DANCE[:3], DANCE[4], "note", DANCE[1], *DANCE[3:]]


def test_what_is_not_in_use_is_not_suspended_and_nobody_is_asked_to_resume_it():
    bench = Bench(WISHES, Host(dax={"cxl0": False}))
    assert bench.runs("mtrr.cxl0") == ["mtrr-add lo", "mtrr-add hi"]
    assert bench.at("mtrr.cxl0").risks == ()


def test_what_is_proven_absent_holds_nothing_wherever_it_may_come():
    assert Bench({**WISHES, "dax.cxl0": None}, Host(dax={})).runs("mtrr.cxl0") == [
        "mtrr-add lo",
        "mtrr-add hi",
    ]


def test_a_vm_that_holds_two_devices_is_stopped_once_and_started_when_both_are_back():
    host = in_use()
    host.dax["cxl1"], host.types["cxl1"] = True, "write-back"
    host.holds["vm"], host.vms["other"], host.holds["other"] = ["cxl0", "cxl1"], True, ["cxl1"]
    bench = Bench({**WISHES, "dax.cxl1": (100, 200)}, host)
    assert bench.runs("mtrr.cxl0") == [
        "vm-stop vm",
        "vm-stop other",
        "dax-unbind cxl1",
        "dax-unbind cxl0",
        "mtrr-add lo",
        "mtrr-add hi",
        "dax-bind cxl0",
        "dax-bind cxl1",
        "vm-start vm",
        "vm-start other",
    ]
    assert bench.apply("restart-vm").exit is Exit.IN_SYNC
    assert host.vms == {"vm": True, "other": True}
    assert bench.machine.wrong == []


def test_who_acts_on_its_own_memory_sees_to_itself():
    bench = Bench(WISHES, in_use(registers=["lo", "hi"]))
    assert bench.runs("dax.cxl0") == [*DANCE[:2], *DANCE[4:]]
    acting(bench, "dax", lambda *all_: tuple(replace(one, suspends=(Span(0, 128),)) for one in all_))
    assert bench.runs("dax.cxl0") == [*DANCE[:2], *DANCE[4:]]


def test_an_activation_keeps_its_suspension_to_itself():
    """It is not done with the rest, whatever it is done under."""
    bench = Bench(WISHES, in_use())
    acting(bench, "mtrr", lambda lo, hi: (lo, replace(hi, activation=True)))
    plan = bench.at("mtrr.cxl0")
    assert words(todo(plan)) == [*DANCE[1:3], DANCE[4]]
    assert words(plan.actions) == [*DANCE[1:3], DANCE[4], DANCE[1], *DANCE[3:5]]


# Refusals --------------------------------------------------------------------------------------------


def test_a_holder_that_cannot_be_suspended_blocks_with_its_own_words_at_the_one_that_acts():
    host = Host(processes={"cxl0": "python3 (process 7)"}, table=list(RIGHT_TABLE))
    bench = Bench(WISHES, host)
    plan = bench.at("mtrr.cxl0")
    assert (plan.status.value, plan.exit) == ("blocked", Exit.ERROR)
    (told,) = plan.diagnostics
    assert (told.code, told.address, told.path) == ("CXX306", Address("mtrr", "cxl0"), ())
    assert plan.reason == told.message == "cxl0 is held by python3 (process 7)"
    assert bench.runs("mtrr.cxl0") == ["mtrr-add lo", "mtrr-add hi"]
    assert bench.apply("restart-vm").exit is Exit.ERROR
    assert bench.machine.log == []


@pytest.mark.parametrize("place", [CXL0, None], ids=["placed", "somewhere"])
def test_who_cannot_be_told_is_not_worked_under(place):
    host = in_use(unreadable=["dax.cxl0"])
    plan = Bench({**WISHES, "dax.cxl0": place}, host).at("mtrr.cxl0")
    assert (plan.status.value, plan.exit, addresses(plan.waits_for)) == (
        "blocked",
        Exit.UNKNOWN,
        (Address("dax", "cxl0"),),
    )


@pytest.mark.parametrize("place", [CXL0, None], ids=["placed", "somewhere"])
def test_unknown_blocks_also_one_that_knows_nothing_of_it(place):
    host = in_use(unreadable=["dax.cxl0"])
    bench = Bench({**WISHES, "dax.cxl0": place}, host)
    bench.kinds["mtrr"].needs = lambda me: ()
    plan = bench.at("mtrr.cxl0")
    assert (plan.status.value, plan.exit) == ("blocked", Exit.UNKNOWN)
    assert plan.reason == "whether dax.cxl0 is in use cannot be told now"


def test_who_knows_of_one_that_is_about_to_be_told_takes_the_exit_of_what_cures_it():
    wishes = {"a.x": Wish(), "b.y": Wish(), "c.z": Wish(needs=(Need(AllOf("b"), How.KNOWS),))}
    unknown = Unknown("no such tool", cured_by=(AllOf("a"),))
    c = World(wishes, {"b.y": unknown}).plan().at(Address("c", "z"))
    assert (c.status.value, c.exit) == ("blocked", Exit.CHANGES)
    c = World(wishes, {"a.x": "on", "b.y": unknown}).plan().at(Address("c", "z"))
    assert (c.status.value, c.exit) == ("blocked", Exit.UNKNOWN)


def test_unknown_elsewhere_blocks_nobody():
    host = in_use(unreadable=["dax.far"])
    bench = Bench({**WISHES, "dax.far": (1000, 1100)}, host)
    bench.kinds["mtrr"].needs = lambda me: ()
    assert bench.runs("mtrr.cxl0") == DANCE
    assert bench.at("mtrr.cxl0").status.value == "change"


# Doing -----------------------------------------------------------------------------------------------


def test_without_consent_it_is_refused_and_nothing_is_done():
    bench = Bench(WISHES, in_use())
    applied = bench.apply()
    assert applied.exit is Exit.REFUSED
    assert applied.refused == {ScopedAddress("m", Address("mtrr", "cxl0")): (Risk.RESTART_VM,)}
    assert bench.machine.log == []


def test_with_consent_it_is_done_in_order_once():
    bench = Bench(WISHES, in_use())
    assert bench.apply("restart-vm=m/mtrr.cxl0").exit is Exit.IN_SYNC
    assert bench.machine.log == DANCE
    assert bench.machine.wrong == []
    assert bench.host.vms == {"vm": True}
    assert converged(bench)


@pytest.mark.parametrize("failing", DANCE[:4])
def test_a_failure_in_the_middle_puts_everything_back(failing):
    bench = Bench(WISHES, in_use(), fails=(failing,))
    applied = bench.apply("restart-vm")
    assert applied.exit is Exit.ERROR
    assert [d.code for d in applied.diagnostics] == ["CXE203"]
    assert bench.host.registers == []
    assert bench.host.dax == {"cxl0": True}
    assert bench.host.vms == {"vm": True}
    assert bench.machine.wrong == []


@pytest.mark.parametrize(("failing", "registers"), [("dax-bind cxl0", []), ("vm-start vm", ["lo", "hi"])])
def test_what_fails_once_on_the_way_back_is_undone_to_what_was_before(failing, registers):
    """The way of undoing takes the same steps: here they succeed the second time.

    A VM that starts at the second try only undoes nothing of those that are done.
    """
    bench = Bench(WISHES, in_use())
    perform = bench.machine.perform

    def once(effect, entry):
        bench.machine.fails = (failing,) if failing not in bench.machine.log else ()
        return perform(effect, entry)

    bench.machine.perform = once
    assert bench.apply("restart-vm").exit is Exit.ERROR
    assert bench.host.registers == registers
    assert bench.host.dax == {"cxl0": True}
    assert bench.host.vms == {"vm": True}
    assert bench.machine.wrong == []


@pytest.mark.parametrize(
    ("failing", "left"),
    [
        ("vm-start vm", [("stop vm", "vm-start vm")]),
        ("dax-bind cxl0", [("unbind cxl0", "dax-bind cxl0"), ("stop vm", "vm-start vm")]),
    ],
)
def test_an_undo_that_fails_ends_the_way_back_and_tells_what_is_left_and_what_mends_it(failing, left):
    """A VM must not be started on a device that could not be bound again."""
    bench = Bench(WISHES, in_use(), fails=("mtrr-add hi", failing))
    applied = bench.apply("restart-vm")
    assert applied.exit is Exit.ERROR
    told = [(d.found, d.hint) for d in applied.diagnostics if d.code == "CXE212"]
    assert told == [(f"still done: {does}\nit did not work", f"on m: {by_hand}") for does, by_hand in left]
    assert applied.diagnostics[0].code == "CXE203"
    assert bench.host.vms == {"vm": False}


def test_a_vm_that_was_stopped_for_it_comes_back_also_where_the_action_was_only_refused():
    bench = Bench(WISHES, in_use())
    perform = bench.machine.perform

    def refuse(effect, entry):
        return Outcome(Result.REFUSED) if effect.words[0] == "dax-unbind" else perform(effect, entry)

    bench.machine.perform = refuse
    (told,) = bench.apply("restart-vm").diagnostics
    assert told.code == "CXE207"
    assert bench.machine.log == ["vm-stop vm", "vm-start vm"]
    assert bench.host.vms == {"vm": True}


def test_an_undo_that_fails_is_an_error_also_where_the_action_was_only_refused():
    bench = Bench(WISHES, in_use(), fails=("vm-start vm",))
    perform = bench.machine.perform

    def refuse(effect, entry):
        return Outcome(Result.REFUSED) if effect.words[0] == "dax-unbind" else perform(effect, entry)

    bench.machine.perform = refuse
    applied = bench.apply("restart-vm")
    assert applied.exit is Exit.ERROR
    assert [d.code for d in applied.diagnostics] == ["CXE203", "CXE212", "CXE207"]


def test_a_connection_that_is_lost_on_the_way_back_hides_neither_the_failure_nor_what_is_left():
    bench = Bench(WISHES, in_use(), fails=("mtrr-add hi",))
    perform = bench.machine.perform

    def lose(effect, entry):
        if effect.words[0] == "dax-bind":
            raise fail("CXC303", "connection lost")
        return perform(effect, entry)

    bench.machine.perform = lose
    with pytest.raises(CxlstateError) as lost:
        bench.apply("restart-vm")
    assert [d.code for d in lost.value.diagnostics] == ["CXE203", "CXE212", "CXC303", "CXE261"]
    assert lost.value.diagnostics[1].found == "still done: unbind cxl0"
    assert lost.value.diagnostics[3].hint == "on m: start vm"


def test_the_effects_of_one_undo_run_as_they_are_written_and_the_actions_from_last_to_first():
    bench = Bench(WISHES, Host(), fails=("dax-bind third",))
    actions = [
        step("first", "dax-bind", "first", undo=[("dax-bind", "1a"), ("dax-bind", "1b")]),
        step("second", "dax-bind", "second", undo=[("dax-bind", "2a"), ("dax-bind", "2b")]),
        step("third", "dax-bind", "third", undo=[("dax-bind", "3")]),
    ]
    plan = replace(bench.at("mtrr.cxl0"), actions=tuple(actions))
    (done,) = Executor(bench.machine, bench.machine, "run", "m", Consents()).execute([plan])
    back = [words.removeprefix("dax-bind ") for words in bench.machine.log[3:]]
    assert back == ["2a", "2b", "1a", "1b"]
    assert not done.half_done
    assert done.diagnostics[0].hint.endswith("; taken back: second, first")


def test_an_undo_is_journalled_as_what_it_is_and_may_have_words_and_a_subject_of_its_own():
    bench = Bench(WISHES, Host(), fails=("dax-bind third",))
    back = Action(
        "let go", Step(NONE, ("dax-bind", "back"), "x"), Risk.RESTART_VM, interrupts=Address("vm", "v")
    )
    actions = (
        replace(step("first", "dax-bind", "first"), undo=(back,)),
        step("third", "dax-bind", "third"),
    )
    perform, told = bench.machine.perform, []

    def listen(effect, entry):
        told.append((entry.does, entry.risk))
        return perform(effect, entry)

    bench.machine.perform = listen
    plan = replace(bench.at("mtrr.cxl0"), actions=actions)
    Executor(bench.machine, bench.machine, "run", "m", Consents()).execute([plan])
    assert told == [("first", "live"), ("third", "live"), ("undo first: let go", "restart-vm")]


@pytest.mark.parametrize("after", range(len(DANCE) + 1))
def test_killed_between_the_next_apply_converges_from_what_it_finds(after):
    bench = Bench(WISHES, in_use(), killed_after=after)
    try:
        bench.apply("restart-vm")
    except Killed:
        assert after < len(DANCE)
    bench.machine.killed_after = None
    assert bench.apply("restart-vm").exit is Exit.IN_SYNC
    assert converged(bench)
    assert bench.machine.wrong == []


def test_one_that_suspends_is_never_run_together_with_another():
    """Actions that are run together have no undo of their own."""

    def plan(name, *spans):
        action = Action("set", Run(("set",), (name,)), suspends=spans)
        at = ScopedAddress("m", Address("a", name))
        return ResourcePlan(at, Resource(at.address, None), Status.CHANGE, Exit.CHANGES, actions=(action,))

    span = Span(0, 100)
    assert len(group([plan("x"), plan("y")])) == 2
    assert len(group([plan("x", span), plan("y", span)])) == 1
    assert len(group([plan("x"), plan("y", span)])) == 1


# Lacking -----


def test_what_this_computer_lacks_is_told_of_all_that_needs_it_before_anything_is_done():
    """Also of what is blocked: the boot script waits for the register."""
    bench = Bench(WISHES, Host(vms={"vm": True}, holds={"vm": ["cxl0"]}))
    missing = Diagnostic("CXC501", "networks and VMs need libvirt-python")
    bench.machine.lacks = lambda effect: missing if effect is Step else None
    plan = bench.plan()
    assert {str(one.address): one.status.value for one in plan.resources} == {
        "mtrr.cxl0": "blocked",
        "dax.cxl0": "in-sync",
        "boot": "blocked",
    }
    assert [(d.code, str(d.address)) for d in plan.all_diagnostics] == [
        ("CXC501", "mtrr.cxl0"),
        ("CXC501", "boot"),
    ]
    assert plan.exit is Exit.ERROR
    assert bench.apply("restart-vm").exit is Exit.ERROR
    assert bench.machine.log == []


# Awaiting --------------------------------------------------------------------------------------------


def test_who_awaits_is_blocked_until_it_is_in_force_and_is_told_nothing():
    a, b = Address("a", "x"), Address("b", "y")
    wishes = {
        "a.x": Wish(needs=(Need(AllOf("b"), How.KNOWS),)),
        "b.y": Wish(needs=(Need(AllOf("a"), How.AWAITS),), tells=("k=1",)),
    }
    plan = World(wishes).plan()
    assert [(str(r.address), r.status.value) for r in plan.resources] == [
        ("a.x", "change"),
        ("b.y", "blocked"),
    ]
    assert addresses(plan.at(b).waits_for) == (a,)
    wanted = World({**wishes, "a.x": Wish(tells=("other",))}, {"a.x": "on"}).plan().at(b).wanted
    assert wanted == World(wishes, {"a.x": "on"}).plan().at(b).wanted
    assert World(wishes, {"a.x": "on"}).statuses() == {"a.x": "in-sync", "b.y": "change"}


def test_a_target_takes_along_what_it_awaits():
    bench = Bench({**WISHES, "mtrr.other": (("far",), Span(1000, 1100))}, in_use())
    plan = bench.plan(frozenset({Address("dax", "cxl0")}))
    assert [str(r.address) for r in plan.resources] == ["mtrr.cxl0", "mtrr.other", "dax.cxl0"]


# Leftovers -------------------------------------------------------------------------------------------


def with_leftover(**more):
    host = in_use(registers=["old"], **more)
    host.types["cxl0"] = "uncached-minus"
    host.table = [*RIGHT_TABLE[:1], "mtrr old"]
    return host


def test_a_leftover_comes_first_is_suspended_for_and_needs_the_consent():
    bench = Bench({"dax.cxl0": CXL0}, with_leftover())
    assert str(bench.plan().resources[0].address) == "mtrr.old"
    old = bench.at("mtrr.old")
    assert words(everything(old)) == [*DANCE[:2], "mtrr-remove old", *DANCE[4:]]
    assert old.risks == (Risk.RESTART_VM,)
    applied = bench.apply()
    assert applied.exit is Exit.REFUSED
    assert bench.machine.log == []


def test_who_gathers_waits_for_the_leftover_and_forgets_it_only_then():
    bench = Bench({"dax.cxl0": CXL0}, with_leftover())
    boot = bench.at("boot")
    assert (boot.status.value, addresses(boot.waits_for)) == ("blocked", (Address("mtrr", "old"),))
    assert bench.apply("restart-vm").exit is Exit.IN_SYNC
    assert bench.machine.log == [*DANCE[:2], "mtrr-remove old", DANCE[4], "write-table dax cxl0", DANCE[5]]
    assert bench.host.table == ["dax cxl0"]


def test_a_leftover_that_could_not_be_taken_away_is_not_forgotten():
    bench = Bench({"dax.cxl0": CXL0}, with_leftover(), fails=("mtrr-remove old",))
    assert bench.apply("restart-vm").exit is Exit.ERROR
    assert "mtrr old" in bench.host.table
    assert bench.host.vms == {"vm": True}


def test_killed_on_the_way_of_a_leftover_it_is_still_known():
    for after in range(6):
        bench = Bench({"dax.cxl0": CXL0}, with_leftover(), killed_after=after)
        with pytest.raises(Killed):
            bench.apply("restart-vm")
        bench.machine.killed_after = None
        assert bench.apply("restart-vm").exit is Exit.IN_SYNC
        assert bench.host.registers == []
        assert bench.host.table == ["dax cxl0"]


def test_with_a_target_leftovers_stay_and_who_gathers_does_not_forget_them():
    bench = Bench({"dax.cxl0": CXL0}, with_leftover())
    plan = bench.plan(frozenset({Address("boot")}))
    assert [(str(r.address), r.status.value) for r in plan.resources] == [
        ("dax.cxl0", "in-sync"),
        ("boot", "blocked"),
    ]


def test_a_leftover_under_a_holder_that_cannot_be_suspended_is_blocked_and_so_is_who_gathers():
    bench = Bench({"dax.cxl0": CXL0}, with_leftover(processes={"cxl0": "fio (process 9)"}))
    plan = bench.plan()
    assert plan.at(Address("mtrr", "old")).exit is Exit.ERROR
    assert (plan.at(Address("boot")).status.value, plan.at(Address("boot")).exit) == ("blocked", Exit.ERROR)


def test_a_leftover_of_a_kind_that_cannot_be_told_is_not_planned_and_not_forgotten():
    host = with_leftover(unreadable=["mtrr.cxl0"])
    bench = Bench(WISHES, host)
    assert bench.at("mtrr.old") is None
    assert (bench.at("boot").status.value, bench.at("boot").exit) == ("blocked", Exit.UNKNOWN)


def test_leftovers_that_cannot_be_read_are_not_forgotten():
    bench = Bench({"dax.cxl0": CXL0}, with_leftover(unreadable=["leftovers"]))
    boot = bench.at("boot")
    assert (boot.status.value, boot.exit) == ("blocked", Exit.UNKNOWN)
    assert boot.reason == "what an earlier spec left of mtrr cannot be told: /not/asked/for was not asked for"
    assert bench.apply("restart-vm").exit is Exit.UNKNOWN
    assert bench.machine.log == []


def test_a_leftover_without_anything_to_do_is_told_and_goes_with_who_gathers():
    host = with_leftover()
    host.registers = []
    host.types["cxl0"] = "write-back"
    bench = Bench({"dax.cxl0": CXL0}, host)
    plan = bench.plan()
    old = plan.at(Address("mtrr", "old"))
    assert (old.status.value, addresses(old.waits_for), old.exit) == (
        "blocked",
        (Address("boot"),),
        Exit.CHANGES,
    )
    assert plan.resources[0] is old
    assert plan.all_diagnostics == ()
    assert bench.apply().exit is Exit.IN_SYNC
    assert bench.machine.log == ["write-table dax cxl0"]


# What `show` asks for ----------------------------------------------------------------------------------


def test_a_closer_look_and_more_are_asked_only_when_wanted():
    bench = Bench(WISHES, in_use())
    assert bench.plan().on("m").answers is None
    assert MAPPED not in bench.machine.asked
    plan = bench.plan(closer=True).on("m")
    assert MAPPED in bench.machine.asked
    assert plan.answers is None
    plan = bench.plan(more=(MAPPED,)).on("m")
    assert plan.answers.text(MAPPED) == "mapped and read"
    assert plan.answers.text(STATE)
    assert "answers" not in repr(plan)
    assert isinstance(bench.at("mtrr.cxl0").actions[0].effect, Step)
