"""Kinds made of data, to look at the engine's judgement alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from cxlstate.core.action import Action, Risk, Run
from cxlstate.core.address import Address
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import KernelArguments
from cxlstate.core.observation import Absent, Present
from cxlstate.core.read import Exists
from cxlstate.core.reconciler import Need, Reconciler, Resource
from cxlstate.engine.observe import Observed
from cxlstate.engine.planner import make_plan


@dataclass(frozen=True)
class Wish:
    """What a fake resource should be, and all that its kind would say of it."""

    value: str = "on"
    needs: tuple[Need, ...] = ()
    error: str | None = None
    tells: tuple[str, ...] = ()
    pending: bool = False
    risk: Risk = Risk.LIVE
    no_action: bool = False


class Fake(Reconciler):
    place = None
    model = None

    def __init__(self, kind):
        self.kind = kind

    def needs(self, me):
        return me.spec.needs if me.spec else ()

    def reads(self, me):
        return ()

    def observe(self, me, answers):
        raise AssertionError("the tests of the plan observe nothing")

    def exports(self, me, live, given):
        return [KernelArguments(me.spec.tells)] if me.spec and me.spec.tells else []

    def check(self, me, live, given):
        return [Diagnostic("CXX001", me.spec.error)] if me.spec and me.spec.error else []

    def diff(self, me, live, given):
        wanted = (
            me.spec.value if me.spec else " ".join(t for _, k in given.all(KernelArguments) for t in k.texts)
        )
        return (
            []
            if live == wanted
            else [Change(("value",), live, wanted, pending=me.spec.pending if me.spec else False)]
        )

    def actions(self, me, live, changes, given):
        if me.spec and me.spec.no_action:
            return []
        risk = me.spec.risk if me.spec else Risk.LIVE
        activation = bool(me.spec and me.spec.pending)
        return [
            Action(f"set {me.address}", Run(("set",), (str(me.address),)), risk=risk, activation=activation)
        ]


class FakeGatherer(Fake):
    """A kind that exists without a word in the spec, as the kernel command line does."""

    def implied(self):
        return None

    def traces(self):
        return Exists("/gathered")


@dataclass
class World:
    wishes: dict[str, Wish] = field(default_factory=dict)
    seen: dict[str, object] = field(default_factory=dict)
    kinds: dict[str, Fake] = field(default_factory=dict)
    implied: frozenset[Address] = frozenset()
    records: dict | None = None
    leftovers: dict = field(default_factory=dict)

    def plan(self, only=None):
        resources = {}
        for name, wish in self.wishes.items():
            address = Address.parse(name)
            resources[address] = Resource(address, wish)
            self.kinds.setdefault(address.kind, Fake(address.kind))
        spec = SimpleNamespace(
            name="m", file="m.yaml", resources=tuple(resources.values()), locate=lambda path: None
        )
        observed = {
            address: seen
            if not isinstance(seen := self.seen.get(str(address), Absent()), str)
            else Present(seen)
            for address in resources
        }
        state = Observed(resources, self.implied, observed, self.leftovers, self.records)
        return make_plan(spec, state, self.kinds, only)

    def statuses(self, only=None):
        return {str(r.address): r.status.value for r in self.plan(only).resources}


@pytest.fixture
def world():
    return World
