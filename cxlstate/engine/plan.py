"""What differs, what would be done about it, and what cannot be told. Pure: data in, data out.

The order of judgement for one resource is told in `docs/life-cycle.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any

from cxlstate.core.action import Action, Risk
from cxlstate.core.address import Address
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Export, Given
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.reconciler import How, Resource
from cxlstate.engine.graph import Graph
from cxlstate.engine.observe import Kinds, Observed
from cxlstate.engine.record import Cause, cause_of, digest_of
from cxlstate.spec.load import MachineSpec


class Status(StrEnum):
    """Where a resource stands."""

    IN_SYNC = "in-sync"
    CHANGE = "change"
    BLOCKED = "blocked"
    PENDING_REBOOT = "pending-reboot"
    PENDING_RESTART = "pending-restart"
    UNKNOWN = "unknown"


PENDING = (Status.PENDING_REBOOT, Status.PENDING_RESTART)


class Exit(IntEnum):
    """The exit statuses of the contract."""

    IN_SYNC = 0
    ERROR = 1
    CHANGES = 2
    PENDING = 3
    REFUSED = 4
    UNKNOWN = 5
    USAGE = 64


_FIRST = (Exit.ERROR, Exit.UNKNOWN, Exit.REFUSED, Exit.CHANGES, Exit.PENDING, Exit.IN_SYNC)


def worst(exits: Iterable[Exit]) -> Exit:
    """The one that is reported when several hold."""
    return min(exits, key=_FIRST.index, default=Exit.IN_SYNC)


@dataclass(frozen=True)
class ResourcePlan:
    """One resource: where it stands, what differs, what would be done."""

    resource: Resource[Any]
    status: Status
    exit: Exit
    changes: tuple[Change, ...] = ()
    actions: tuple[Action, ...] = ()
    reason: str | None = None
    hint: str | None = None
    waits_for: tuple[Address, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    digest: str = ""
    cause: Cause | None = None
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def address(self) -> Address:
        """Whose plan this is."""
        return self.resource.address

    @property
    def risks(self) -> tuple[Risk, ...]:
        """What doing all of it would interrupt, `live` left out."""
        return tuple(dict.fromkeys(a.risk for a in self.actions if a.risk is not Risk.LIVE))


@dataclass(frozen=True)
class MachinePlan:
    """All resources of a machine, in the order in which they would be done."""

    spec: MachineSpec
    resources: tuple[ResourcePlan, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    boot_id: str | None = None

    @property
    def exit(self) -> Exit:
        """The exit status of this machine."""
        errors = [Exit.ERROR for d in self.diagnostics if d.severity is Severity.ERROR]
        return worst([*errors, *(resource.exit for resource in self.resources)])

    @property
    def status(self) -> str:
        """One word for the machine."""
        words = {
            Exit.ERROR: "error",
            Exit.UNKNOWN: Status.UNKNOWN.value,
            Exit.CHANGES: Status.CHANGE.value,
            Exit.IN_SYNC: Status.IN_SYNC.value,
        }
        pending = [r.status for r in self.resources if r.status in PENDING]
        return words.get(self.exit) or max(pending, default=Status.PENDING_REBOOT).value

    @property
    def summary(self) -> dict[str, int]:
        """How many resources stand where."""
        counts = {status.value: 0 for status in Status}
        for resource in self.resources:
            counts[resource.status.value] += 1
        return counts

    def at(self, address: Address) -> ResourcePlan | None:
        """The plan of one resource."""
        return next((resource for resource in self.resources if resource.address == address), None)

    @property
    def all_diagnostics(self) -> tuple[Diagnostic, ...]:
        """The machine's and its resources'."""
        return self.diagnostics + tuple(d for r in self.resources for d in r.diagnostics)


@dataclass
class _Planner:
    """The state of one planning: what was observed, and what was judged so far."""

    spec: MachineSpec
    kinds: Kinds
    seen: Observed
    graph: Graph
    exports: dict[Address, Sequence[Export]] = field(default_factory=dict)
    problems: dict[Address, tuple[Diagnostic, ...]] = field(default_factory=dict)
    done: dict[Address, ResourcePlan] = field(default_factory=dict)

    def prepare(self) -> None:
        """Exports and checks of all, before anything is judged: who knows is told after who tells."""
        for address in self.graph.order(How.REQUIRES, How.KNOWS):
            resource, live = self.seen.resources[address], _live(self.seen.observations[address])
            self.exports[address] = self.kinds[address.kind].exports(resource, live, self.given(address))
        for address, resource in self.seen.resources.items():
            observation = self.seen.observations[address]
            if not isinstance(observation, Unknown):
                found = self.kinds[address.kind].check(resource, _live(observation), self.given(address))
                self.problems[address] = tuple(self._placed(d, resource) for d in found)

    def given(self, address: Address) -> Given:
        told = {t: self.exports[t] for t in self.graph.targets(address, How.REQUIRES, How.KNOWS)}
        return Given(told)

    def judge(self, address: Address) -> ResourcePlan:
        """Where a resource stands. Everything it needs was judged before."""
        resource = self.seen.resources[address]
        observation = self.seen.observations[address]
        given = self.given(address)
        problems = self.problems.get(address, ())
        digest = digest_of(resource, given.everything())
        base = ResourcePlan(resource, Status.IN_SYNC, Exit.IN_SYNC, digest=digest, diagnostics=problems)
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
        actions = tuple(kind.actions(resource, live, changes, given))
        record = (self.seen.records or {}).get(address)
        cause = cause_of(record, digest, records_readable=self.seen.records is not None)
        base = replace(base, changes=changes, actions=actions, cause=cause)
        if untold := self._untold(address):
            reason = f"it gathers what {_names(untold)} asks for, and that cannot be told now"
            return self._blocked(base, untold, reason)
        return self._differs(base)

    def _differs(self, base: ResourcePlan) -> ResourcePlan:
        if all(change.pending for change in base.changes):
            reboot = any(action.risk is Risk.REBOOT_HOST for action in base.actions)
            status = Status.PENDING_REBOOT if reboot else Status.PENDING_RESTART
            return replace(base, status=status, exit=Exit.PENDING)
        unmet = self._unmet(base.address, How.REQUIRES)
        todo = [action for action in base.actions if not action.activation]
        if not todo:
            unmet = unmet or self._unmet(base.address, How.REQUIRES, How.AFTER)
            if not unmet:
                return replace(
                    base,
                    status=Status.BLOCKED,
                    exit=Exit.ERROR,
                    reason="nothing that is declared closes this difference",
                    diagnostics=(*base.diagnostics, self._cannot_be_closed(base)),
                )
        if unmet:
            return self._blocked(base, unmet, None)
        return replace(base, status=Status.CHANGE, exit=Exit.CHANGES)

    def _unknown(self, base: ResourcePlan, seen: Unknown, given: Given) -> ResourcePlan:
        """Unknown, or blocked where what would let it be told is about to come.

        Then it is planned as on a machine where it is absent, so that a first plan can be read whole.
        """
        cures = [address for target in seen.cured_by for address in self.graph.declared(target)]
        coming = tuple(address for address in cures if self._is_coming(address))
        if coming:
            kind = self.kinds[base.address.kind]
            changes = tuple(kind.diff(base.resource, None, given))
            actions = tuple(kind.actions(base.resource, None, changes, given)) if changes else ()
            return self._blocked(replace(base, changes=changes, actions=actions), coming, seen.reason)
        return replace(base, status=Status.UNKNOWN, exit=Exit.UNKNOWN, reason=seen.reason, hint=seen.hint)

    def _is_coming(self, address: Address) -> bool:
        plan = self.done.get(address)
        return plan is not None and plan.status in (Status.CHANGE, Status.BLOCKED, *PENDING)

    def _blocked(self, base: ResourcePlan, on: Sequence[Address], reason: str | None) -> ResourcePlan:
        exits = [self._exit_of(address) for address in on]
        return replace(base, status=Status.BLOCKED, exit=worst(exits), reason=reason, waits_for=tuple(on))

    def _exit_of(self, address: Address) -> Exit:
        if address in self.done:
            return self.done[address].exit
        unknown = isinstance(self.seen.observations[address], Unknown)
        return Exit.UNKNOWN if unknown else Exit.ERROR

    def _unmet(self, address: Address, *how: How) -> tuple[Address, ...]:
        targets = dict.fromkeys(self.graph.targets(address, *how))
        return tuple(t for t in targets if self.done[t].status is not Status.IN_SYNC)

    def _untold(self, address: Address) -> tuple[Address, ...]:
        """What it should know of and cannot: unknown, or in error. To leave it out would undo it."""
        known = dict.fromkeys(self.graph.targets(address, How.KNOWS))
        return tuple(t for t in known if self._cannot_tell(t))

    def _cannot_tell(self, address: Address) -> bool:
        if isinstance(self.seen.observations[address], Unknown):
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
            "no action closes this difference, and nothing it waits for is about to change",
            found=str(change.old),
            expected=str(change.new),
            hint="this is a defect of cxlstate: please report it with the output of plan --json",
        )
        return self._placed(problem, base.resource)

    def leftover(self, address: Address) -> ResourcePlan:
        leftover = self.seen.leftovers[address]
        return ResourcePlan(
            Resource(address, None),
            Status.CHANGE,
            Exit.CHANGES,
            changes=leftover.changes,
            actions=leftover.actions,
            reason="no longer in the spec",
            cause=Cause.UNAPPLIED,
        )


def make_plan(
    spec: MachineSpec, seen: Observed, kinds: Kinds, only: frozenset[Address] | None = None
) -> MachinePlan:
    """Judge every resource. `only` keeps those addresses and all they need."""
    needs = {address: kinds[address.kind].needs(me) for address, me in seen.resources.items()}
    graph = Graph(needs)
    planner = _Planner(spec, kinds, seen, graph)
    planner.prepare()
    for address in graph.order(How.REQUIRES, How.AFTER):
        planner.done[address] = planner.judge(address)
    wanted = _with_needs(graph, only) if only else None
    plans = [plan for plan in planner.done.values() if wanted is None or plan.address in wanted]
    plans = [plan for plan in plans if plan.address not in seen.implied or _worth_showing(plan, planner)]
    if wanted is None:
        plans += [planner.leftover(address) for address in sorted(seen.leftovers)]
    return MachinePlan(spec, tuple(plans), boot_id=seen.boot_id)


def _worth_showing(plan: ResourcePlan, planner: _Planner) -> bool:
    """Something implied is shown where it differs, or where something declared builds on it."""
    if plan.changes:
        return True
    return bool(planner.given(plan.address).everything())


def _with_needs(graph: Graph, only: frozenset[Address]) -> set[Address]:
    wanted: set[Address] = set()
    todo = list(only)
    while todo:
        address = todo.pop()
        if address not in wanted:
            wanted.add(address)
            todo += graph.targets(address, How.REQUIRES, How.AFTER, How.KNOWS)
    return wanted


def _live(observation: Observation[Any]) -> Any:
    match observation:
        case Present(live=live):
            return live
        case Absent() | Unknown():
            return None


def _names(addresses: Sequence[Address]) -> str:
    return ", ".join(str(address) for address in addresses)
