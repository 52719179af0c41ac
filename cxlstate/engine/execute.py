"""Do the actions of resources that are ready, and nothing that was not allowed.

The only module that hands effects to a writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cxlstate.core.action import Action, Generate, Reboot, Risk, Run
from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.consent import Consents
from cxlstate.core.diagnostic import CxlstateError, Diagnostic
from cxlstate.core.effect import Effect
from cxlstate.core.libvirt import LibvirtEffect, StopDomain
from cxlstate.engine.plan import ResourcePlan, Status
from cxlstate.machine.outcome import Entry, Outcome, Result
from cxlstate.machine.writer import Writer


@dataclass(frozen=True, slots=True)
class Done:
    """How the actions of a group of resources ended.

    `half_done`: what was done before a failure could not all be undone.
    """

    addresses: tuple[Address, ...]
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


def todo(plan: ResourcePlan) -> tuple[Action, ...]:
    """What is to be done of its actions now.

    Of a change, all but those that only put into force what is written; of what waits for a restart,
    just those. A reboot concerns the whole machine and is done by itself.
    """
    if plan.status is Status.PENDING_RESTART:
        return tuple(a for a in plan.actions if a.activation and not isinstance(a.effect, Reboot))
    return tuple(action for action in plan.actions if not action.activation)


def missing_consent(plan: ResourcePlan, machine: str, consents: Consents) -> tuple[Risk, ...]:
    """Classes of its actions that were not allowed."""

    def allowed(action: Action) -> bool:
        named = (plan.address, action.interrupts or plan.address)
        return any(consents.allow(action.risk, machine, address) for address in named)

    return tuple(dict.fromkeys(action.risk for action in todo(plan) if not allowed(action)))


def group(ready: Sequence[ResourcePlan]) -> tuple[ResourcePlan, ...]:
    """The first ready resource, and those of its kind whose actions can be run together with its."""
    first = ready[0]
    runs = [action.effect for action in todo(first) if isinstance(action.effect, Run)]
    if not any(run.operands for run in runs) or any(action.suspends for action in todo(first)):
        return (first,)
    shape = _shape(first)
    return tuple(plan for plan in ready if plan.address.kind == first.address.kind and _shape(plan) == shape)


@dataclass(frozen=True, slots=True)
class Executor:
    """Performs actions on one machine, in one run, under what was allowed."""

    writer: Writer
    run: str
    machine: str
    consents: Consents

    def execute(self, plans: Sequence[ResourcePlan]) -> list[Done]:
        """Do a group's actions. What fails together is tried one by one: the good ones are done."""
        done = self._perform(_merged(plans), tuple(plan.address for plan in plans))
        if done.result is Result.FAILED and len(plans) > 1:
            return [self._perform(todo(plan), (plan.address,)) for plan in plans]
        return [done]

    def _perform(self, actions: Sequence[Action], addresses: tuple[Address, ...]) -> Done:
        """One action after the other; where one does not succeed, those before it are undone."""
        done: list[Action] = []
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

    def _undo(self, done: Sequence[Action], why: Diagnostic, addresses: tuple[Address, ...]) -> _Undone:
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
                raise CxlstateError((why, left, *lost.diagnostics)) from lost
            if outcome.result is not Result.DONE:
                undone.problems = (self._half_done(way[number:], outcome.output, addresses),)
                break
            told = isinstance(back.effect, LibvirtEffect)
            undone.does[action.does] = outcome.output.strip() if told else ""
        return undone

    def _half_done(
        self, left: Sequence[tuple[Action, Action]], said: str, addresses: Sequence[Address]
    ) -> Diagnostic:
        """What was done and could not be taken back, and what takes it back by hand."""
        does = dict.fromkeys(action.does for action, _ in left)
        by_hand = " && ".join(back.effect.shown() for _, back in left)
        return Diagnostic(
            "CXE212",
            f"undo failed: {next(iter(does))}",
            machine=self.machine,
            address=addresses[0],
            found=f"still done: {', '.join(does)}" + (f"\n{said.strip()[-4000:]}" if said.strip() else ""),
            expected="the machine as it was before",
            hint=f"on {self.machine}: {by_hand}",
        )

    def _do(self, action: Action, addresses: Sequence[Address]) -> Outcome:
        scoped = tuple(str(ScopedAddress(self.machine, address)) for address in addresses)
        entry = Entry(self.run, scoped, action.does, action.risk.value)
        return self.writer.perform(self._with_consent(action, addresses), entry)

    def _with_consent(self, action: Action, addresses: Sequence[Address]) -> Effect:
        """What only shows while it is done (another's edit, a deaf guest) is judged by what was allowed."""
        match action.effect:
            case Generate() as effect:
                allowed = [self._allowed(Risk.FOREIGN_BOOT, address) for address in addresses]
                return replace(effect, foreign=all(allowed))
            case StopDomain() as effect:
                named = (*addresses, *([action.interrupts] if action.interrupts else []))
                return replace(effect, power_off=any(self._allowed(Risk.POWER_OFF_VM, one) for one in named))
            case effect:
                return effect

    def _allowed(self, risk: Risk, address: Address) -> bool:
        return self.consents.allow(risk, self.machine, address)


def _on_the_way_back(action: Action, back: Action) -> Action:
    """As the journal tells it: what is undone, and by what. It concerns whom the action concerned."""
    does = f"undo {action.does}: {back.does}"
    return replace(back, does=does, interrupts=back.interrupts or action.interrupts)


def _merged(plans: Sequence[ResourcePlan]) -> tuple[Action, ...]:
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
        (action.effect.argv, action.effect.environment, action.effect.unless, action.risk, action.suspends)
        if isinstance(action.effect, Run) and action.effect.operands
        else action
        for action in todo(plan)
    )


def _diagnostic(action: Action, outcome: Outcome, machine: str, addresses: Sequence[Address]) -> Diagnostic:
    said = outcome.output.strip()
    common = Diagnostic("", "", machine=machine, address=addresses[0], found=said[-4000:] or None)
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
                hint=f"if the difference is wanted: --allow foreign-boot={machine}/{addresses[0]}",
            )
        case Result.REFUSED:
            return replace(
                common,
                code="CXE207",
                message=f"guest ignored its power button: {action.does} was given up",
                expected="a guest that shuts down when its power button is pressed",
                hint="see why on its console, or let its power be cut: "
                f"--allow power-off-vm={machine}/{action.interrupts or addresses[0]}",
            )
        case _:
            return replace(
                common,
                code="CXE203",
                message=f"{action.does} failed with status {outcome.status}",
                hint="what it said is above; mend the cause and apply again",
            )
