"""Converge: read the tree, plan, do what is ready, read what that touched. Each step starts there.

One turn does one group of resources, and reads its machine again, which both proves the group and plans the
next. Killed anywhere, the next `apply` starts from what it finds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cxlstate.core.action import Action, Risk
from cxlstate.core.address import AllOf, ScopedAddress
from cxlstate.core.consent import Consents
from cxlstate.core.diagnostic import CxlstateError, Diagnostic, Severity
from cxlstate.core.machine import MachineId, host_of
from cxlstate.core.reconciler import How
from cxlstate.engine.assess import assess_tree, missing_of
from cxlstate.engine.awaiting import Awaited
from cxlstate.engine.away import AwayNow
from cxlstate.engine.execute import Done, Executor
from cxlstate.engine.keeping import Keeper
from cxlstate.engine.observe import Kinds
from cxlstate.engine.plan import PENDING, Exit, Interruption, Plan, Reach, ResourcePlan, Status, worst
from cxlstate.engine.promise import Promise
from cxlstate.engine.reading import TreeReader
from cxlstate.engine.returning import Returns, not_converged
from cxlstate.engine.seen import Seen
from cxlstate.engine.turns import group, todo
from cxlstate.engine.writing import Writers
from cxlstate.machine.outcome import Result
from cxlstate.spec.names import Only
from cxlstate.spec.tree import Tree

LOOKS = 6
"""How often a group is looked at before it counts as not converged, a second apart."""

NOT_ALLOWED = {Result.FOREIGN: Risk.FOREIGN_BOOT, Result.REFUSED: Risk.POWER_OFF_VM}
"""What only shows while it is done, and needs consent of its own."""


class Watcher(Protocol):
    """Told what happens, to show it to a person. Must not decide anything."""

    def planned(self, plan: Plan) -> None:
        """A plan was made (again)."""

    def begins(self, plans: tuple[ResourcePlan, ...]) -> None:
        """These are being done now."""

    def ended(self, done: Done) -> None:
        """So they ended."""

    def proven(self, plans: tuple[ResourcePlan, ...]) -> None:
        """The machine was asked again, and so they stand."""

    def away(self, interruption: Interruption, *, begins: bool) -> None:
        """An interruption begins, or ends."""

    def waits(self, what: str) -> None:
        """Something takes long."""


@dataclass(frozen=True, slots=True)
class TurnedDown:
    """Actions that needed a consent of which nobody knew before they were begun."""

    at: ScopedAddress
    actions: tuple[Action, ...]
    risk: Risk
    diagnostics: tuple[Diagnostic, ...]

    def concerns(self, plan: ResourcePlan) -> bool:
        """Whether the very same is still to be done."""
        return plan.at == self.at and plan.status is not Status.IN_SYNC and todo(plan) == self.actions


@dataclass
class Applied:
    """What an apply came to. `diagnostics` tell what failed, and why what was refused on the way was.

    `stopped` are VMs that ran before a reboot of the host, declared or not, and do not run now. `left` are
    resources that differ and are no part of the plan file that was applied.
    """

    plan: Plan
    diagnostics: list[Diagnostic] = field(default_factory=list)
    refused: dict[ScopedAddress, tuple[Risk, ...]] = field(default_factory=dict)
    done: list[ScopedAddress] = field(default_factory=list)
    failed: frozenset[ScopedAddress] = frozenset()
    interrupted: bool = False
    stopped: tuple[str, ...] = ()
    left: tuple[ScopedAddress, ...] = ()

    @property
    def exit(self) -> Exit:
        """The exit status: of the last plan, with what failed and what was refused."""
        exits = [_as_refused(resource, self.refused) for resource in self.plan.resources]
        exits += [Exit.ERROR for d in self.plan.all_diagnostics if d.severity is Severity.ERROR]
        exits += [Exit.ERROR] * (bool(self.failed) or self.interrupted or bool(self.errors))
        exits += [Exit.REFUSED] * bool(self.refused)
        return worst(exits)

    @property
    def errors(self) -> list[Diagnostic]:
        """What went wrong with an interruption, and concerns no resource alone."""
        return [one for one in self.diagnostics if one.code in ("CXE212", "CXE260", "CXE261")]


def _destroys(plan: ResourcePlan) -> set[tuple[str, str]]:
    """What destroys data, and which, as the plan says it."""
    return {(one.effect.fingerprint(), one.why) for one in plan.actions if one.risk is Risk.DESTROY_DATA}


def _as_refused(plan: ResourcePlan, refused: dict[ScopedAddress, tuple[Risk, ...]]) -> Exit:
    """What was refused is no change to make; what waits for it takes its status."""
    if plan.at in refused or any(at in refused for at in plan.waits_for):
        return Exit.REFUSED
    return plan.exit


def _touched(plans: Collection[ResourcePlan], machine: MachineId) -> set[MachineId]:
    """Whom to read again: what is done in a guest may be done on its host."""
    on_host = any(action.on_parent for plan in plans for action in plan.actions)
    return {machine, host_of(machine)} if on_host else {machine}


@dataclass
class Converger:
    """One tree, one run. `stop` is asked between actions (Ctrl-C)."""

    tree: Tree
    writers: Writers
    kinds: Kinds
    consents: Consents
    run: str
    tool: str
    watcher: Watcher
    only: Only | None = None
    promise: Promise | None = None
    stop: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] = time.sleep
    seen: Seen = field(default_factory=Seen)
    failed: dict[ScopedAddress, tuple[Diagnostic, ...]] = field(default_factory=dict)
    turned_down: list[TurnedDown] = field(default_factory=list)
    _named: dict[ScopedAddress, set[tuple[str, str]]] = field(default_factory=dict)
    _apart: set[ScopedAddress] = field(default_factory=set)
    _stale: dict[ScopedAddress, int] = field(default_factory=dict)
    _ahead: set[ScopedAddress] = field(default_factory=set)
    _old: set[MachineId] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.reader = TreeReader(self.tree, self.kinds, self.writers.readers)
        self.returns = Returns(self.tree)
        self.away = AwayNow(self)
        self.awaited = Awaited(self)
        self.keeper = Keeper(self)

    # Plans ------------------------------------------------------------------------------------------

    def plan(self, machines: Collection[MachineId] | None = None) -> Plan:
        """Read the tree, or some of its machines again, and plan. What is in force gets its record."""
        self.seen = self.reader.read(self.seen, machines)
        self.awaited.note(self.seen)
        self._old = set() if machines is None else (self._old | self.seen.reached.keys()) - set(machines)
        plan = assess_tree(self.tree, self.seen, self.kinds, self.only)
        again = self.keeper.keep(plan)
        return self.plan(again) if again else plan

    def converge(self, plan: Plan) -> Applied:
        """Do everything that can be done. `plan` is what the machines need at this moment."""
        result = Applied(plan)
        self.away.name(plan)
        self._named = {one.at: named for one in plan.resources if (named := _destroys(one)) and not one.later}
        try:
            self._turns(result)
        except CxlstateError as lost:
            raise CxlstateError((*lost.diagnostics, *self.away.left_away())) from lost
        return self._ended(result)

    def _turns(self, result: Applied) -> None:
        """One after the other, until nothing can be done, all is read anew, and nobody is about to answer."""
        otherwise = (self.away.end_one, self.away.begin_one, self.awaited.look)
        while True:
            result.refused = self._not_allowed(result.plan)
            if self.stop():
                result.interrupted = True
                break
            if circle := self.returns.ends(result.plan, self.failed):
                self.failed |= {at: (problem,) for at, problem in circle.items()}
                break
            if ready := self._ready(result):
                plans = self._group(ready)
                if self._may_destroy_unseen(plans):
                    result.plan = self.plan(_touched(plans, plans[0].at.machine))
                else:
                    self._do(plans, result)
            elif not any(step(result) for step in otherwise):
                if not self._old:
                    break
                # What was done on one machine may be seen in another: a larger disk.
                result.plan = self.plan()
        while self.away.end_one(result):
            pass

    def _ended(self, result: Applied) -> Applied:
        """The whole tree is read once more, where something of it was read before the last effect."""
        if self._old:
            result.plan = self.plan()
        result.refused = self._not_allowed(result.plan)
        result.failed = frozenset(self.failed)
        standing = [no.diagnostics for no in self.turned_down if any(map(no.concerns, result.plan.resources))]
        told: list[Collection[Diagnostic]] = [*self.failed.values(), *standing, self.away.problems]
        told += [self.keeper.problems({at.machine for at in self.failed}), [*self.awaited.problems()]]
        result.diagnostics = list(dict.fromkeys(one for problems in told for one in problems))
        result.stopped = self.away.not_running(self.seen)
        if self.promise:
            result.left = tuple(one.at for one in result.plan.resources if one.changes and self._is_left(one))
        return result

    def _not_allowed(self, plan: Plan) -> dict[ScopedAddress, tuple[Risk, ...]]:
        """What is refused as things stand: what was refused before and is in sync by now is not."""
        refused = {}
        for one in plan.resources:
            turned_down = [no.risk for no in self.turned_down if no.concerns(one)]
            missing: list[Risk] = []
            if one.status is Status.CHANGE and not self._is_left(one):
                missing = [no.risk for no in missing_of(one, self.consents) if not no.activation]
            if risks := (*missing, *turned_down):
                refused[one.at] = tuple(dict.fromkeys(risks))
        return refused

    def _is_left(self, plan: ResourcePlan) -> bool:
        """Whether it is no part of the plan file that is applied, or could not be seen by then."""
        return self.promise is not None and (not self.promise.holds(plan) or plan.at in self._ahead)

    # What is ready ----------------------------------------------------------------------------------

    def _ready(self, result: Applied) -> list[ResourcePlan]:
        """What can be done now: with nobody away, or with those away that are.

        Of what waits for a restart of something else than a VM, only when nothing else is left.
        """
        plans = [plan for plan in result.plan.resources if self.may(plan, result)]
        changes = [plan for plan in plans if plan.status is Status.CHANGE and self.away.lets(plan)]
        if changes:
            return [self.away.without_start(plan) for plan in changes]
        return [
            plan
            for plan in plans
            if plan.status is Status.PENDING_RESTART and todo(plan) and self._is_restarted_now(plan)
        ][:1]

    def _is_restarted_now(self, plan: ResourcePlan) -> bool:
        if plan.waits_for or plan.away or plan.at in self.away.restarted:
            return False
        return not missing_of(plan, self.consents)

    def may(self, plan: ResourcePlan, result: Applied) -> bool:
        """Whether nothing that happened in this run, no missing consent and no plan file forbids it."""
        if plan.status not in (Status.CHANGE, *PENDING) or plan.at in self.failed:
            return False
        if plan.at in result.refused or self._holds_what_failed(plan) or self._is_left(plan):
            return False
        reached = self.seen.reached.get(plan.at.machine)
        is_read = reached is None or reached.how is Reach.READ
        return is_read and self._destroys_what_was_named(plan) and self._is_promised(plan)

    def _destroys_what_was_named(self, plan: ResourcePlan) -> bool:
        """Where the first plan showed what is destroyed, nothing else is destroyed in its place.

        It did not of what could not be seen yet: then consent was given for whatever is there.
        """
        if plan.at not in self._named or _destroys(plan) <= self._named[plan.at]:
            return True
        self.failed[plan.at] = (
            Diagnostic(
                "CXE262",
                f"{plan.address} would destroy other data than the plan named",
                machine=plan.at.machine,
                address=plan.address,
                source=self.tree.locate(plan.resource.path) if plan.resource.path else None,
                found="; ".join(action.does for action in plan.actions if action.risk is Risk.DESTROY_DATA),
                expected="what the plan named",
                hint=f"nothing of it was done; plan again: cxlstate plan {self.tree.file}",
            ),
        )
        return False

    def _may_destroy_unseen(self, plans: Sequence[ResourcePlan]) -> bool:
        """Whether something was done elsewhere since what is destroyed was looked at: that takes its time."""
        touched = _touched(plans, plans[0].at.machine)
        return bool(self._old & touched) and any(map(_destroys, plans))

    def _is_promised(self, plan: ResourcePlan) -> bool:
        """Whether it may be done: where a plan file is applied, only what that holds."""
        if self.promise is None or plan.status is Status.PENDING_REBOOT:
            return True
        broken = self.promise.broken_by(self.tree.file, plan)
        if broken:
            self.failed[plan.at] = (broken,)
        return broken is None

    def _holds_what_failed(self, plan: ResourcePlan) -> bool:
        """Whether it would write down for later what just failed: it gathers a kind, and comes behind it."""
        if not self.failed or plan.resource.spec is None:
            return False
        needs = self.kinds[plan.address.kind].reconciler.needs(plan.resource)
        known, before = ({n.target for n in needs if n.how is how} for how in (How.KNOWS, How.AFTER))
        gathered = {one.kind for one in known & before if isinstance(one, AllOf)}
        return any(at.machine == plan.at.machine and at.address.kind in gathered for at in self.failed)

    def _group(self, ready: list[ResourcePlan]) -> tuple[ResourcePlan, ...]:
        """What is done now. What did not hold together is tried one by one."""
        if ready[0].at in self._apart:
            return (ready[0],)
        return group([plan for plan in ready if plan.at not in self._apart])

    # Doing ------------------------------------------------------------------------------------------

    def executor(self, machine: MachineId) -> Executor:
        """Who does it on a machine. Raises CxlstateError where its lock cannot be had."""
        one = next(one for one in self.tree.machines if one.id == machine)
        writer = self.writers.writer(one, self.reader.access(one, self.seen))
        return Executor(writer, self.writers.writer(self.tree.host), self.run, machine, self.consents)

    def _do(self, plans: tuple[ResourcePlan, ...], result: Applied) -> None:
        machine = plans[0].at.machine
        self.watcher.begins(plans)
        self.away.restarted |= {plan.at for plan in plans if plan.status is Status.PENDING_RESTART}
        try:
            ended = self.executor(machine).execute(plans)
        except CxlstateError as error:
            if machine == self.tree.host.id:
                raise
            self.failed |= {plan.at: tuple(one.on(machine) for one in error.diagnostics) for plan in plans}
            self.writers.drop(machine)
            result.plan = self.plan([machine])
            return
        for done in ended:
            self.watcher.ended(done)
            self.note(done, plans, result)
        good = {at for done in ended if done.result is Result.DONE for at in done.addresses}
        self.prove([plan for plan in plans if plan.at in good], result, machine)

    def note(self, done: Done, plans: Collection[ResourcePlan], result: Applied) -> None:
        """Keep how something ended, for the resources that it was done for."""
        todo_of = {plan.at: todo(plan) for plan in plans}
        for at in done.addresses:
            if done.result is Result.DONE:
                result.done.append(at)
            elif done.half_done:
                self.failed[at] = done.diagnostics
            elif done.result in NOT_ALLOWED:
                self.turned_down.append(
                    TurnedDown(at, todo_of.get(at, ()), NOT_ALLOWED[done.result], done.diagnostics)
                )
            elif done.result is Result.STALE and self._stale.get(at, 0) < LOOKS:
                self._stale[at] = self._stale.get(at, 0) + 1
            else:
                self.failed[at] = done.diagnostics

    def prove(self, plans: list[ResourcePlan], result: Applied, machine: MachineId) -> None:
        """Ask again until nothing is left of what was done, or it counts as not converged."""
        for look in range(LOOKS):
            if look:
                self.sleep(1)
            result.plan = self.plan(_touched(plans, machine))
            left = [plan for plan in plans if self._remains(plan, result.plan)]
            if not left:
                break
            self.watcher.waits(f"waiting for {left[0].address} to be as it should")
        proven = tuple(plan for plan in plans if plan not in left)
        self.returns.proven(proven)
        self._ahead |= {plan.at for plan in proven if plan.later}
        if len(plans) > 1:
            self._apart |= {plan.at for plan in left}
            left = []
        for plan in left:
            self.failed[plan.at] = (not_converged(plan, result.plan, self.tree),)
        self.watcher.proven(tuple(filter(None, (result.plan.at(plan.at) for plan in plans))))

    def _remains(self, done: ResourcePlan, plan: Plan) -> bool:
        """Still to change; or, where it was restarted for it, still waiting for that.

        What could not be seen before it was done is another turn's.
        """
        now = plan.at(done.at)
        if now is None or now.status not in (Status.CHANGE, done.status):
            return False
        if done.later and not set(done.changes) & set(now.changes):
            return False
        return not self.away.only_starts(now)
