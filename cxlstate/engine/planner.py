"""Judge every resource: where it stands, and what would be done about it. Pure: data in, data out.

The order of judgement for one resource is told in `docs/life-cycle.md`. An exception of a kind is an
error of the one resource that it was raised for (CXE900): nothing is planned on it, nor on what is told
its exports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from cxlstate.core.action import Reboot, Risk, effect_types
from cxlstate.core.address import Address
from cxlstate.core.defect import defect
from cxlstate.core.diagnostic import CxlstateError, Diagnostic, Severity
from cxlstate.core.exports import DaxDevice, Export, Given, RestoreStep
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.reconciler import ForeseesBoot, How, Implied, Leftover, Need, Resource, Suspendable
from cxlstate.engine.graph import Graph
from cxlstate.engine.observe import Kinds, Observed
from cxlstate.engine.plan import PENDING, Exit, MachinePlan, ResourcePlan, Status, worst
from cxlstate.engine.record import Cause, Wanted, cause_of, wanted_of
from cxlstate.engine.suspend import Holder, Suspension, suspending
from cxlstate.spec.load import MachineSpec

_TOLD = (How.REQUIRES, How.KNOWS)
_IN_FORCE = (How.REQUIRES, How.AWAITS)
_BEFORE = (*_IN_FORCE, How.AFTER)


@dataclass
class _Planner:
    """The state of one planning: what was observed, and what was judged so far.

    `run` is what is done with a target, all with None. `defects` is what kinds raised; `lost` are resources
    whose exports are not known because of it.
    """

    spec: MachineSpec
    kinds: Kinds
    seen: Observed
    graph: Graph
    run: frozenset[Address] | None = None
    exports: dict[Address, Sequence[Export]] = field(default_factory=dict)
    problems: dict[Address, tuple[Diagnostic, ...]] = field(default_factory=dict)
    done: dict[Address, ResourcePlan] = field(default_factory=dict)
    defects: dict[Address, Exception] = field(default_factory=dict)
    lost: set[Address] = field(default_factory=set)

    def prepare(self) -> None:
        """Exports and checks of all, before anything is judged: a consumer after its providers."""
        for address in self.graph.order(*_TOLD):
            self.exports[address] = self._exports(address)
        for address, resource in self.seen.resources.items():
            observation = self.seen.observations[address]
            self.problems[address] = ()
            if isinstance(observation, Unknown) or address in self.lost:
                continue
            try:
                given = self.given(address, How.COMPARES)
                found = self.kinds[address.kind].check(resource, _live(observation), given)
                self.problems[address] = tuple(self._placed(d, resource) for d in found)
            except Exception as error:  # noqa: BLE001  # a kind's defect concerns its own resource only
                self.defects[address] = error

    def _exports(self, address: Address) -> Sequence[Export]:
        """What it tells others. Where it cannot be told, those that are told it are lost, too."""
        if address not in self.defects and not self._lost_providers(address):
            resource, live = self.seen.resources[address], _live(self.seen.observations[address])
            try:
                return tuple(self.kinds[address.kind].exports(resource, live, self.given(address)))
            except Exception as error:  # noqa: BLE001  # as above
                self.defects[address] = error
        self.lost.add(address)
        return ()

    def _lost_providers(self, address: Address) -> tuple[Address, ...]:
        told = dict.fromkeys(self.graph.targets(address, *_TOLD))
        return tuple(t for t in told if t in self.lost)

    def given(self, address: Address, *also: How) -> Given:
        told = dict.fromkeys(self.graph.targets(address, *_TOLD))
        compared = (t for t in self.graph.targets(address, *also) if self.run is None or t in self.run)
        return Given({t: self.exports[t] for t in (*told, *compared)}, whole=self.run is None)

    @cached_property
    def wanted(self) -> Wanted:
        """What is wanted of each, for the records."""
        return Wanted(self.seen.resources, self.kinds, lambda address: self.graph.targets(address, *_TOLD))

    @cached_property
    def order(self) -> list[Address]:
        """Who is done before whom."""
        return self.graph.order(*_BEFORE)

    @cached_property
    def holders(self) -> list[Holder]:
        """Who may have to be taken out of use while something else is done, in the order of doing."""
        found = []
        for address in self.order:
            kind = self.kinds[address.kind]
            resource, seen = self.seen.resources[address], self.seen.observations[address]
            devices = tuple(one for one in self.exports[address] if isinstance(one, DaxDevice))
            if address in self.lost:  # it may hold any memory
                devices, seen = (DaxDevice(""),), Unknown("")
            if isinstance(kind, Suspendable) and devices:
                found.append(Holder(kind, resource, seen, self.given(address), devices))
        return found

    @cached_property
    def bars_reboot(self) -> Diagnostic | None:
        """What makes the next boot lose this machine, by the first kind that foresees it."""
        for address, resource in self.seen.resources.items():
            kind, seen = self.kinds[address.kind], self.seen.observations[address]
            if isinstance(kind, ForeseesBoot):
                live = seen.partly if isinstance(seen, Unknown) else _live(seen)
                found = kind.bars_reboot(resource, live, self.given(address))
                if found is not None:
                    return self._placed(replace(found, path=()), resource)
        return None

    def judge(self, address: Address) -> ResourcePlan:
        """Where a resource stands. Everything it needs was judged before."""
        resource = self.seen.resources[address]
        base = ResourcePlan(resource, Status.BLOCKED, Exit.ERROR, diagnostics=self.problems.get(address, ()))
        if address not in self.defects:
            if lost := self._lost_providers(address):
                reason = f"depends on {_names(lost)}, which cannot be judged"
                return replace(base, waits_for=lost, reason=reason)
            try:
                return self._judged(address)
            except Exception as error:  # noqa: BLE001  # a kind's defect concerns its own resource only
                self.defects[address] = error
        return self._defective(base, self.defects[address])

    def _defective(self, base: ResourcePlan, error: Exception) -> ResourcePlan:
        found = error.diagnostics if isinstance(error, CxlstateError) else (defect(error),)
        placed = tuple(self._placed(one, base.resource) for one in found)
        return replace(base, reason=placed[0].message, diagnostics=(*base.diagnostics, *placed))

    def _judged(self, address: Address) -> ResourcePlan:
        resource = self.seen.resources[address]
        observation = self.seen.observations[address]
        given = self.given(address)
        problems = self.problems.get(address, ())
        wanted = self.wanted.of(address)
        base = ResourcePlan(resource, Status.IN_SYNC, Exit.IN_SYNC, wanted=wanted, diagnostics=problems)
        if isinstance(observation, Unknown):
            return self._unknown(base, observation, given)
        kind = self.kinds[address.kind]
        live = _live(observation)
        base = replace(base, facts=tuple(kind.describe(resource, live)))
        errors = [d for d in problems if d.severity is Severity.ERROR]
        if errors:
            return replace(base, status=Status.BLOCKED, exit=Exit.ERROR, reason=errors[0].message)
        changes = tuple(kind.diff(resource, live, given))
        if not changes:
            return base
        suspension = suspending(address, kind.actions(resource, live, changes, given), self.holders)
        record = (self.seen.records or {}).get(address)
        cause = cause_of(record, wanted, records_readable=self.seen.records is not None)
        base = replace(base, changes=changes, actions=suspension.actions, cause=cause)
        if impossible := self._lacking(base) or self._barred(base):
            return impossible
        if untold := self._untold(address):
            reason = f"gathers what {_names(untold)} asks for, which is unknown now"
            return self._blocked(base, untold, reason)
        if unseen := self._unseen(address):
            return replace(base, status=Status.BLOCKED, exit=Exit.UNKNOWN, reason=unseen)
        return self._differs(base, suspension)

    def _lacking(self, base: ResourcePlan) -> ResourcePlan | None:
        """Blocked, where one of its actions could not be performed from here."""
        lacks = map(self.seen.lacks, effect_types(base.actions))
        found = tuple(dict.fromkeys(filter(None, lacks)))
        blocked = replace(base, status=Status.BLOCKED, exit=Exit.ERROR)
        return self._defective(blocked, CxlstateError(found)) if found else None

    def _barred(self, base: ResourcePlan) -> ResourcePlan | None:
        """Blocked, where it would reboot into what loses the machine."""
        if not (self.bars_reboot and any(isinstance(action.effect, Reboot) for action in base.actions)):
            return None
        return replace(
            base,
            status=Status.BLOCKED,
            exit=Exit.ERROR,
            reason=f"no reboot: {self.bars_reboot.message}",
            diagnostics=(*base.diagnostics, replace(self.bars_reboot, address=base.address)),
        )

    def _differs(self, base: ResourcePlan, suspension: Suspension) -> ResourcePlan:
        if all(change.pending for change in base.changes):
            reboot = any(action.risk is Risk.REBOOT_HOST for action in base.actions)
            if reboot:
                return replace(base, status=Status.PENDING_REBOOT, exit=Exit.PENDING)
            waits_for = self._unmet(base.address, *_IN_FORCE)
            return replace(base, status=Status.PENDING_RESTART, exit=Exit.PENDING, waits_for=waits_for)
        unmet = (*self._dropped(base.address), *self._unmet(base.address, *_IN_FORCE))
        todo = [action for action in base.actions if not action.activation]
        if not todo:
            unmet = unmet or self._unmet(base.address, *_BEFORE)
            if not unmet:
                return replace(
                    base,
                    status=Status.BLOCKED,
                    exit=Exit.ERROR,
                    reason="no declared resource closes this difference",
                    diagnostics=(*base.diagnostics, self._cannot_be_closed(base)),
                )
        if unmet:
            return self._blocked(base, unmet, None)
        return self._suspended(base, suspension)

    def _suspended(self, base: ResourcePlan, suspension: Suspension) -> ResourcePlan:
        """It can be done, if those whose memory it touches can be taken out of use."""
        if suspension.untold:
            reason = f"whether {_names(suspension.untold)} is in use cannot be told now"
            return self._blocked(base, suspension.untold, reason)
        if suspension.refused:
            # their place is in the spec of the one that is held: it is told where the change is wished
            refused = tuple(self._placed(replace(d, path=()), base.resource) for d in suspension.refused)
            return replace(
                base,
                status=Status.BLOCKED,
                exit=Exit.ERROR,
                reason=refused[0].message,
                diagnostics=(*base.diagnostics, *refused),
            )
        return replace(base, status=Status.CHANGE, exit=Exit.CHANGES)

    def _unknown(self, base: ResourcePlan, seen: Unknown, given: Given) -> ResourcePlan:
        """Unknown, or blocked where what would let it be told is about to come.

        Then it is planned as on a machine where it is absent, so that a first plan can be read whole.
        """
        coming = self._coming(seen)
        if coming:
            kind = self.kinds[base.address.kind]
            changes = tuple(kind.diff(base.resource, None, given))
            actions = kind.actions(base.resource, None, changes, given) if changes else ()
            shown = suspending(base.address, actions, self.holders).actions
            base = replace(base, changes=changes, actions=shown)
            return self._lacking(base) or self._blocked(base, coming, seen.reason)
        return replace(base, status=Status.UNKNOWN, exit=Exit.UNKNOWN, reason=seen.reason, hint=seen.hint)

    def _coming(self, seen: Unknown) -> tuple[Address, ...]:
        cures = [address for target in seen.cured_by for address in self.graph.declared(target)]
        return tuple(address for address in cures if self._is_coming(address))

    def _is_coming(self, address: Address) -> bool:
        plan = self.done.get(address)
        return plan is not None and plan.status in (Status.CHANGE, Status.BLOCKED, *PENDING)

    def _blocked(self, base: ResourcePlan, on: Sequence[Address], reason: str | None) -> ResourcePlan:
        exits = [self._exit_of(address) for address in on]
        return replace(base, status=Status.BLOCKED, exit=worst(exits), reason=reason, waits_for=tuple(on))

    def _exit_of(self, address: Address) -> Exit:
        if address in self.done:
            return self.done[address].exit
        seen = self.seen.observations[address]
        if not isinstance(seen, Unknown) or address in self.defects:
            return Exit.ERROR
        cures = [self.done[cure].exit for cure in self._coming(seen)]
        return worst(cures) if cures else Exit.UNKNOWN

    def _unmet(self, address: Address, *how: How) -> tuple[Address, ...]:
        targets = dict.fromkeys(self.graph.targets(address, *how))
        return tuple(t for t in targets if self.done[t].status is not Status.IN_SYNC)

    def _untold(self, address: Address) -> tuple[Address, ...]:
        """What it should know of and cannot: unknown, or in error. To leave it out would undo it."""
        known = dict.fromkeys(self.graph.targets(address, How.KNOWS))
        return tuple(t for t in known if self._cannot_tell(t))

    def _cannot_tell(self, address: Address) -> bool:
        if isinstance(self.seen.observations[address], Unknown) or address in self.defects:
            return True
        return any(d.severity is Severity.ERROR for d in self.problems[address])

    def _placed(self, diagnostic: Diagnostic, resource: Resource[Any]) -> Diagnostic:
        path = (*resource.path, *diagnostic.path)
        source = self.spec.locate(path) if resource.path else None
        return replace(diagnostic, path=path, source=source, machine=self.spec.name, address=resource.address)

    def _cannot_be_closed(self, base: ResourcePlan) -> Diagnostic:
        change = base.changes[0]
        problem = Diagnostic(
            "CXE130",
            "no action for this difference",
            found=str(change.old),
            expected=str(change.new),
            hint="this is a defect of cxlstate: please report it with the output of plan --json",
        )
        return self._placed(problem, base.resource)

    def _unseen(self, address: Address) -> str | None:
        """What was left of a kind that it gathers from must not be forgotten while it cannot be told."""
        for kind in sorted(self._gathered(address) & self.seen.unseen.keys()):
            return f"what an earlier spec left of {kind} cannot be told: {self.seen.unseen[kind]}"
        return None

    def _dropped(self, address: Address) -> tuple[Address, ...]:
        """Leftovers still to be taken away: our own list of them is what it would rewrite."""
        kinds = self._gathered(address)
        return tuple(a for a in self.leftovers if a.kind in kinds and self.leftovers[a].actions)

    def _gathered(self, address: Address) -> frozenset[str]:
        implied = isinstance(self.kinds[address.kind], Implied)
        return self.graph.gathers(address) if implied else frozenset()

    @cached_property
    def leftovers(self) -> dict[Address, Leftover]:
        """What is to go. What cannot be seen is not removed: none of a kind of which one is unknown."""
        unknown = {a.kind for a, seen in self.seen.observations.items() if isinstance(seen, Unknown)}
        left = {
            a: self._unwanted(one) for a, one in sorted(self.seen.leftovers.items()) if a.kind not in unknown
        }
        return {address: one for address, one in left.items() if one.changes}

    def _unwanted(self, leftover: Leftover) -> Leftover:
        """Without what another resource wants under its own name."""
        if not leftover.content:
            return leftover
        steps = [one for exports in self.exports.values() for one in exports if isinstance(one, RestoreStep)]
        wanted = {(one.words[0], *one.words[2:]) for one in steps}
        rows = zip(leftover.changes, leftover.actions, leftover.content, strict=True)
        kept = [row for row in rows if row[2] not in wanted]
        changes, actions = tuple(row[0] for row in kept), tuple(row[1] for row in kept)
        return replace(leftover, changes=changes, actions=actions, content=())

    def leftover(self, address: Address) -> ResourcePlan:
        """Where something that is no longer in the spec stands."""
        try:
            return self._leftover(address)
        except Exception as error:  # noqa: BLE001  # a kind's defect concerns its own resource only
            base = ResourcePlan(Resource(address, None), Status.BLOCKED, Exit.ERROR)
            return self._defective(base, error)

    def _leftover(self, address: Address) -> ResourcePlan:
        """Done like anything else; without actions of its own it goes with what gathers from its kind."""
        leftover = self.leftovers[address]
        resource = Resource(address, None)
        suspension = suspending(address, leftover.actions, self.holders)
        base = ResourcePlan(
            resource,
            Status.CHANGE,
            Exit.CHANGES,
            changes=leftover.changes,
            actions=suspension.actions,
            reason="no longer in the spec",
            wanted=wanted_of(resource, {}),
            cause=Cause.UNAPPLIED,
        )
        gatherers = [one for one in self.order if address.kind in self._gathered(one)]
        if leftover.actions or not gatherers:
            return self._lacking(base) or self._barred(base) or self._suspended(base, suspension)
        exit_ = worst(self.done[one].exit for one in gatherers) or Exit.CHANGES
        return replace(base, status=Status.BLOCKED, exit=exit_, waits_for=tuple(gatherers))

    def judge_all(self) -> None:
        """Leftovers first: who gathers waits for them. Those that wait for it are judged behind it."""
        own = [address for address in self.leftovers if self.seen.leftovers[address].actions]
        for address in own:
            self.done[address] = self.leftover(address)
        for address in self.order:
            self.done[address] = self.judge(address)
        for address in self.leftovers:
            if address not in own:
                self.done[address] = self.leftover(address)


def make_plan(
    spec: MachineSpec, seen: Observed, kinds: Kinds, only: frozenset[Address] | None = None
) -> MachinePlan:
    """Judge every resource. `only` keeps those addresses and all they need, and no leftovers."""
    needs: dict[Address, Sequence[Need]] = {}
    defects = dict(seen.defects)
    for address, me in seen.resources.items():
        try:
            needs[address] = tuple(kinds[address.kind].needs(me))
        except Exception as error:  # noqa: BLE001  # as in the planner
            needs[address], defects[address] = (), error
    graph = Graph(needs)
    run = _with_needs(graph, only) if only else None
    planner = _Planner(spec, kinds, seen, graph, run, defects=defects)
    planner.prepare()
    planner.judge_all()
    wanted = {*planner.leftovers, *planner.order} if run is None else run
    plans = [planner.done[a] for a in (*planner.leftovers, *planner.order) if a in wanted]
    plans = [plan for plan in plans if plan.address not in seen.implied or _worth_showing(plan, planner)]
    return MachinePlan(spec, tuple(plans), running=seen.running, answers=seen.answers)


def _worth_showing(plan: ResourcePlan, planner: _Planner) -> bool:
    """Something implied is shown where it differs, or where something declared builds on it."""
    if plan.changes or plan.address in planner.lost:
        return True
    return bool(planner.given(plan.address).everything())


def _with_needs(graph: Graph, only: frozenset[Address]) -> frozenset[Address]:
    wanted: set[Address] = set()
    todo = list(only)
    while todo:
        address = todo.pop()
        if address not in wanted:
            wanted.add(address)
            todo += graph.targets(address, *_BEFORE, How.KNOWS)
    return frozenset(wanted)


def _live(observation: Observation[Any]) -> Any:
    match observation:
        case Present(live=live):
            return live
        case Absent() | Unknown():
            return None


def _names(addresses: Sequence[Address]) -> str:
    return ", ".join(str(address) for address in addresses)
