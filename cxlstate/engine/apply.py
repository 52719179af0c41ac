"""Converge: observe, plan, do what is ready, look again. Level-based: every step starts from the machine.

One turn does one group of resources and asks the machine again, which both proves the group and plans
the next. Killed anywhere, the next `apply` starts from what it finds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from cxlstate.core.action import Action, Risk
from cxlstate.core.address import Address, AllOf, ScopedAddress
from cxlstate.core.consent import Consents
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.reconciler import How
from cxlstate.engine.execute import Done, Executor, group, missing_consent, todo
from cxlstate.engine.observe import Kinds, observe
from cxlstate.engine.plan import PENDING, Exit, MachinePlan, ResourcePlan, Status, worst
from cxlstate.engine.planner import make_plan
from cxlstate.engine.promise import Promise
from cxlstate.engine.record import Record
from cxlstate.machine.outcome import Entry, Result
from cxlstate.machine.writer import Writer
from cxlstate.spec.load import MachineSpec

LOOKS = 6
"""How often a group is looked at before it counts as not converged, a second apart."""

MOST_TURNS = 8
"""How often one resource may be done in a run, between two boots, though it differs otherwise each time."""

_NOT_ALLOWED = {Result.FOREIGN: Risk.FOREIGN_BOOT, Result.REFUSED: Risk.POWER_OFF_VM}
"""What only shows while it is done, and needs consent of its own."""

SETTLES, SETTLE = 24, 5.0
"""How often, and how many seconds apart, a machine is asked after a boot for what it does not tell yet."""


class Watcher(Protocol):
    """Told what happens, to show it to a person. Must not decide anything."""

    def planned(self, plan: MachinePlan) -> None:
        """A plan was made (again)."""

    def begins(self, plans: tuple[ResourcePlan, ...]) -> None:
        """These are being done now."""

    def ended(self, done: Done) -> None:
        """So they ended."""

    def proven(self, plans: tuple[ResourcePlan, ...]) -> None:
        """The machine was asked again, and so they stand."""

    def waits(self, what: str) -> None:
        """Something takes long."""


@dataclass(frozen=True, slots=True)
class _TurnedDown:
    """Actions that needed a consent of which nobody knew before they were begun."""

    address: Address
    actions: tuple[Action, ...]
    risk: Risk
    diagnostics: tuple[Diagnostic, ...]

    def concerns(self, plan: ResourcePlan) -> bool:
        """Whether the very same is still to be done."""
        return (
            plan.address == self.address and plan.status is not Status.IN_SYNC and todo(plan) == self.actions
        )


@dataclass
class Applied:
    """What an apply came to. `diagnostics` tell what failed, and why what was refused on the way was.

    `stopped` are VMs that ran before a reboot of the host, declared or not, and do not run now.
    """

    plan: MachinePlan
    diagnostics: list[Diagnostic] = field(default_factory=list)
    refused: dict[Address, tuple[Risk, ...]] = field(default_factory=dict)
    done: list[Address] = field(default_factory=list)
    failed: frozenset[Address] = frozenset()
    interrupted: bool = False
    stopped: tuple[str, ...] = ()

    @property
    def exit(self) -> Exit:
        """The exit status: of the last plan, with what failed and what was refused."""
        exits = [_as_refused(resource, self.refused) for resource in self.plan.resources]
        exits += [Exit.ERROR for d in self.plan.diagnostics if d.severity is Severity.ERROR]
        exits += [Exit.ERROR] * (bool(self.failed) or self.interrupted)
        exits += [Exit.REFUSED] * bool(self.refused)
        return worst(exits)


def _as_refused(plan: ResourcePlan, refused: dict[Address, tuple[Risk, ...]]) -> Exit:
    """What was refused is no change to make; what waits for it takes its status."""
    if plan.address in refused or any(address in refused for address in plan.waits_for):
        return Exit.REFUSED
    return plan.exit


@dataclass
class Converger:
    """One machine, one spec, one run. `stop` is asked between actions (Ctrl-C)."""

    spec: MachineSpec
    writer: Writer
    kinds: Kinds
    consents: Consents
    run: str
    tool: str
    watcher: Watcher
    only: frozenset[Address] | None = None
    promise: Promise | None = None
    stop: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] = time.sleep
    _apart: set[Address] = field(default_factory=set)
    _proven: list[tuple[ResourcePlan, ...]] = field(default_factory=list)
    _failed: dict[Address, tuple[Diagnostic, ...]] = field(default_factory=dict)
    _turned_down: list[_TurnedDown] = field(default_factory=list)
    _stale: dict[Address, int] = field(default_factory=dict)
    _rebooted_for: set[Address] = field(default_factory=set)
    _restarted: set[Address] = field(default_factory=set)
    _ran: set[str] = field(default_factory=set)

    def plan(self) -> MachinePlan:
        """Ask the machine and plan."""
        seen = observe(self.writer, self.spec, self.kinds)
        plan = make_plan(self.spec, seen, self.kinds, self.only)
        self._record(plan, seen.records or {})
        return plan

    def converge(self, plan: MachinePlan) -> Applied:
        """Do everything that can be done. `plan` is what the machine needs at this moment."""
        result = Applied(plan)
        while True:
            result.refused = self._not_allowed(result.plan)
            if self.stop():
                result.interrupted = True
                break
            if again := self._comes_back(result.plan):
                address, problem = again
                self._failed[address] = (problem,)
                break
            if ready := self._ready(result):
                self._do(self._group(ready), result)
            elif restart := self._restart(result):
                self._restarted.add(restart.address)
                self._do((restart,), result)
            elif not self._reboot(result):
                break
        result.failed = frozenset(self._failed)
        standing = [
            no.diagnostics for no in self._turned_down if any(map(no.concerns, result.plan.resources))
        ]
        told = [*self._failed.values(), *standing]
        result.diagnostics = list(dict.fromkeys(one for problems in told for one in problems))
        runs = {vm.name for vm in result.plan.running.vms}
        result.stopped = tuple(sorted(self._ran - runs))
        return result

    def _not_allowed(self, plan: MachinePlan) -> dict[Address, tuple[Risk, ...]]:
        """What is refused as things stand: what was refused before and is in sync by now is not."""
        refused = {}
        for one in plan.resources:
            turned_down = [no for no in self._turned_down if no.concerns(one)]
            missing: tuple[Risk, ...] = ()
            if one.status is Status.CHANGE:
                missing = missing_consent(one, self.spec.name, self.consents)
            if risks := (*missing, *(no.risk for no in turned_down)):
                refused[one.address] = tuple(dict.fromkeys(risks))
        return refused

    def _comes_back(self, plan: MachinePlan) -> tuple[Address, Diagnostic] | None:
        """A change that is to be made again, though it was proven in this run: it would never end."""
        for now in plan.resources:
            if now.status is not Status.CHANGE or now.address in self._failed:
                continue
            turns = [n for n, group in enumerate(self._proven) for one in group if one.address == now.address]
            same = [n for n in turns if any(set(one.changes) & set(now.changes) for one in self._at(n, now))]
            since = same[-1] if same else turns[-1] if len(turns) >= MOST_TURNS else None
            if since is not None:
                others = (one.address for group in self._proven[since:] for one in group)
                by = [one for one in dict.fromkeys(others) if one != now.address]
                return now.address, self._undone_by(now, by)
        return None

    def _at(self, turn: int, now: ResourcePlan) -> list[ResourcePlan]:
        return [one for one in self._proven[turn] if one.address == now.address]

    def _undone_by(self, now: ResourcePlan, others: list[Address]) -> Diagnostic:
        by = ", ".join(map(str, others)) or "nothing of this run"
        return Diagnostic(
            "CXE211",
            f"{now.address} was proven, and differs again" + (f" after {by}" if others else ""),
            machine=self.spec.name,
            address=now.address,
            source=self.spec.locate(now.resource.path) if now.resource.path else None,
            found=f"done since then: {by}; again {_differs(now)}",
            expected="changes that do not undo each other",
            hint=f"keep {now.address} or {others[0]} in the spec, not both"
            if others
            else f"find out what else changes {now.address}: look at the log of {self.spec.name}",
        )

    def _ready(self, result: Applied) -> list[ResourcePlan]:
        ready = []
        for plan in result.plan.resources:
            if plan.status is not Status.CHANGE or plan.address in self._failed:
                continue
            if self._holds_what_failed(plan):
                continue
            if plan.address not in result.refused and self._is_promised(plan):
                ready.append(plan)
        return ready

    def _group(self, ready: list[ResourcePlan]) -> tuple[ResourcePlan, ...]:
        """What is done now. What did not hold together is tried one by one."""
        if ready[0].address in self._apart:
            return (ready[0],)
        return group([plan for plan in ready if plan.address not in self._apart])

    def _holds_what_failed(self, plan: ResourcePlan) -> bool:
        """Whether it would write down for later what just failed: it gathers a kind, and comes behind it."""
        if not self._failed or plan.resource.spec is None:
            return False
        needs = self.kinds[plan.address.kind].needs(plan.resource)
        known, before = ({n.target for n in needs if n.how is how} for how in (How.KNOWS, How.AFTER))
        gathered = {one.kind for one in known & before if isinstance(one, AllOf)}
        return any(failed.kind in gathered for failed in self._failed)

    def _restart(self, result: Applied) -> ResourcePlan | None:
        """The next whose written state is put into force by a restart that was allowed, and not tried yet."""
        for plan in result.plan.resources:
            if plan.status is not Status.PENDING_RESTART or plan.waits_for or not todo(plan):
                continue
            if plan.address in self._restarted or plan.address in self._failed:
                continue
            if not missing_consent(plan, self.spec.name, self.consents) and self._is_promised(plan):
                return plan
        return None

    def _is_promised(self, plan: ResourcePlan) -> bool:
        """Whether it may be done: where a plan file is applied, only what that holds."""
        broken = self.promise.broken_by(plan) if self.promise else None
        if broken:
            self._failed[plan.address] = (broken,)
        return broken is None

    def _do(self, plans: tuple[ResourcePlan, ...], result: Applied) -> None:
        self.watcher.begins(plans)
        executor = Executor(self.writer, self.run, self.spec.name, self.consents)
        ended = executor.execute(plans)
        for done in ended:
            self.watcher.ended(done)
            self._note(done, plans, result)
        good = {address for done in ended if done.result is Result.DONE for address in done.addresses}
        self._prove([plan for plan in plans if plan.address in good], result)

    def _note(self, done: Done, plans: tuple[ResourcePlan, ...], result: Applied) -> None:
        todo_of = {plan.address: todo(plan) for plan in plans}
        for address in done.addresses:
            if done.result is Result.DONE:
                result.done.append(address)
            elif done.half_done:
                self._failed[address] = done.diagnostics
            elif done.result in _NOT_ALLOWED:
                no = _TurnedDown(address, todo_of[address], _NOT_ALLOWED[done.result], done.diagnostics)
                self._turned_down.append(no)
            elif done.result is Result.STALE and self._stale.get(address, 0) < LOOKS:
                self._stale[address] = self._stale.get(address, 0) + 1
            else:
                self._failed[address] = done.diagnostics

    def _prove(self, plans: list[ResourcePlan], result: Applied) -> None:
        """Ask again until nothing is left of what was done, or it counts as not converged."""
        for look in range(LOOKS):
            if look:
                self.sleep(1)
            result.plan = self.plan()
            left = [plan for plan in plans if self._is_left(plan, result.plan)]
            if not left:
                break
            self.watcher.waits(f"waiting for {left[0].address} to be as it should")
        self._proven.append(tuple(plan for plan in plans if plan not in left))
        if len(plans) > 1:
            self._apart |= {plan.address for plan in left}
            left = []
        for plan in left:
            self._failed[plan.address] = (_not_converged(self.spec, plan, result.plan),)
        self.watcher.proven(tuple(filter(None, (result.plan.at(plan.address) for plan in plans))))

    @staticmethod
    def _is_left(done: ResourcePlan, plan: MachinePlan) -> bool:
        """Still to change; or, where it was restarted for it, still waiting for that."""
        now = plan.at(done.address)
        return now is not None and now.status in (Status.CHANGE, done.status)

    def _reboot(self, result: Applied) -> bool:
        """Reboot if that is what is left, if it was allowed, and if it has not been tried for it.

        What a plan file holds ends here: what comes after a boot is not in it.
        """
        if self.promise:
            return False
        waiting = [plan for plan in result.plan.resources if _waits_for_reboot(plan)]
        again = [plan for plan in waiting if plan.address in self._rebooted_for]
        for plan in again:
            self._failed[plan.address] = (_not_converged(self.spec, plan, result.plan),)
        if not waiting or again or self._failed or result.refused or not self.writer.survives_reboot:
            return False
        if not all(self.consents.allow(Risk.REBOOT_HOST, self.spec.name, p.address) for p in waiting):
            return False
        self._proven.clear()  # what a boot forgets may have to be done again
        self._rebooted_for |= {plan.address for plan in waiting}
        result.done += [plan.address for plan in waiting]
        addresses = tuple(str(ScopedAddress(self.spec.name, plan.address)) for plan in waiting)
        self._ran |= {vm.name for vm in result.plan.running.vms}
        self.writer.reboot(Entry(self.run, addresses, "reboot", Risk.REBOOT_HOST.value), self.watcher.waits)
        result.plan = self._settled(result.plan)
        self.watcher.planned(result.plan)
        return True

    def _settled(self, before: MachinePlan) -> MachinePlan:
        """The plan after a boot, as soon as what could be told before it can be told again.

        A machine that lets us in may still be starting its daemons.
        """
        hidden = _unknown(before)
        for _ in range(SETTLES):
            plan = self.plan()
            if not (coming := _unknown(plan) - hidden):
                break
            self.watcher.waits(f"waiting for {min(coming)} to be told after the boot")
            self.sleep(SETTLE)
        return plan

    def _record(self, plan: MachinePlan, before: Mapping[Address, Record]) -> None:
        """Keep what is now in force, for `drift`; only what is new is written."""
        new, at = {}, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        for resource in plan.resources:
            if resource.status is Status.IN_SYNC or resource.status in PENDING:
                kept = before.get(resource.address)
                if kept is None or kept.wanted != resource.wanted:
                    new[str(resource.address)] = Record(resource.wanted, self.tool, at).line()
        if new:
            self.writer.record(new)


def _unknown(plan: MachinePlan) -> set[Address]:
    return {resource.address for resource in plan.resources if resource.status is Status.UNKNOWN}


def _waits_for_reboot(plan: ResourcePlan) -> bool:
    return plan.status is Status.PENDING_REBOOT


def _not_converged(spec: MachineSpec, plan: ResourcePlan, after: MachinePlan) -> Diagnostic:
    now = after.at(plan.address) or plan
    differs = _differs(now)
    wanted = "; ".join(f"{_dotted(c.path)}: {c.new}" for c in now.changes)
    return Diagnostic(
        "CXE204",
        "resource still differs after every action succeeded",
        machine=spec.name,
        address=plan.address,
        source=spec.locate(plan.resource.path) if plan.resource.path else None,
        found=differs,
        expected=wanted,
        hint="something else may be changing it back: look at the journal of the machine",
    )


def _differs(plan: ResourcePlan) -> str:
    return "; ".join(f"{_dotted(c.path)}: {c.old}" for c in plan.changes)


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(step) for step in path)
