"""What is measured, by which reader, and what comes of answers that say nothing: of a host and of a guest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from cxlstate.core.address import Address
from cxlstate.core.answers import Answer
from cxlstate.core.diagnostic import CxlstateError, Diagnostic
from cxlstate.core.exit_status import NOT_FOUND
from cxlstate.core.measure import Measurable
from cxlstate.core.observation import Present
from cxlstate.core.read import TimeLoads
from cxlstate.engine.caching import Access
from cxlstate.engine.measuring import VIRTUAL, Wanted
from cxlstate.engine.survey import look
from tests.engine.fake_tree import KINDS, Bench, FakeMachine, Thing, Vm, VmWish, Wish, World

TEXT = (Path(__file__).parents[1] / "formats" / "loads" / "cached-1.json").read_text()
KVM = Answer(0, b"kvm\n")


class Memory(Thing):
    """A thing whose value is the name of its memory: any kind of host and guest may be one."""

    kind, measures = "memory", True

    def assess(self, me, seen, inputs):
        memory = Measurable(seen.live) if isinstance(seen, Present) else f"{me.name} is off"
        return replace(super().assess(me, seen, inputs), measurable=memory)


class Timing(FakeMachine):
    """A machine whose loads can be timed; `said` is what it answers, by machine."""

    said: ClassVar[dict[str, Answer]] = {}

    def _guest(self, route, *, writes):
        return Timing(self.world, super()._guest(route, writes=writes).machine)

    def read(self, reads):
        if TimeLoads("dax9.9") in reads:
            raise CxlstateError((Diagnostic("CXC201", "connection lost while reading"),))
        return super().read(reads)

    def _answer(self, read, state):
        match read:
            case TimeLoads(memory=memory):
                self.world.log.append(f"{self.machine}: time {memory}")
                return self.said.get(self.machine, Answer(0, TEXT.encode()))
            case _ if read == VIRTUAL:
                return self.said.get("virtual", KVM)
        return super()._answer(read, state)


@pytest.fixture
def said(monkeypatch):
    answers = {}
    monkeypatch.setattr(Timing, "said", answers)
    return answers


def measured(wanted=None, only=None, **memories):
    """The measurements of a host and its guest g1, and what was asked."""
    host = {"vm.g1": VmWish(), **{f"memory.{name}": Wish(value) for name, value in memories.items()}}
    world = World(vms={"g1": Vm()})
    world.things = {"h": {f"memory.{name}": value for name, value in memories.items() if value}}
    world.things["h/g1"] = {"memory.inner": "dax0.0"}
    bench = Bench(world, host, g1={"memory.inner": Wish("dax0.0")})
    kinds = {**KINDS, "memory": Memory()}
    plan = look(bench.tree, kinds, only, lambda *_: Timing(world, "h"), measure=wanted or Wanted())
    return [one for machine in plan.machines for one in machine.measured], world.log, plan


def test_every_resource_of_a_kind_that_measures_is_asked_about_once_it_was_read_by_its_own_machine(said):
    found, log, plan = measured(a="dax0.0", b="node2")
    assert [(one.machine, one.name, one.verdict.access) for one in found] == [
        ("h", "memory.a", Access.CACHED),
        ("h", "memory.b", Access.CACHED),
        ("h/g1", "memory.inner", Access.CACHED),
    ]
    assert log[:2] == ["h: read", "h/g1: read"]
    assert sorted(log[2:]) == sorted(
        ["h: read", "h: time dax0.0", "h: time node2", "h/g1: read", "h/g1: time dax0.0"]
    )
    assert plan.exit == 0


def test_only_what_is_wanted_is_measured_and_nodes_need_no_resource(said):
    wanted = Wanted({"h/g1": {Address("memory", "inner")}}, {"h": (3,)})
    found, log, _ = measured(wanted, a="dax0.0")
    assert [(one.machine, one.name, one.address) for one in found] == [
        ("h", "node:3", None),
        ("h/g1", "memory.inner", Address("memory", "inner")),
    ]
    assert [line for line in log if "time" in line] == ["h: time node3", "h/g1: time dax0.0"]


def test_where_there_is_nothing_to_measure_nothing_is_asked(said):
    found, log, _ = measured(Wanted({"h": {Address("memory", "a")}}), a="")
    (one,) = found
    assert (one.verdict.access, one.verdict.why, one.loads) == (Access.CANNOT_TELL, "a is off", None)
    assert log == ["h: read", "h/g1: read"]


def test_a_guest_that_is_off_cannot_be_told():
    world = World(vms={"g1": Vm(active=None)})
    bench = Bench(world, {"vm.g1": VmWish()}, g1={"memory.inner": Wish("dax0.0")})
    kinds = {**KINDS, "memory": Memory()}
    wanted = Wanted(None, {"h/g1": (0,)})
    plan = look(bench.tree, kinds, None, lambda *_: Timing(world, "h"), measure=wanted)
    resource, node = plan.on("h/g1").measured
    assert resource.verdict.access is node.verdict.access is Access.CANNOT_TELL
    assert node.verdict.why == "read once vm.g1 runs"
    assert world.log == ["h: read"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(NOT_FOUND, b"", "python3 is not installed"), "loads from dax0.0: python3 is not installed"),
        (Answer(1, b"", "/dev/dax0.0: Permission denied"), "loads from dax0.0: /dev/dax0.0: Permission"),
        (Answer(135), "loads from dax0.0: exit status 135"),
        (Answer(0, b"{}"), "cannot parse the answer: "),
        (Answer(0, b"\xff\x00"), "cannot parse the answer: "),
        (Answer(0, json.dumps({**json.loads(TEXT), "memory": 7}).encode()), "cannot parse the answer: "),
    ],
)  # fmt: skip
def test_an_answer_without_times_is_told_as_what_it_is(said, answer, why):
    said["h"] = answer
    found, _, plan = measured(a="dax0.0")
    assert [one.verdict.access for one in found] == [Access.CANNOT_TELL, Access.CACHED]
    assert found[0].verdict.why.startswith(why)
    assert plan.all_diagnostics == ()


@pytest.mark.parametrize("virtual", [Answer(NOT_FOUND, b"", "not found"), Answer(1, b"none\n"), Answer(0)])
def test_in_a_virtual_machine_of_an_unknown_kind_nothing_is_told(said, virtual):
    said["virtual"] = virtual
    found, _, _ = measured(a="dax0.0")
    assert "virtual machine of an unknown kind" in found[0].verdict.why


def test_a_machine_that_is_lost_meanwhile_leaves_the_others_their_verdict(said):
    found, _, plan = measured(a="dax9.9")
    assert [(one.verdict.access, one.machine) for one in found] == [
        (Access.CANNOT_TELL, "h"),
        (Access.CACHED, "h/g1"),
    ]
    assert found[0].verdict.why == "CXC201: connection lost while reading"
    assert plan.exit == 0
