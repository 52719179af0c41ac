"""A host and its guests: what is read when, what is planned unseen, and what is done in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click import unstyle

from cxlstate.core.address import Address
from cxlstate.core.assessment import Derived, Later
from cxlstate.core.guest import HostKey
from cxlstate.engine.plan import Exit, Reach
from cxlstate.formats import host_keys
from cxlstate.render.plan_text import body_text
from cxlstate.render.terminal import drift_text, live_text
from tests.engine.fake_tree import Bench, Vm, VmWish, Wish, World, at, of_vm

G1 = "h/g1"


def statuses(plan):
    return {str(one.at): one.status.value for one in plan.resources}


def test_a_guest_is_read_after_its_host_and_both_have_their_plan():
    world = World(vms={"g1": Vm()})
    bench = Bench(world, {"vm.g1": VmWish(), "thing.a": Wish()}, g1={"thing.a": Wish()})
    plan = bench.plan()
    assert world.log == ["h: read", "h/g1: read"]
    assert statuses(plan) == {"h/thing.a": "change", "h/vm.g1": "in-sync", "h/g1:thing.a": "change"}
    assert [one.machine.id for one in plan.machines] == ["h", G1]


def test_host_first_then_guest_with_a_lock_each():
    bench = Bench(World(vms={"g1": Vm()}), {"vm.g1": VmWish(), "thing.a": Wish()}, g1={"thing.a": Wish()})
    assert bench.apply().exit is Exit.IN_SYNC
    assert bench.did() == [
        "h: lock",
        "h: set on thing.a",
        "h/g1: lock",
        "h/g1: set on thing.a",
        "h/g1: unlock",
        "h: unlock",
    ]


def test_a_turn_reads_only_what_it_touched_and_the_end_reads_all_once_more():
    world = World(vms={"g1": Vm(), "g2": Vm()})
    bench = Bench(
        world, {"vm.g1": VmWish(), "vm.g2": VmWish()}, g1={"thing.a": Wish()}, g2={"thing.a": Wish("x")}
    )
    world.things["h/g2"] = {"thing.a": "x"}
    assert bench.apply().exit is Exit.IN_SYNC
    assert world.log.count("h/g2: read") == 2


def test_a_guest_whose_vm_is_still_to_be_made_is_planned_as_if_nothing_were_there_and_done_in_one_apply():
    bench = Bench(World(), {"vm.g1": VmWish()}, g1={"thing.a": Wish(), "thing.b": Wish(needs=(of_vm("g1"),))})
    plan = bench.plan()
    assert plan.on(G1).reached.how is Reach.OFF
    assert statuses(plan) == {"h/vm.g1": "change", "h/g1:thing.a": "blocked", "h/g1:thing.b": "blocked"}
    assert all(one.changes and one.waits_for == (at("vm.g1"),) for one in plan.on(G1).resources)
    assert plan.exit is Exit.CHANGES
    assert bench.apply().exit is Exit.IN_SYNC
    assert "h/g1: set on thing.a" in bench.did()


def test_of_a_guest_that_is_off_and_will_run_nothing_is_guessed():
    bench = Bench(World(vms={"g1": Vm(active=None)}), {"vm.g1": VmWish()}, g1={"thing.a": Wish()})
    plan = bench.plan()
    (one,) = plan.on(G1).resources
    assert (one.status.value, one.changes, one.waits_for) == ("blocked", (), (at("vm.g1"),))
    assert one.reason == "read once vm.g1 runs"
    assert plan.exit is Exit.CHANGES
    assert "h/g1  off  read once vm.g1 runs" in drift_text([plan]).splitlines()
    assert live_text(plan.on(G1), plan.tree.file).endswith("  off: read once vm.g1 runs")


def test_a_guest_that_is_off_and_is_to_be_off_has_nothing_to_do():
    world = World(vms={"g1": Vm(active=None)})
    bench = Bench(world, {"vm.g1": VmWish(runs=False)}, g1={"thing.a": Wish()})
    assert bench.plan().exit is Exit.IN_SYNC
    assert bench.apply().exit is Exit.IN_SYNC
    assert bench.did() == ["h: lock", "h: unlock"]


@pytest.mark.parametrize(("how", "exit_"), [("silent", Exit.UNKNOWN), ("refused", Exit.ERROR)])
def test_a_guest_that_cannot_be_read_keeps_nobody_else_from_the_plan(how, exit_):
    world = World(vms={"g1": Vm(), "g2": Vm()}, **{how: {"g1"}})
    host = {"vm.g1": VmWish(), "vm.g2": VmWish(), "thing.a": Wish()}
    bench = Bench(world, host, g1={"thing.a": Wish(), "thing.b": Wish()}, g2={"thing.a": Wish()})
    plan = bench.plan()
    assert plan.exit is exit_
    assert plan.on(G1).reached.how.value == ("unknown" if how == "silent" else "refused")
    assert {one.status.value for one in plan.on(G1).resources} == {"unknown"}
    assert bench.apply().exit is exit_
    assert {"h: set on thing.a", "h/g2: set on thing.a"} <= set(bench.did())


def test_a_target_in_a_guest_takes_along_its_vm_and_what_that_needs_and_no_more():
    bench = Bench(
        World(vms={"g1": Vm()}),
        {"vm.g1": VmWish(), "vm.g2": VmWish(), "thing.a": Wish()},
        g1={"thing.a": Wish(), "thing.b": Wish()},
    )
    assert set(statuses(bench.plan("g1:thing.a"))) == {"h/vm.g1", "h/g1:thing.a"}
    assert set(statuses(bench.plan("h/g1"))) == {"h/vm.g1", "h/g1:thing.a", "h/g1:thing.b"}


def test_a_guest_that_is_lost_in_the_middle_fails_alone():
    world = World(vms={"g1": Vm()})
    bench = Bench(world, {"vm.g1": VmWish(), "thing.a": Wish()}, g1={"thing.a": Wish()})
    world.before["set on thing.a"] = lambda: world.silent.add("g1")
    applied = bench.apply()
    assert applied.exit in (Exit.ERROR, Exit.UNKNOWN)
    assert applied.plan.at(at("thing.a")).status.value == "in-sync"


def starts_slowly(bench, seconds):
    """Its guest says nothing for so long after the start."""
    world, slept = bench.world, []

    def sleeps(pause):
        slept.append(pause)
        if sum(slept) > seconds:
            world.silent.discard("g1")

    world.before["virsh start g1"] = lambda: world.silent.add("g1")
    bench.sleeps = sleeps
    return slept


@pytest.mark.parametrize("vms", [{}, {"g1": Vm(active=None)}], ids=["made", "started"])
def test_a_guest_that_starts_is_waited_for(vms):
    bench = Bench(World(vms=vms), {"vm.g1": VmWish()}, g1={"thing.a": Wish()})
    slept = starts_slowly(bench, 120)
    assert bench.apply().exit is Exit.IN_SYNC
    assert bench.did()[-4:-2] == ["h/g1: lock", "h/g1: set on thing.a"]
    assert sum(slept) > 120


def test_a_guest_that_starts_and_never_answers_is_unknown():
    bench = Bench(World(), {"vm.g1": VmWish(), "thing.a": Wish()}, g1={"thing.a": Wish()})
    slept = starts_slowly(bench, 10_000)
    assert bench.apply().exit is Exit.UNKNOWN
    assert 200 < sum(slept) < 1000


def test_a_guest_that_ran_all_along_and_does_not_answer_is_not_waited_for():
    bench = Bench(World(vms={"g1": Vm()}, silent={"g1"}), {"vm.g1": VmWish()}, g1={"thing.a": Wish()})
    slept = starts_slowly(bench, 10_000)
    assert bench.apply().exit is Exit.UNKNOWN
    assert not slept


def test_waiting_for_a_guest_ends_where_the_run_is_to_stop():
    bench = Bench(World(), {"vm.g1": VmWish()}, g1={"thing.a": Wish()})
    slept = starts_slowly(bench, 10_000)
    bench.stops = lambda: len(slept) > 3
    assert bench.apply().interrupted
    assert len(slept) < 6


# What is told of them ---------------------------------------------------------------------------------

WIDE = Later("whether it fits", (Address("vm", "g1"),))
WISHED = Derived(("value",), "on", Address("dax", "cxl0"))


def test_a_check_that_waits_is_told_with_v_of_each_and_of_several_at_once():
    guest = {
        "thing.a": Wish(later=(WIDE,)),
        "thing.b": Wish(later=(WIDE,)),
        "thing.c": Wish(later=(Later("who has it open"),)),
    }
    plan = Bench(World(vms={"g1": Vm()}), {"vm.g1": VmWish()}, g1=guest).plan()
    checked = [
        line.strip() for line in unstyle(body_text(plan, verbose=True)).splitlines() if "checked" in line
    ]
    assert checked == ["checked after vm.g1: whether it fits", "checked later: who has it open"]
    assert "checked" not in body_text(plan)


def test_from_whose_wish_a_difference_follows_stands_with_it_and_parts_those_that_do_not_share_it():
    another = replace(WISHED, path=("align",))  # in which nothing differs
    guest = {
        "thing.a": Wish(derived=(WISHED,)),
        "thing.b": Wish(derived=(WISHED,)),
        "thing.c": Wish(derived=(another,)),
    }
    plan = Bench(World(vms={"g1": Vm()}), {"vm.g1": VmWish()}, g1=guest).plan()
    lines = unstyle(body_text(plan)).splitlines()
    assert [line.split("from ")[1:] for line in lines[1:]] == [["dax.cxl0"], []]


# Host keys of guests ----------------------------------------------------------------------------------

KEY = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAI" + 43 * "A")
KEPT = host_keys.path("g1")


def keyed(**world):
    """A guest whose host key its host does not keep, and which the guest agent confirms."""
    return Bench(
        World(vms={"g1": Vm()}, keys={"g1": KEY}, **world), {"vm.g1": VmWish()}, g1={"thing.a": Wish()}
    )


def test_a_plan_tells_of_a_new_host_key_and_keeps_nothing():
    bench = keyed(things={"h/g1": {"thing.a": "on"}})
    plan = bench.plan()
    assert plan.exit is Exit.IN_SYNC
    said = "host key is new, confirmed by the guest agent: apply keeps it"
    assert unstyle(body_text(plan)) == f"h/g1   {said}"
    assert bench.world.kept == {}


def test_an_apply_keeps_a_new_host_key_once_and_on_the_host():
    bench = keyed()
    applied = bench.apply()
    assert applied.exit is Exit.IN_SYNC
    assert not applied.plan.has_new_keys
    assert bench.did() == [
        "h: lock",
        f"h: write {KEPT}",
        "h/g1: lock",
        "h/g1: set on thing.a",
        "h/g1: unlock",
        "h: unlock",
    ]
    assert bench.world.journal == [(("h/vm.g1",), "keep the host key of h/g1, confirmed by the guest agent")]
    assert host_keys.parse(bench.world.kept[KEPT].decode()) == (KEY,)
    bench.apply()
    assert f"h: write {KEPT}" not in bench.did()
    assert not bench.plan().has_new_keys


def test_a_host_key_that_cannot_be_kept_is_told_and_keeps_nobody_from_anything():
    bench = keyed(fails={f"write {KEPT}"})
    applied = bench.apply()
    assert applied.exit is Exit.IN_SYNC
    assert bench.did().count(f"h: write {KEPT}") == 1
    assert [one.code for one in applied.diagnostics] == ["CXE263"]
    assert applied.plan.has_new_keys


def test_the_key_of_a_guest_that_was_made_anew_takes_the_place_of_the_old_one():
    bench = keyed(kept={KEPT: b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + 43 * b"B" + b"\n"})
    assert bench.apply().exit is Exit.IN_SYNC
    assert host_keys.parse(bench.world.kept[KEPT].decode()) == (KEY,)


# Guests that can only be read ---------------------------------------------------------------------------


@pytest.mark.parametrize(("inside", "code"), [("on", "CXE264"), ("off", "CXC301")])
def test_a_guest_that_cannot_be_written_keeps_its_host_from_nothing(inside, code):
    """Whether something is to be done in it, or a record is all that would be written."""
    world = World(vms={"g1": Vm()}, things={G1: {"thing.a": inside, "thing.b": "on"}}, rootless={"g1"})
    guest = {"thing.a": Wish(), "thing.b": Wish()}
    applied = Bench(world, {"vm.g1": VmWish(), "thing.a": Wish()}, g1=guest).apply()
    assert world.things["h"]["thing.a"] == "on"
    assert [one.code for one in applied.diagnostics] == [code]
    assert [one.machine for one in applied.diagnostics] == [G1]
    assert applied.exit is (Exit.IN_SYNC if inside == "on" else Exit.ERROR)
