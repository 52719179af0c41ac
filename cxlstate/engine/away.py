"""Who is away in a run: interruptions are begun for all that may join them, and ended for all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cxlstate.core.action import Action, Reboot, Risk
from cxlstate.core.address import ScopedAddress
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.machine import MachineId, guest_id
from cxlstate.engine.assess import missing_of
from cxlstate.engine.execute import Done
from cxlstate.engine.lifting import REBOOTS
from cxlstate.engine.plan import Interruption, Plan, Planned, ResourcePlan, Status
from cxlstate.engine.promise import name_of
from cxlstate.engine.returning import not_converged
from cxlstate.engine.seen import Seen
from cxlstate.engine.turns import Key, key_of
from cxlstate.machine.outcome import Entry, Result

if TYPE_CHECKING:
    from cxlstate.engine.apply import Applied, Converger

SETTLES, SETTLE = 24, 5.0
"""How often, and how many seconds apart, a machine is asked after a boot for what it does not tell yet."""


@dataclass(frozen=True, slots=True)
class _Open:
    """An interruption that has begun, and the resources for which it did."""

    of: Interruption
    joined: tuple[ResourcePlan, ...]

    @property
    def addresses(self) -> tuple[ScopedAddress, ...]:
        return tuple(plan.at for plan in self.joined)


@dataclass
class AwayNow:
    """`named` are VMs that may be stopped: the first plan showed them. `ran` are those that a reboot did."""

    run: Converger
    open: list[_Open] = field(default_factory=list)
    restarted: set[ScopedAddress] = field(default_factory=set)
    problems: list[Diagnostic] = field(default_factory=list)
    named: dict[MachineId, set[str]] = field(default_factory=dict)
    ran: set[str] = field(default_factory=set)
    _tried: set[tuple[Key, ScopedAddress]] = field(default_factory=set)
    _kept: set[ScopedAddress] = field(default_factory=set)

    def name(self, plan: Plan) -> None:
        """The VMs that were shown, or that the spec names."""
        for machine in plan.machines:
            declared = {one.name for one in machine.machine.resources if one.address.kind == "vm"}
            self.named[machine.machine.id] = declared | {vm.name for vm in machine.running.vms}
        for one in plan.interruptions:
            self.named[one.machine] |= {vm.name for vm in one.stops}

    def not_running(self, seen: Seen) -> tuple[str, ...]:
        """VMs that ran before a reboot and do not run now."""
        runs = {vm.name for observed in seen.machines.values() for vm in observed.running.vms}
        return tuple(sorted(self.ran - runs))

    # What is away, for those that are done meanwhile --------------------------------------------------

    def lets(self, plan: ResourcePlan) -> bool:
        """Whether everybody is away who has to be, and something is left to do before they come back.

        Who was not allowed to be off for good comes back to what it ran on.
        """
        if self.open and plan.at in self._kept:
            return False
        subjects = {one.of.subject for one in self.open}
        needed = (one.subject for one in plan.away if not one.activation)
        return all(subject in subjects for subject in needed) and not self.only_starts(plan)

    def without_start(self, plan: ResourcePlan) -> ResourcePlan:
        """What is away comes back when all is done: to start it again is the interruption's."""
        kept = tuple(action for action in plan.actions if not self._brings_back(plan.at.machine, action))
        return replace(plan, actions=kept)

    def only_starts(self, plan: ResourcePlan) -> bool:
        """Whether nothing is left of it but to start what is away."""
        return bool(plan.actions) and not self.without_start(plan).actions

    def _brings_back(self, machine: MachineId, action: Action) -> bool:
        subject = ScopedAddress(machine, action.interrupts) if action.interrupts else None
        return action.risk is Risk.LIVE and any(one.of.subject == subject for one in self.open)

    # Beginning ----------------------------------------------------------------------------------------

    def begin_one(self, result: Applied) -> bool:
        """Begin the first interruption that may be begun, with those that its resources need besides."""
        by_key = {key_of(one): one for one in result.plan.interruptions}
        for one in result.plan.interruptions:
            joined = self._joined(one, by_key, result)
            if not joined:
                continue
            if one.risk in REBOOTS:
                if self._reboots(one, joined, result):
                    return True
                continue
            keys = {key_of(away) for plan in joined for away in plan.away if not away.activation}
            for key in dict.fromkeys((key_of(one), *sorted(keys, key=str))):
                other = by_key[key]
                its = self._joined(other, by_key, result)
                if not self._begin_vm(other, its, result):
                    break
            return True
        return False

    def _joined(
        self, one: Interruption, by_key: dict[Key, Interruption], result: Applied
    ) -> tuple[ResourcePlan, ...]:
        """The resources that it is begun for: none of them without consent, or on the way into an error."""
        plans = [plan for at in one.because if (plan := result.plan.at(at))]
        if one.risk in REBOOTS:
            self._rebooted_in_vain(one, plans, result)
        return tuple(plan for plan in plans if self._may_join(plan, one, by_key, result))

    def _may_join(
        self, plan: ResourcePlan, one: Interruption, by_key: dict[Key, Interruption], result: Applied
    ) -> bool:
        waits = plan.waits_for if plan.status is Status.PENDING_RESTART else ()
        if waits or not self.run.may(plan, result) or (key_of(one), plan.at) in self._tried:
            return False
        if self.run.promise and name_of(one) not in self.run.promise.interruptions:
            return False
        if one.risk in REBOOTS and plan.status is not Status.PENDING_REBOOT:
            return False
        if missing_of(replace(plan, actions=()), self.run.consents):
            return False
        needed = [away for away in plan.away if away.activation is (plan.status is not Status.CHANGE)]
        interruptions = [by_key[key_of(away)] for away in needed]
        return one in interruptions and not any(map(self._is_barred, interruptions))

    def _is_barred(self, one: Interruption) -> bool:
        """Whether it would lead into an error that is known."""
        concerned = {*one.because, *([one.subject] if isinstance(one.subject, ScopedAddress) else [])}
        failed = [at for at in self.run.failed if at in concerned or self._makes_the_boot(at, one)]
        return bool(one.barred or failed)

    def _makes_the_boot(self, at: ScopedAddress, one: Interruption) -> bool:
        kind = self.run.kinds[at.address.kind]
        return one.risk in REBOOTS and at.machine == one.subject and kind.gathers is not None

    def _begin_vm(self, one: Interruption, joined: tuple[ResourcePlan, ...], result: Applied) -> bool:
        self._tried |= {(key_of(one), plan.at) for plan in joined}
        if problem := self._not_named(one):
            self.problems.append(problem)
            return False
        self.run.watcher.away(one, begins=True)
        if guest := _guest_of(one):
            self.run.writers.drop(guest)
        addresses = tuple(plan.at for plan in joined)
        done = self.run.executor(one.machine).perform([one.begin[0].action], addresses)
        if done.result is Result.DONE:
            self._opens(one, joined, result)
            result.done += [plan.at for plan in joined if not plan.actions]
        else:
            self.run.watcher.ended(done)
            self.run.note(done, joined, result)
        result.plan = self.run.plan([one.machine])
        return done.result is Result.DONE

    def _opens(self, one: Interruption, joined: tuple[ResourcePlan, ...], result: Applied) -> None:
        """What was refused since a VM would stay off for it is not done while that VM is off for this."""
        kept = set() if not self.open else self._kept
        off = (plan for plan in result.plan.resources if any(not away.end for away in plan.away))
        self._kept = kept | {plan.at for plan in off if plan.at in result.refused}
        self.open.append(_Open(one, joined))

    # Ending -------------------------------------------------------------------------------------------

    def end_one(self, result: Applied) -> bool:
        """Bring back who went last. False: nobody is away."""
        if not self.open:
            return False
        opened = self.open.pop()
        if opened.of.risk in REBOOTS:
            self._start_those_that_ran(opened, result)
        else:
            self._end_vm(opened, result)
        return True

    def _end_vm(self, opened: _Open, result: Applied) -> None:
        """Started as its definition says now; where that fails, as it ran (the undo of its stop)."""
        one = opened.of
        executor = self.run.executor(one.machine)
        subject, begin = one.begin[0].at, one.begin[0].action
        now = result.plan.at(subject)
        addresses = (subject,) if now else opened.addresses
        start = self._start(one, now)
        if start is None or self._is_half_done(opened):
            if any(at in self.run.failed for at in opened.addresses):
                self.problems += executor.undo([begin], addresses)
            result.plan = self.run.plan([one.machine])
            return
        self.run.watcher.away(one, begins=False)
        done = executor.perform([start], addresses, before=[begin])
        if done.result is not Result.DONE:
            self.run.watcher.ended(done)
            self._failed_to_come_back(done)
            result.plan = self.run.plan([one.machine])
            return
        concerned = {plan.at: plan for plan in (*opened.joined, *([now] if now else []))}
        good = [plan for plan in concerned.values() if plan.at == subject or self._is_done(plan, result)]
        result.done += [plan.at for plan in good if plan.at not in result.done]
        self.run.prove([plan for plan in good if plan.status is not Status.IN_SYNC], result, one.machine)

    def _is_done(self, plan: ResourcePlan, result: Applied) -> bool:
        """Whether what it waited for has happened: its own actions, or the interruption alone."""
        if plan.at in self.run.failed:
            return False
        return plan.at in result.done or not plan.actions

    def _is_half_done(self, opened: _Open) -> bool:
        """Whether what was done meanwhile failed and could not be undone: it comes back as it ran, or not."""
        problems = (one for at in opened.addresses for one in self.run.failed.get(at, ()))
        return any(one.code == "CXE212" for one in problems)

    def left_away(self) -> tuple[Diagnostic, ...]:
        """Who is away as a run breaks off, and what brings it back."""
        return tuple(self._left(one.of) for one in reversed(self.open) if one.of.end)

    def _left(self, one: Interruption) -> Diagnostic:
        names = ", ".join(vm.name for vm in one.stops if vm.again)
        return Diagnostic(
            "CXE261",
            f"stopped and not started again: {names}",
            machine=one.machine,
            address=one.end[0].at.address,
            found="the run broke off in between",
            expected=f"{names} running, as before",
            hint=f"on {one.machine}: " + " && ".join(step.action.effect.shown() for step in one.end),
        )

    def _failed_to_come_back(self, done: Done) -> None:
        for at in done.addresses:
            self.run.failed[at] = done.diagnostics

    def _start(self, one: Interruption, now: ResourcePlan | None) -> Action | None:
        """What its own plan says of it by now, or what was planned at the beginning."""
        if not one.end:
            return None
        own = now.actions if now else ()
        starts = [a for a in own if a.interrupts == one.begin[0].at.address and a.risk is Risk.LIVE]
        return starts[0] if starts else one.end[0].action

    # Reboots ------------------------------------------------------------------------------------------

    def _rebooted_in_vain(self, one: Interruption, plans: list[ResourcePlan], result: Applied) -> None:
        for plan in plans:
            if plan.status is Status.PENDING_REBOOT and (key_of(one), plan.at) in self._tried:
                self.run.failed[plan.at] = (not_converged(plan, result.plan, self.run.tree),)

    def _reboots(self, one: Interruption, joined: tuple[ResourcePlan, ...], result: Applied) -> bool:
        """Shut down every VM that was named, reboot, and wait until all can be told again.

        What a plan file holds ends here: what comes after a boot is not in it.
        """
        executor = self.run.executor(one.machine)
        if self.run.promise or self.open or not executor.writer.survives_reboot:
            return False
        if problem := self._not_named(one):
            self.problems.append(problem)
            return False
        self.run.watcher.away(one, begins=True)
        self._tried |= {(key_of(one), plan.at) for plan in joined}
        stops = [step for step in one.begin if not isinstance(step.action.effect, Reboot)]
        self._opens(one, joined, result)  # where the connection is lost from here on, it is told
        if not self._shut_down(stops, joined, result):
            self.open.pop()
            return False
        for machine in self.run.tree.machines:
            if machine.parent == one.machine:
                self.run.writers.drop(machine.id)
                self.run.awaited.will_start(machine.id)
        addresses = tuple(plan.at for plan in joined)
        self.ran |= {vm.name for vm in one.stops}
        entry = Entry(self.run.run, tuple(map(str, addresses)), "reboot", one.risk.value)
        executor.writer.reboot(entry, self.run.watcher.waits)
        self.run.returns.forget()
        result.done += addresses
        result.plan = self._settled(result.plan)
        self.run.watcher.planned(result.plan)
        return True

    def _not_named(self, one: Interruption) -> Diagnostic | None:
        """A VM that runs and that nobody was told of is not stopped."""
        common = Diagnostic(
            "CXE260",
            f"{one.risk.value} of {one.subject} is not begun: it would stop a VM that was not named",
            machine=one.machine,
            expected="the VMs that the plan named: " + (", ".join(sorted(self.named[one.machine])) or "none"),
            hint="plan again, and see whom it stops",
        )
        if one.unknown:
            why = f"which VMs run is unknown: {one.unknown}"
            return replace(common, found=why, hint="see why, or reboot by hand; the next apply goes on")
        new = [vm.name for vm in one.stops if vm.name not in self.named[one.machine]]
        return replace(common, found=f"running since: {', '.join(new)}") if new else None

    def _shut_down(self, stops: list[Planned], joined: tuple[ResourcePlan, ...], result: Applied) -> bool:
        """All of them, or none: who goes on running ends it, and the others are started again."""
        executor = self.run.executor(joined[0].at.machine)
        for number, step in enumerate(stops):
            self.run.watcher.waits(step.action.does)
            done = executor.perform([step.action], (step.at,))
            if done.result is Result.DONE:
                continue
            back = [one.action for one in stops[:number]]
            problems = (*done.diagnostics, *executor.undo(back, (step.at,)))
            ended = Done(
                tuple(p.at for p in joined), done.result, problems, len(problems) > len(done.diagnostics)
            )
            self.run.watcher.ended(ended)
            self.run.note(ended, joined, result)
            result.plan = self.run.plan([step.at.machine])
            return False
        return True

    def _settled(self, before: Plan) -> Plan:
        """The plan after a boot, as soon as what could be told before it can be told again.

        A machine that lets us in may still be starting its daemons.
        """
        hidden = set(_unknown(before))
        for _ in range(SETTLES):
            plan = self.run.plan()
            if not (coming := set(_unknown(plan)) - hidden):
                break
            self.run.watcher.waits(f"waiting for {min(coming).address} to be told after the boot")
            self.run.sleep(SETTLE)
        return plan

    def _start_those_that_ran(self, opened: _Open, result: Applied) -> None:
        """Who ran before the reboot and does not start with the host; a declared one as its own plan says."""
        one = opened.of
        runs = {vm.name for vm in result.plan.on(one.machine).running.vms}
        todo = [step for step in one.end if step.at.address.name not in runs]
        for step in todo:
            self.run.watcher.waits(step.action.does)
            done = self.run.executor(one.machine).perform([step.action], (step.at,))
            if done.result is not Result.DONE:
                self.problems += [replace(problem, code="CXE261") for problem in done.diagnostics]
        if todo:
            result.plan = self.run.plan([one.machine])


def _unknown(plan: Plan) -> Iterator[ScopedAddress]:
    return (resource.at for resource in plan.resources if resource.status is Status.UNKNOWN)


def _guest_of(one: Interruption) -> MachineId | None:
    if not isinstance(one.subject, ScopedAddress):
        return None
    return guest_id(one.subject.machine, one.subject.address.name)
