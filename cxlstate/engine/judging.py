"""Judge every resource: where it stands, and what would be done about it. Pure.

The order of judgement for one resource is told in `docs/life-cycle.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from cxlstate.core.action import effect_types
from cxlstate.core.address import ScopedAddress
from cxlstate.core.assessment import Later
from cxlstate.core.connect import Through
from cxlstate.core.defect import defect
from cxlstate.core.diagnostic import CxlstateError, Diagnostic
from cxlstate.core.exports import RestoreStep
from cxlstate.core.guest import GuestAccess
from cxlstate.core.machine import host_of
from cxlstate.core.observation import Unknown
from cxlstate.core.reconciler import How, Leftover, Resource
from cxlstate.engine.assessing import BEFORE, IN_FORCE, TOLD, Assessed
from cxlstate.engine.lifting import REBOOTS, lift
from cxlstate.engine.plan import PENDING, Exit, Reach, ResourcePlan, Status, steps_of, worst
from cxlstate.engine.record import Cause, Wanted, cause_of, wanted_of
from cxlstate.engine.suspend import Suspension, suspending


@dataclass
class Judge:
    """What was judged so far."""

    of: Assessed
    done: dict[ScopedAddress, ResourcePlan] = field(default_factory=dict)

    def judge_all(self) -> None:
        """Leftovers first: who gathers waits for them. Those that wait for it are judged behind it."""
        own = [at for at, one in self.leftovers.items() if self.of.leftovers(at.machine)[at.address].actions]
        for at in own:
            self.done[at] = self._guarded_leftover(at)
        for at in self.of.order:
            self.done[at] = self.judge(at)
        for at in self.leftovers:
            if at not in own:
                self.done[at] = self._guarded_leftover(at)

    @cached_property
    def wanted(self) -> Wanted:
        """What is wanted of each, for the records."""
        return Wanted(self.of.resources, self.of.kinds, lambda at: self.of.graph.targets(at, *TOLD))

    @cached_property
    def bars_reboot(self) -> dict[str, Diagnostic]:
        """What makes the next boot lose a machine, by the first resource that foresees it."""
        found: dict[str, Diagnostic] = {}
        for at in self.of.resources:
            bar = self.of.made[at].bars_reboot
            if bar is not None and at.machine not in found:
                found[at.machine] = self.of.placed(replace(bar, path=()), at)
        return found

    # One resource -------------------------------------------------------------------------------------

    def judge(self, at: ScopedAddress) -> ResourcePlan:
        """Where a resource stands. Everything it needs was judged before."""
        resource, problems = self.of.resources[at], self.of.problems.get(at, ())
        base = ResourcePlan(at, resource, Status.BLOCKED, Exit.ERROR, diagnostics=problems)
        if at not in self.of.defects:
            if lost := self.of.lost_providers(at):
                reason = f"depends on {names(lost)}, which cannot be judged"
                return replace(base, waits_for=lost, reason=reason)
            try:
                return self._judged(at)
            except Exception as error:  # noqa: BLE001  # a kind's defect concerns its own resource only
                self.of.defects[at] = error
        return self._defective(base, self.of.defects[at])

    def _defective(self, base: ResourcePlan, error: Exception) -> ResourcePlan:
        found = error.diagnostics if isinstance(error, CxlstateError) else (defect(error),)
        problems = tuple(self.of.placed(one, base.at) for one in found)
        return replace(base, reason=problems[0].message, diagnostics=(*base.diagnostics, *problems))

    def _judged(self, at: ScopedAddress) -> ResourcePlan:
        made, seen = self.of.made[at], self.of.observations[at]
        base = ResourcePlan(
            at,
            self.of.resources[at],
            Status.IN_SYNC,
            Exit.IN_SYNC,
            wanted=self.wanted.of(at),
            diagnostics=self.of.problems[at],
            later=made.later,
            derived=made.derived,
            facts=made.facts,
            measurable=made.measurable,
        )
        if isinstance(seen, Unknown) and not self._coming(at, seen):
            return self._unknown(base, seen)
        if base.errors:
            return replace(base, status=Status.BLOCKED, exit=Exit.ERROR, reason=base.errors[0].message)
        if isinstance(seen, Unknown):
            return self._to_be_cured(base, seen)
        if not made.changes:
            return base
        suspension = suspending(at, made.actions, self.of.holders)
        own, away = lift(at, suspension.actions)
        base = replace(base, changes=made.changes, actions=own, away=away, cause=self._cause(base))
        if impossible := self._lacking(base) or self._barred(base):
            return impossible
        if untold := self._untold(at):
            reason = f"gathers what {names(untold)} asks for, which is unknown now"
            return self._blocked(base, untold, reason)
        if unseen := self._unseen(at):
            return replace(base, status=Status.BLOCKED, exit=Exit.UNKNOWN, reason=unseen)
        return self._differs(base, suspension)

    def _cause(self, base: ResourcePlan) -> Cause:
        observed = self.of.seen.machines.get(base.at.machine)
        records = observed.records if observed else None
        record = (records or {}).get(base.address)
        return cause_of(record, base.wanted, records_readable=records is not None)

    def _lacking(self, base: ResourcePlan) -> ResourcePlan | None:
        """Blocked, where something of it could not be performed from here."""
        steps = (*base.actions, *(step for one in base.away for step in (one.begin, one.end) if step))
        lacks: list[Diagnostic | None] = []
        for step in steps:
            machine = host_of(base.at.machine) if step.on_parent else base.at.machine
            observed = self.of.seen.machines.get(machine)
            lacks += map(observed.lacks, effect_types([step])) if observed else ()
        found = tuple(dict.fromkeys(filter(None, lacks)))
        blocked = replace(base, status=Status.BLOCKED, exit=Exit.ERROR)
        return self._defective(blocked, CxlstateError(found)) if found else None

    def _barred(self, base: ResourcePlan) -> ResourcePlan | None:
        """Blocked, where it would reboot into what loses the machine."""
        bar = self.bars_reboot.get(base.at.machine)
        if not (bar and any(one.risk in REBOOTS for one in base.away)):
            return None
        return replace(
            base,
            status=Status.BLOCKED,
            exit=Exit.ERROR,
            reason=f"no reboot: {bar.message}",
            diagnostics=(*base.diagnostics, replace(bar, address=base.address)),
        )

    def _differs(self, base: ResourcePlan, suspension: Suspension) -> ResourcePlan:
        if all(change.pending for change in base.changes):
            if any(one.risk in REBOOTS for one in base.away):
                return replace(base, status=Status.PENDING_REBOOT, exit=Exit.PENDING)
            waits_for = self._unmet(base.at, *IN_FORCE)
            return replace(base, status=Status.PENDING_RESTART, exit=Exit.PENDING, waits_for=waits_for)
        unmet = (*self._dropped(base.at), *self._unmet(base.at, *IN_FORCE))
        if all(one.activation for one in steps_of(base)):
            unmet = unmet or self._unmet(base.at, *BEFORE)
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
            reason = f"whether {names(suspension.untold)} is in use cannot be told now"
            return self._blocked(base, suspension.untold, reason)
        if suspension.refused:
            # their place is in the spec of the one that is held: it is told where the change is wished
            refused = tuple(self.of.placed(replace(d, path=()), base.at) for d in suspension.refused)
            return replace(
                base,
                status=Status.BLOCKED,
                exit=Exit.ERROR,
                reason=refused[0].message,
                diagnostics=(*base.diagnostics, *refused),
            )
        return replace(base, status=Status.CHANGE, exit=Exit.CHANGES)

    # What cannot be told ------------------------------------------------------------------------------

    def _unknown(self, base: ResourcePlan, seen: Unknown) -> ResourcePlan:
        """Unknown. In a guest that is off, and is to be, there is nothing to do."""
        base = replace(base, reason=seen.reason, hint=seen.hint)
        if self.of.reached(base.at.machine).how is Reach.OFF and not base.errors:
            return replace(base, status=Status.BLOCKED, exit=Exit.IN_SYNC)
        return replace(base, status=Status.UNKNOWN, exit=Exit.ERROR if base.errors else Exit.UNKNOWN)

    def _to_be_cured(self, base: ResourcePlan, seen: Unknown) -> ResourcePlan:
        """Unknown, and what would let it be told is about to come.

        It is planned as on a machine where it is absent, so that a first plan can be read whole.
        """
        coming = self._coming(base.at, seen)
        base = replace(base, later=tuple(_after(one, coming) for one in base.later))
        if self._is_hidden(base.at):  # it is there, and off: nothing is guessed of what is in it
            return self._blocked(base, coming, seen.reason)
        made = self.of.if_absent(base.at, coming)
        own, away = lift(base.at, suspending(base.at, made.actions, self.of.holders).actions)
        base = replace(base, changes=made.changes, actions=own, away=away)
        return self._lacking(base) or self._blocked(base, coming, seen.reason)

    def _coming(self, at: ScopedAddress, seen: Unknown) -> tuple[ScopedAddress, ...]:
        cures = [found for target in seen.cured_by for found in self.of.graph.meant(at, target)]
        vm = self._vm_of(at.machine)
        if vm and (self.of.reached(at.machine).how is Reach.OFF or self._is_unknown(vm)):
            cures.append(vm)
        return tuple(one for one in cures if self._is_coming(one))

    def _is_hidden(self, at: ScopedAddress) -> bool:
        """Whether it is in a guest that is there and could not be read."""
        if self.of.reached(at.machine).how is Reach.READ or (vm := self._vm_of(at.machine)) is None:
            return False
        return any(isinstance(one, GuestAccess) and one.defined for one in self.of.made[vm].exports)

    def _is_unknown(self, at: ScopedAddress) -> bool:
        return isinstance(self.of.observations.get(at), Unknown)

    def _vm_of(self, guest: str) -> ScopedAddress | None:
        for machine in self.of.tree.machines:
            if machine.id == guest and machine.parent and isinstance(machine.connect, Through):
                return ScopedAddress(machine.parent, machine.connect.vm)
        return None

    def _is_coming(self, at: ScopedAddress) -> bool:
        plan = self.done.get(at)
        return plan is not None and plan.status in (Status.CHANGE, Status.BLOCKED, *PENDING)

    def _blocked(self, base: ResourcePlan, on: Sequence[ScopedAddress], reason: str | None) -> ResourcePlan:
        exits = [self._exit_of(at) for at in on]
        return replace(base, status=Status.BLOCKED, exit=worst(exits), reason=reason, waits_for=tuple(on))

    def _exit_of(self, at: ScopedAddress) -> Exit:
        if at in self.done:
            return self.done[at].exit
        seen = self.of.observations[at]
        if not isinstance(seen, Unknown) or at in self.of.defects:
            return Exit.ERROR
        cures = [self.done[cure].exit for cure in self._coming(at, seen)]
        return worst(cures) if cures else Exit.UNKNOWN

    def _unmet(self, at: ScopedAddress, *how: How) -> tuple[ScopedAddress, ...]:
        targets = dict.fromkeys(self.of.graph.targets(at, *how))
        return tuple(t for t in targets if self.done[t].status is not Status.IN_SYNC)

    def _untold(self, at: ScopedAddress) -> tuple[ScopedAddress, ...]:
        """What it should know of and cannot: unknown, or in error. To leave it out would undo it."""
        known = dict.fromkeys(self.of.graph.targets(at, How.KNOWS))
        return tuple(t for t in known if self.of.cannot_tell(t))

    def _cannot_be_closed(self, base: ResourcePlan) -> Diagnostic:
        change = base.changes[0]
        problem = Diagnostic(
            "CXE130",
            "no action for this difference",
            found=str(change.old),
            expected=str(change.new),
            hint="this is a defect of cxlstate: please report it with the output of plan --json",
        )
        return self.of.placed(problem, base.at)

    # Leftovers ----------------------------------------------------------------------------------------

    def _unseen(self, at: ScopedAddress) -> str | None:
        """What was left of a kind that it gathers from must not be forgotten while it cannot be told."""
        unseen = self.of.unseen(at.machine)
        for kind in sorted(self._gathered(at) & unseen.keys()):
            return f"what an earlier spec left of {kind} cannot be told: {unseen[kind]}"
        return None

    def _dropped(self, at: ScopedAddress) -> tuple[ScopedAddress, ...]:
        """Leftovers still to be taken away: our own list of them is what it would rewrite."""
        kinds = self._gathered(at)
        return tuple(
            one
            for one, leftover in self.leftovers.items()
            if one.machine == at.machine and one.address.kind in kinds and leftover.actions
        )

    def _gathered(self, at: ScopedAddress) -> frozenset[str]:
        implied = self.of.kinds[at.address.kind].gathers is not None
        return self.of.graph.gathers(at) if implied else frozenset()

    @cached_property
    def leftovers(self) -> dict[ScopedAddress, Leftover]:
        """What is to go. What cannot be seen is not removed: none of a kind of which one is unknown."""
        unknown = {
            (at.machine, at.address.kind)
            for at, seen in self.of.observations.items()
            if isinstance(seen, Unknown)
        }
        found = {}
        for machine in self.of.tree.machines:
            wanted = self._wanted(machine.id)
            for address, leftover in sorted(self.of.leftovers(machine.id).items()):
                left = _without(leftover, wanted)
                if left.changes and (machine.id, address.kind) not in unknown:
                    found[ScopedAddress(machine.id, address)] = left
        return found

    def _wanted(self, machine: str) -> set[tuple[str, ...]]:
        """What resources want to be made ready at boot, whatever their names."""
        made = [one.exports for at, one in self.of.made.items() if at.machine == machine]
        steps = [one for exports in made for one in exports if isinstance(one, RestoreStep)]
        return {(one.words[0], *one.words[2:]) for one in steps}

    def _guarded_leftover(self, at: ScopedAddress) -> ResourcePlan:
        try:
            return self._leftover(at)
        except Exception as error:  # noqa: BLE001  # a kind's defect concerns its own resource only
            base = ResourcePlan(at, Resource(at.address, None), Status.BLOCKED, Exit.ERROR)
            return self._defective(base, error)

    def _leftover(self, at: ScopedAddress) -> ResourcePlan:
        """Done like anything else; without actions of its own it goes with what gathers from its kind."""
        leftover = self.leftovers[at]
        resource: Resource[object] = Resource(at.address, None)
        suspension = suspending(at, leftover.actions, self.of.holders)
        own, away = lift(at, suspension.actions)
        base = ResourcePlan(
            at,
            resource,
            Status.CHANGE,
            Exit.CHANGES,
            changes=leftover.changes,
            actions=own,
            away=away,
            reason="no longer in the spec",
            wanted=wanted_of(resource, {}),
            cause=Cause.UNAPPLIED,
        )
        gatherers = [
            one
            for one in self.of.order
            if one.machine == at.machine and at.address.kind in self._gathered(one)
        ]
        if leftover.actions or not gatherers:
            return self._lacking(base) or self._barred(base) or self._suspended(base, suspension)
        exit_ = worst(self.done[one].exit for one in gatherers) or Exit.CHANGES
        return replace(base, status=Status.BLOCKED, exit=exit_, waits_for=tuple(gatherers))


def _without(leftover: Leftover, wanted: set[tuple[str, ...]]) -> Leftover:
    """Without what another resource wants under its own name."""
    if not leftover.content:
        return leftover
    rows = zip(leftover.changes, leftover.actions, leftover.content, strict=True)
    kept = [row for row in rows if row[2] not in wanted]
    changes, actions = tuple(row[0] for row in kept), tuple(row[1] for row in kept)
    return replace(leftover, changes=changes, actions=actions, content=())


def _after(later: Later, coming: Sequence[ScopedAddress]) -> Later:
    """A check that waits for the resource to be readable waits for what makes it so."""
    return replace(later, after=later.after or tuple(one.address for one in coming))


def names(several: Sequence[ScopedAddress]) -> str:
    """Their addresses, for a sentence."""
    return ", ".join(str(at.address) for at in several)
