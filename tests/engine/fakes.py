"""Kinds made of data, to look at the engine's judgement alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from cxlstate.core.action import Action, Reboot, Risk, Run
from cxlstate.core.address import Address
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import KernelArguments
from cxlstate.core.machine import Scope
from cxlstate.core.observation import Absent, Present, Unknown
from cxlstate.core.read import Exists
from cxlstate.core.reconciler import Need, Reconciler, Resource
from cxlstate.engine.assess import assess_tree
from cxlstate.engine.observe import Observed
from cxlstate.engine.plan import Reached
from cxlstate.engine.seen import Seen
from cxlstate.spec.tree import Machine, Tree


class Nowhere:
    """A document in which nothing has a place."""

    def locate(self, path):
        return None


def tree_of(name, resources, connect=None, *guests):
    """A file with a host, and the guests in it."""
    host = Machine(name, None, Scope.HOST, connect, tuple(resources))
    return Tree(f"{name}.yaml", (host, *guests), Nowhere())


@dataclass(frozen=True)
class Wish:
    """What a fake resource should be, and all that its kind would say of it."""

    value: str = "on"
    needs: tuple[Need, ...] = ()
    error: str | None = None
    known: str | None = None  # an error that is told also while it is unknown
    tells: tuple[str, ...] = ()
    pending: bool = False
    risk: Risk = Risk.LIVE
    no_action: bool = False


class Fake(Reconciler):
    informs = True
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

    def assess(self, resource, seen, inputs):
        wish = resource.spec or Wish(" ".join(t for _, k in inputs.all(KernelArguments) for t in k.texts))
        exports = (KernelArguments(wish.tells),) if wish.tells else ()
        if isinstance(seen, Unknown):
            problems = (Diagnostic("CXX002", wish.known),) if wish.known else ()
            return Assessment(exports, problems)
        live = seen.live if isinstance(seen, Present) else None
        problems = (Diagnostic("CXX001", wish.error),) if wish.error else ()
        changes = () if live == wish.value else (Change(("value",), live, wish.value, wish.pending),)
        reboots = wish.risk is Risk.REBOOT_HOST
        action = Action(
            f"set {resource.address}",
            Reboot() if reboots else Run(("set",), (str(resource.address),)),
            risk=wish.risk,
            activation=wish.pending,
        )
        return Assessment(exports, problems, changes, (action,) if changes and not wish.no_action else ())


class FakeGatherer(Fake):
    """A kind that exists without a word in the spec, as the kernel command line does."""

    gathers = ()
    traces = Exists("/gathered")

    def implied(self):
        return None


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
        tree = tree_of("m", resources.values())
        observed = {
            address: seen
            if not isinstance(seen := self.seen.get(str(address), Absent()), str)
            else Present(seen)
            for address in resources
        }
        state = Observed(resources, self.implied, observed, self.leftovers, self.records)
        only = None if only is None else {"m": only}
        return assess_tree(tree, Seen({"m": state}, {"m": Reached()}), self.kinds, only)

    def statuses(self, only=None):
        return {str(r.address): r.status.value for r in self.plan(only).resources}


@pytest.fixture
def world():
    return World


def addresses(several):
    """Without their machine, which is the same for all."""
    return tuple(at.address for at in several)
