"""Judge every resource: where it stands, and what would be done about it. Pure: data in, data out.

The order of judgement for one resource is told in `docs/life-cycle.md`. An exception of a kind is an
error of the one resource that it was raised for (CXE900): nothing is planned on it, nor on what is told
its exports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from cxlstate.core.action import Reboot, Risk
from cxlstate.core.address import Address
from cxlstate.core.assessment import Assessment, Collective, Hold
from cxlstate.core.defect import defect
from cxlstate.core.diagnostic import CxlstateError, Diagnostic, Severity
from cxlstate.core.exports import Export, Inputs, RestoreStep
from cxlstate.core.observation import Absent, Unknown
from cxlstate.core.reconciler import How, Implied, Leftover, Need, Resource
from cxlstate.engine.graph import Graph
from cxlstate.engine.observe import Kinds, Observed
from cxlstate.engine.plan import PENDING, Exit, MachinePlan, ResourcePlan, Status, worst
from cxlstate.engine.record import Cause, Digests, cause_of, digest_of
from cxlstate.engine.suspend import Holder, Suspension, suspending
from cxlstate.spec.load import MachineSpec

_TOLD = (How.REQUIRES, How.KNOWS)
_IN_FORCE = (How.REQUIRES, How.AWAITS)
_BEFORE = (*_IN_FORCE, How.AFTER)


@dataclass
class _Planner:
    """The state of one planning: what was observed, what each kind made of it, and what was judged so far.

    `defects` is what kinds raised. Who is not in `assessed` is lost: its exports are not known because of it.
    """

    spec: MachineSpec
    kinds: Kinds
    seen: Observed
    graph: Graph
    assessed: dict[Address, Assessment] = field(default_factory=dict)
    problems: dict[Address, tuple[Diagnostic, ...]] = field(default_factory=dict)
    done: dict[Address, ResourcePlan] = field(default_factory=dict)
    defects: dict[Address, Exception] = field(default_factory=dict)

    def assess(self) -> None:
        """Every resource, before anything is judged: a consumer after its providers."""
        for address in self.graph.order(*_TOLD):
            if address in self.defects or self._lost_providers(address):
                continue
            resource, seen = self.seen.resources[address], self.seen.observations[address]
            try:
                found = self.kinds[address.kind].assess(resource, seen, self.inputs(address))
                self.problems[address] = tuple(self._placed(one, resource) for one in found.problems)
                self.assessed[address] = found
            except Exception as error:  # noqa: BLE001  # a kind's defect concerns its own resource only
                self.defects[address] = error
        for kind in self.kinds.values():
            if isinstance(kind, Collective):
                self._together(kind, {a: one for a, one in self.assessed.items() if a.kind == kind.kind})

    def _together(self, kind: Collective, assessed: Mapping[Address, Assessment]) -> None:
        """What only all of a kind show. A defect there concerns each of them."""
        try:
            for one in kind.together(assessed) if assessed else ():
                resource = self.seen.resources[one.address or next(iter(assessed))]
                self.problems[resource.address] += (self._placed(one, resource),)
        except Exception as error:  # noqa: BLE001  # as above
            self.defects |= dict.fromkeys(assessed, error)

    def _lost_providers(self, address: Address) -> tuple[Address, ...]:
        told = dict.fromkeys(self.graph.targets(address, *_TOLD))
        return tuple(t for t in told if t not in self.assessed)

    def exports(self, address: Address) -> Sequence[Export]:
        """What it tells others."""
        return self.assessed[address].exports if address in self.assessed else ()

    def inputs(self, address: Address) -> Inputs:
        """What it is told."""
        return Inputs({t: self.exports(t) for t in self.graph.targets(address, *_TOLD)})

    @cached_property
    def digests(self) -> Digests:
        """Of what is wanted of each."""
        return Digests(self.seen.resources, self.kinds, lambda address: self.graph.targets(address, *_TOLD))

    @cached_property
    def order(self) -> list[Address]:
        """Who is done before whom."""
        return self.graph.order(*_BEFORE)

    @cached_property
    def holders(self) -> list[Holder]:
        """Who may have to be taken out of use while something else is done, in the order of doing."""
        found = []
        for address in self.order:
            if address in self.assessed:
                hold = self.assessed[address].hold
            else:  # it may hold any memory
                hold = Hold(unknown=True) if self.kinds[address.kind].holds else None
            if hold:
                found.append(Holder(address, hold))
        return found

    @cached_property
    def bars_reboot(self) -> Diagnostic | None:
        """What makes the next boot lose this machine, by the first resource that foresees it."""
        for address, resource in self.seen.resources.items():
            barred = self.assessed[address].bars_reboot if address in self.assessed else None
            if barred is not None:
                return self._placed(replace(barred, path=()), resource)
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
        found, digest = self.assessed[address], self.digests.of(address)
        base = ResourcePlan(
            self.seen.resources[address],
            Status.IN_SYNC,
            Exit.IN_SYNC,
            digest=digest,
            diagnostics=self.problems[address],
            facts=found.facts,
        )
        seen = self.seen.observations[address]
        if isinstance(seen, Unknown) and not self._coming(seen):
            exit_ = Exit.ERROR if self._errors(address) else Exit.UNKNOWN
            return replace(base, status=Status.UNKNOWN, exit=exit_, reason=seen.reason, hint=seen.hint)
        if errors := self._errors(address):
            return replace(base, status=Status.BLOCKED, exit=Exit.ERROR, reason=errors[0].message)
        if isinstance(seen, Unknown):
            return self._to_be_cured(base, seen)
        if not found.changes:
            return base
        suspension = suspending(address, found.actions, self.holders)
        record = (self.seen.records or {}).get(address)
        cause = cause_of(record, digest, records_readable=self.seen.records is not None)
        base = replace(base, changes=found.changes, actions=suspension.actions, cause=cause)
        if barred := self._barred(base):
            return barred
        if untold := self._untold(address):
            reason = f"gathers what {_names(untold)} asks for, which is unknown now"
            return self._blocked(base, untold, reason)
        if unseen := self._unseen(address):
            return replace(base, status=Status.BLOCKED, exit=Exit.UNKNOWN, reason=unseen)
        return self._differs(base, suspension)

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

    def _to_be_cured(self, base: ResourcePlan, seen: Unknown) -> ResourcePlan:
        """Unknown, and what would let it be told is about to come.

        It is planned as on a machine where it is absent, so that a first plan can be read whole.
        """
        kind = self.kinds[base.address.kind]
        found = kind.assess(base.resource, Absent(), self.inputs(base.address))
        shown = suspending(base.address, found.actions, self.holders).actions
        base = replace(base, changes=found.changes, actions=shown)
        return self._blocked(base, self._coming(seen), seen.reason)

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
        unknown = isinstance(self.seen.observations[address], Unknown) or address in self.defects
        return unknown or bool(self._errors(address))

    def _errors(self, address: Address) -> list[Diagnostic]:
        return [one for one in self.problems.get(address, ()) if one.severity is Severity.ERROR]

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
        exported = (one for found in self.assessed.values() for one in found.exports)
        steps = [one for one in exported if isinstance(one, RestoreStep)]
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
            digest=digest_of(resource, {}),
            cause=Cause.UNAPPLIED,
        )
        gatherers = [one for one in self.order if address.kind in self._gathered(one)]
        if leftover.actions or not gatherers:
            return self._barred(base) or self._suspended(base, suspension)
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
    planner = _Planner(spec, kinds, seen, Graph(needs), defects=defects)
    planner.assess()
    planner.judge_all()
    everything = (*planner.leftovers, *planner.order)
    wanted = planner.graph.reached(only, *_BEFORE, How.KNOWS) if only else set(everything)
    plans = [planner.done[address] for address in everything if address in wanted]
    plans = [plan for plan in plans if plan.address not in seen.implied or _worth_showing(plan, planner)]
    return MachinePlan(spec, tuple(plans), running=seen.running, answers=seen.answers)


def _worth_showing(plan: ResourcePlan, planner: _Planner) -> bool:
    """Something implied is shown where it differs, or where something declared builds on it."""
    if plan.changes or plan.address not in planner.assessed:
        return True
    return bool(planner.inputs(plan.address).everything())


def _names(addresses: Sequence[Address]) -> str:
    return ", ".join(str(address) for address in addresses)
