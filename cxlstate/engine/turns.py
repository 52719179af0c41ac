"""In which order a plan is done, as far as one reading can foresee it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cxlstate.core.action import Action, Run
from cxlstate.core.address import ScopedAddress
from cxlstate.engine.assessing import BEFORE, IN_FORCE
from cxlstate.engine.graph import Graph
from cxlstate.engine.plan import PENDING, Away, Interruption, Planned, ResourcePlan, Status, Turn, steps_of

Plans = Mapping[ScopedAddress, ResourcePlan]
Key = tuple[object, object]


@dataclass
class _Foreseer:
    """Which interruptions each resource comes after, by what it waits for."""

    graph: Graph
    plans: Plans
    places: dict[Key, int]
    after: dict[ScopedAddress, frozenset[Key]] = field(default_factory=dict)

    def of(self, at: ScopedAddress) -> frozenset[Key]:
        """Those of what it waits for, and those that it needs itself before it can be done."""
        if at not in self.after:
            self.after[at] = frozenset()  # a need that leads back here adds nothing
            plan = self.plans[at]
            if plan.status in PENDING:  # what is to be done of it is done
                return self.after[at]
            own = {key_of(one) for one in plan.away if not one.activation}
            self.after[at] = frozenset(own | self._of_needs(plan))
        return self.after[at]

    def _of_needs(self, plan: ResourcePlan) -> set[Key]:
        does = any(not one.activation for one in steps_of(plan))
        how = IN_FORCE if does else BEFORE
        needs = [*self.graph.targets(plan.at, *how)] if plan.resource.spec is not None else []
        found: set[Key] = set()
        for at in (*needs, *plan.waits_for):
            if at in self.plans and self.plans[at].status is not Status.IN_SYNC:
                found |= self.of(at) | {key_of(one) for one in self.plans[at].away}
        return found

    def within(self, at: ScopedAddress) -> Key | None:
        """The last of them."""
        known = [key for key in self.of(at) if key in self.places]
        return max(known, key=self.places.__getitem__, default=None)


def foreseen(
    graph: Graph,
    plans: Plans,
    interruptions: Sequence[Interruption],
    based: Callable[[ScopedAddress, Action], Planned],
) -> tuple[Turn, ...]:
    """First what waits for nobody, then what is done in each interruption, and behind it."""
    foreseer = _Foreseer(graph, plans, {key_of(one): n for n, one in enumerate(interruptions)})
    rows: dict[Key | None, list[ResourcePlan]] = {None: [], **{key_of(one): [] for one in interruptions}}
    for at, plan in plans.items():
        if plan.changes and not plan.errors:
            rows[foreseer.within(at)].append(plan)
    turns: list[Turn] = []
    for key, row in rows.items():
        within = next((one for one in interruptions if key_of(one) == key), None)
        left = row
        while left:
            together = group(left)
            left = [plan for plan in left if plan not in together]
            effects = tuple(based(plan.at, action) for plan in together for action in plan.actions)
            turns.append(Turn(tuple(plan.at for plan in together), effects, within))
    return tuple(turns)


def key_of(one: Away | Interruption) -> Key:
    """What tells one interruption from another."""
    return one.risk, one.subject


# What is done together --------------------------------------------------------------------------------


def todo(plan: ResourcePlan) -> tuple[Action, ...]:
    """What is to be done of its actions now.

    Of a change, all but those that only put into force what is written; of what waits for a restart,
    just those.
    """
    waits = plan.status is Status.PENDING_RESTART
    return tuple(action for action in plan.actions if action.activation is waits)


def group(ready: Sequence[ResourcePlan]) -> tuple[ResourcePlan, ...]:
    """The first ready resource, and those of its kind whose actions can be run together with its."""
    first = ready[0]
    runs = [action.effect for action in todo(first) if isinstance(action.effect, Run)]
    if not any(run.operands for run in runs) or any(action.suspends for action in todo(first)):
        return (first,)
    shape, kind = _shape(first), (first.at.machine, first.address.kind)
    return tuple(
        plan for plan in ready if (plan.at.machine, plan.address.kind) == kind and _shape(plan) == shape
    )


def merged(plans: Sequence[ResourcePlan]) -> tuple[Action, ...]:
    """The actions of the first, with the operands of all."""
    if len(plans) == 1:
        return todo(plans[0])
    merged = []
    for together in zip(*(todo(plan) for plan in plans), strict=True):
        effects = [action.effect for action in together]
        operands = tuple(dict.fromkeys(o for e in effects if isinstance(e, Run) for o in e.operands))
        effect = together[0].effect
        if isinstance(effect, Run):
            effect = replace(effect, operands=operands)
        more = f" and {len(together) - 1} more" if len(operands) > 1 else ""
        merged.append(replace(together[0], does=together[0].does + more, effect=effect, undo=()))
    return tuple(merged)


def _shape(plan: ResourcePlan) -> tuple[object, ...]:
    """Equal for resources whose actions differ only in operands."""
    return tuple(
        replace(action, does="", why="", undo=(), effect=replace(action.effect, operands=("",)))
        if isinstance(action.effect, Run) and action.effect.operands
        else action
        for action in todo(plan)
    )
