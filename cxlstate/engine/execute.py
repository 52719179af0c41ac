"""Do the actions of resources that are ready, and nothing that was not allowed.

The only module that hands effects to a writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from cxlstate.core.action import Action, Generate, Risk, Run
from cxlstate.core.address import ScopedAddress
from cxlstate.core.consent import Consents
from cxlstate.core.diagnostic import CxlstateError, Diagnostic
from cxlstate.core.effect import Effect
from cxlstate.core.first_boot import CustomizeImage
from cxlstate.core.libvirt import LibvirtEffect, StopDomain
from cxlstate.core.machine import MachineId, host_of
from cxlstate.engine.plan import ResourcePlan
from cxlstate.engine.turns import merged, todo
from cxlstate.machine.outcome import Entry, Outcome, Result
from cxlstate.machine.writer import Writer


@dataclass(frozen=True, slots=True)
class Done:
    """How the actions of a group of resources ended.

    `half_done`: what was done before a failure could not all be undone.
    """

    addresses: tuple[ScopedAddress, ...]
    result: Result
    diagnostics: tuple[Diagnostic, ...] = ()
    half_done: bool = False


@dataclass(slots=True)
class _Undone:
    """What was taken back before a failure was told: what it did, and what libvirt said to that."""

    stays: bool
    does: dict[str, str] = field(default_factory=dict)
    problems: tuple[Diagnostic, ...] = ()

    @property
    def words(self) -> str:
        """To be put behind a hint."""
        said = [f"{does} ({said})" if said else does for does, said in self.does.items()]
        taken_back = f"; taken back: {', '.join(said)}" if said else ""
        return f"{taken_back}; what else was done stays done" if self.stays else taken_back


@dataclass(frozen=True, slots=True)
class Executor:
    """Performs actions on one machine, in one run, under what was allowed.

    `host` writes the host of a guest, for what is done there; of a host, itself.
    """

    writer: Writer
    host: Writer
    run: str
    machine: MachineId
    consents: Consents

    def execute(self, plans: Sequence[ResourcePlan]) -> list[Done]:
        """Do a group's actions. What fails together is tried one by one: the good ones are done."""
        done = self.perform(merged(plans), tuple(plan.at for plan in plans))
        if done.result is Result.FAILED and len(plans) > 1:
            return [self.perform(todo(plan), (plan.at,)) for plan in plans]
        return [done]

    def perform(
        self, actions: Sequence[Action], addresses: tuple[ScopedAddress, ...], before: Sequence[Action] = ()
    ) -> Done:
        """One action after the other; where one does not succeed, those before it are undone.

        `before` are actions that were done already, and are undone, too.
        """
        done = list(before)
        for action in actions:
            outcome = self._do(action, addresses)
            if outcome.result is not Result.DONE:
                problem = _diagnostic(action, outcome, self.machine, addresses)
                undone = self._undo(done, problem, addresses)
                problem = replace(problem, hint=f"{problem.hint}{undone.words}")
                return Done(
                    addresses, outcome.result, (problem, *undone.problems), half_done=bool(undone.problems)
                )
            done.append(action)
        return Done(addresses, Result.DONE)

    def undo(self, done: Sequence[Action], addresses: tuple[ScopedAddress, ...]) -> tuple[Diagnostic, ...]:
        """Take back what was done for others that failed. Errors of the way back."""
        return self._undo(done, None, addresses).problems

    def _undo(
        self, done: Sequence[Action], why: Diagnostic | None, addresses: tuple[ScopedAddress, ...]
    ) -> _Undone:
        """The last action first; the undo of one action in the order in which it is written.

        The way back ends where an action of it fails: what is undone after that counts on it.
        """
        undone = _Undone(stays=any(not action.undo for action in done))
        way = [(action, back) for action in reversed(done) for back in action.undo]
        for number, (action, back) in enumerate(way):
            try:
                outcome = self._do(_on_the_way_back(action, back), addresses)
            except CxlstateError as lost:
                left = self._half_done(way[number:], "", addresses)
                raise CxlstateError((*((why,) if why else ()), left, *lost.diagnostics)) from lost
            if outcome.result is not Result.DONE:
                undone.problems = (self._half_done(way[number:], outcome.output, addresses),)
                break
            told = isinstance(back.effect, LibvirtEffect)
            undone.does[action.does] = outcome.output.strip() if told else ""
        return undone

    def _half_done(
        self, left: Sequence[tuple[Action, Action]], said: str, addresses: Sequence[ScopedAddress]
    ) -> Diagnostic:
        """What was done and could not be taken back, and what takes it back by hand, on which machine."""
        does = dict.fromkeys(action.does for action, _ in left)
        by_hand = groupby(left, lambda step: _where(step[0], self.machine))
        hints = (f"on {at}: " + " && ".join(back.effect.shown() for _, back in on) for at, on in by_hand)
        return Diagnostic(
            "CXE212",
            f"undo failed: {next(iter(does))}",
            machine=addresses[0].machine,
            address=addresses[0].address,
            found=f"still done: {', '.join(does)}" + (f"\n{said.strip()[-4000:]}" if said.strip() else ""),
            expected="the machine as it was before",
            hint="; then ".join(hints),
        )

    def _do(self, action: Action, addresses: Sequence[ScopedAddress]) -> Outcome:
        entry = Entry(self.run, tuple(map(str, addresses)), action.does, action.risk.value)
        writer = self.host if action.on_parent else self.writer
        return writer.perform(self._with_consent(action, addresses), entry)

    def _with_consent(self, action: Action, addresses: Sequence[ScopedAddress]) -> Effect:
        """What only shows while it is done (another's edit, a deaf guest) is judged by what was allowed."""
        match action.effect:
            case Generate() as effect:
                allowed = [self._allowed(Risk.FOREIGN_BOOT, at) for at in addresses]
                return replace(effect, foreign=all(allowed))
            case StopDomain() as effect:
                named = [*addresses]
                if action.interrupts:
                    named.append(ScopedAddress(_where(action, self.machine), action.interrupts))
                return replace(effect, power_off=any(self._allowed(Risk.POWER_OFF_VM, at) for at in named))
            case effect:
                return effect

    def _allowed(self, risk: Risk, at: ScopedAddress) -> bool:
        return self.consents.allow(risk, at.machine, at.address)


def _where(action: Action, machine: MachineId) -> MachineId:
    """The machine on which an action of a machine's resource is done."""
    return host_of(machine) if action.on_parent else machine


def _on_the_way_back(action: Action, back: Action) -> Action:
    """As the journal tells it: what is undone, and by what. Where it was done, and of whom it concerned."""
    does = f"undo {action.does}: {back.does}"
    interrupts = back.interrupts or action.interrupts
    return replace(back, does=does, interrupts=interrupts, on_parent=action.on_parent)


def _diagnostic(
    action: Action, outcome: Outcome, machine: str, addresses: Sequence[ScopedAddress]
) -> Diagnostic:
    said = outcome.output.strip()
    at = addresses[0]
    common = Diagnostic("", "", machine=at.machine, address=at.address, found=said[-4000:] or None)
    match outcome.result:
        case Result.STALE:
            return replace(
                common,
                code="CXE201",
                message=f"machine changed after the plan was made: {action.does} was not done",
                hint="plan again; nobody's edit was overwritten",
            )
        case Result.FOREIGN:
            return replace(
                common,
                code="CXE202",
                message=f"{action.does} would also activate edits of others",
                expected="no difference but our own",
                hint=f"if the difference is wanted: --allow foreign-boot={addresses[0]}",
            )
        case Result.REFUSED:
            vm = action.interrupts
            named = ScopedAddress(_where(action, machine), vm) if vm else addresses[0]
            return replace(
                common,
                code="CXE207",
                message=f"guest ignored its power button: {action.does} was given up",
                expected="a guest that shuts down when its power button is pressed",
                hint=f"see why on its console, or let its power be cut: --allow power-off-vm={named}",
            )
        case _:
            log = action.effect.log if isinstance(action.effect, Run | CustomizeImage) else ""
            more = f", and more of it in {log} on {machine}" if log else ""
            return replace(
                common,
                code="CXE203",
                message=f"{action.does} failed with status {outcome.status}",
                hint=f"what it said is above{more}; mend the cause and apply again",
            )
