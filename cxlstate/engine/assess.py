"""From what was seen of a tree to a plan: the judgement of every resource, and what follows for all. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from cxlstate.core.action import Action, Risk
from cxlstate.core.address import ScopedAddress
from cxlstate.core.consent import Consents
from cxlstate.core.machine import guest_id
from cxlstate.engine.assessing import IN_FORCE, Assessed, assess_resources
from cxlstate.engine.interrupting import Plans, interruptions
from cxlstate.engine.judging import Judge
from cxlstate.engine.observe import Kinds
from cxlstate.engine.plan import Away, Base, Exit, MachinePlan, Plan, Planned, ResourcePlan, Status, steps_of
from cxlstate.engine.seen import Seen
from cxlstate.engine.turns import foreseen
from cxlstate.spec.names import Only
from cxlstate.spec.tree import Machine, Tree


def assess_tree(tree: Tree, seen: Seen, kinds: Kinds, only: Only | None = None) -> Plan:
    """The plan of all machines of a tree. `only`: those resources and all they need, without leftovers."""
    of = assess_resources(tree, seen, kinds, only)
    judge = Judge(of)
    judge.judge_all()
    order = [*judge.leftovers, *of.order]
    wanted = set(order) if of.run_only is None else of.run_only
    shown = [judge.done[at] for at in order if at in wanted and _is_shown(of, judge.done[at])]
    plans = {plan.at: plan for plan in shown}
    found = interruptions(of, plans)
    based = _Bases(of, plans)
    turns = foreseen(of.graph, plans, found, based.of_action)
    machines = tuple(_of_machine(of, machine, shown) for machine in tree.machines)
    return Plan(tree, machines, found, turns)


def _of_machine(of: Assessed, machine: Machine, plans: Sequence[ResourcePlan]) -> MachinePlan:
    observed, reached = of.seen.machines.get(machine.id), of.reached(machine.id)
    problem = (reached.problem,) if reached.problem else ()
    plan = MachinePlan(machine, reached, tuple(p for p in plans if p.at.machine == machine.id), problem)
    return replace(plan, running=observed.running, answers=observed.answers) if observed else plan


def _is_shown(of: Assessed, plan: ResourcePlan) -> bool:
    """Something implied is shown where it differs, or where something declared builds on it."""
    if plan.at not in of.implied or plan.changes or plan.at in of.lost:
        return True
    return bool(of.inputs(plan.at).everything())


# What an effect assumes -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Bases:
    """What the effects of a resource assume: its own differences, and how all it requires stands."""

    of: Assessed
    plans: Plans

    def of_action(self, at: ScopedAddress, action: Action) -> Planned:
        required = self.of.graph.targets(at, *IN_FORCE) if at in self.of.resources else ()
        bases = [
            Base(str(one), shown_of(self.plans[one]))
            for one in dict.fromkeys((at, *required))
            if one in self.plans
        ]
        return Planned(at, action, tuple(bases))


def shown_of(plan: ResourcePlan) -> str:
    """A digest of what a plan shows of a resource: that it is in sync, or what differs and what is destroyed.

    What is destroyed may be another thing though nothing else differs: an action says in its `why` which.
    """
    if plan.status is Status.IN_SYNC:
        return Status.IN_SYNC.value
    destroyed = [(one.does, one.why) for one in plan.actions if one.risk is Risk.DESTROY_DATA]
    said = repr(([(one.path, one.old, one.new, one.pending) for one in plan.changes], destroyed))
    return sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]


# Consent ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Missing:
    """A class that a resource needs and that was not allowed; `activation`: what is written waits for it."""

    at: ScopedAddress
    risk: Risk
    activation: bool = False


def missing_consents(plan: Plan, consents: Consents) -> tuple[Missing, ...]:
    """Over all resources of the tree, before the first effect: whatever waits, too."""
    return tuple(
        one
        for resource in plan.resources
        if resource.status not in (Status.IN_SYNC, Status.UNKNOWN) and resource.exit is not Exit.ERROR
        for one in missing_of(resource, consents)
    )


def missing_of(plan: ResourcePlan, consents: Consents) -> tuple[Missing, ...]:
    """Of one resource. Consent may name it, or whom the risk is about."""
    found = (
        Missing(plan.at, one.risk, one.activation)
        for one in steps_of(plan)
        if not _is_allowed(plan.at, one, consents)
    )
    return tuple(dict.fromkeys(found))


def _is_allowed(at: ScopedAddress, asked: Action | Away, consents: Consents) -> bool:
    named = [at]
    if isinstance(asked, Away):
        if isinstance(subject := asked.subject, ScopedAddress):
            guest = guest_id(subject.machine, subject.address.name)
            named += [subject, ScopedAddress(guest, subject.address)]
    elif asked.interrupts:
        named.append(ScopedAddress(at.machine, asked.interrupts))
    return any(consents.allow(asked.risk, one.machine, one.address) for one in named)
