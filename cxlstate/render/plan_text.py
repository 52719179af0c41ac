"""A plan for a person: machine by machine, guests below their host, what is done together in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from click import style

from cxlstate.core.action import Action, Reboot, Risk
from cxlstate.core.address import ScopedAddress
from cxlstate.core.connect import Through
from cxlstate.engine.plan import Exit, Interruption, MachinePlan, Plan, Reach, ResourcePlan, Status
from cxlstate.engine.turns import group, merged
from cxlstate.render.shown import field
from cxlstate.render.words import SIGNS, address_text, changes_text, few, filled, folded

_WIDEST = 24
"""Columns for names; a longer one moves only its own line."""

_AS_IT_RAN = "if that fails: started with the definition that it ran with"


def body_text(plan: Plan, *, everything: bool = False, verbose: bool = False) -> str:
    """What is done on each machine; what is in sync only with `everything`, commands with `verbose`."""
    body = _Body(plan, everything, verbose)
    return "\n\n".join(filter(None, ("\n".join(body.machine(one)) for one in plan.machines)))


class _Body:
    def __init__(self, plan: Plan, everything: bool, verbose: bool) -> None:  # noqa: FBT001  # from the two options
        self._plan = plan
        self._everything = everything
        self._verbose = verbose
        self._within = {at: turn.within for turn in plan.turns for at in turn.resources}

    def machine(self, plan: MachinePlan) -> list[str]:
        """A header, and a line for each resource or group; nothing where nothing is to be told."""
        shown = [one for one in plan.resources if self._everything or one.status is not Status.IN_SYNC]
        unread = plan.machine.parent is not None and plan.reached.how is not Reach.READ
        interruptions = [one for one in self._plan.interruptions if one.machine == plan.machine.id]
        if not shown and not interruptions and not unread and not plan.reached.new_key:
            return []
        planned = [one for one in shown if not unread or one.changes or one.errors]
        lines = [_header(plan, planned=bool(planned), away=self._goes_away(plan))]
        if len(planned) < len(shown):
            lines += _unread(plan, [one for one in shown if one not in planned])
        width = min(_WIDEST, max((len(name) for name in self._names(planned)), default=0))
        lines += self._rows([one for one in planned if not self._is_in(one, interruptions)], width)
        for interruption in interruptions:
            its = [one for one in planned if self._within.get(one.at) == interruption]
            lines += self._interruption(interruption, its, width)
        return lines

    def _goes_away(self, plan: MachinePlan) -> bool:
        """Whether a guest goes away with its VM or with its host."""
        vm = plan.machine.connect.vm if isinstance(plan.machine.connect, Through) else None
        subjects = (plan.machine.parent, ScopedAddress(plan.machine.parent or "", vm) if vm else None)
        return any(one.subject in subjects for one in self._plan.interruptions)

    def _is_in(self, plan: ResourcePlan, interruptions: Sequence[Interruption]) -> bool:
        return self._within.get(plan.at) in interruptions

    # Interruptions ----------------------------------------------------------------------------------

    def _interruption(self, one: Interruption, its: list[ResourcePlan], width: int) -> Iterator[str]:
        """A line across; what takes it away, what is done meanwhile or behind it, and what brings it back."""
        name = f": {one.subject.address.name}" if isinstance(one.subject, ScopedAddress) else ""
        yield style(f"  ── {one.risk.value}{field(name)} ──", fg="red")
        reboot = not name
        if self._verbose or one.stops:
            yield from _begin(one)
            yield from _end(one) if reboot else ()
        yield from self._rows(its, width)
        if not reboot:
            yield from _end(one)

    # Rows -------------------------------------------------------------------------------------------

    def _rows(self, plans: list[ResourcePlan], width: int) -> Iterator[str]:
        """Neighbours of a kind that say the same are one."""
        for _, several in groupby(plans, self._alike):
            row = list(several)
            if self._is_one(row):
                yield from self._together(row, width)
            else:
                for plan in row:
                    yield from self._row(plan, width)

    def _is_one(self, row: list[ResourcePlan]) -> bool:
        """Whether they fit one line; with their commands, only what is run together."""
        return len(row) > 1 and (not self._verbose or len(group(row)) == len(row))

    def _names(self, plans: list[ResourcePlan]) -> Iterator[str]:
        for _, several in groupby(plans, self._alike):
            row = list(several)
            yield from [_group_name(row)] if self._is_one(row) else map(address_text, row)

    def _alike(self, plan: ResourcePlan) -> object:
        kind, sign = plan.address.kind, self._sign(plan)[0]
        alone = plan.address.name == "" or plan.errors or plan.hint or self._risks(plan)
        text = plan.at if alone else (*self._pieces(plan), *self._later(plan))
        return kind, sign, text

    def _together(self, plans: list[ResourcePlan], width: int) -> Iterator[str]:
        first = plans[0]
        names = [field(plan.address.name) for plan in plans]
        yield from _line(
            self._sign(first), _group_name(plans), [" ".join(names), *self._pieces(first)], width
        )
        yield from _commands(merged(plans) if self._verbose else ())
        yield from self._later(first)

    def _row(self, plan: ResourcePlan, width: int) -> Iterator[str]:
        yield from _line(self._sign(plan), address_text(plan), self._pieces(plan), width)
        if plan.hint:
            yield from (style(line, fg="blue") for line in folded(f"→ {plan.hint}", 6))
        shown = plan.actions if self._verbose else tuple(self._risks(plan))
        yield from _commands(shown)
        yield from self._later(plan)

    def _pieces(self, plan: ResourcePlan) -> list[str]:
        """What differs, from whose wish that follows, and a note."""
        changed = {one.path for one in plan.changes}
        derived = dict.fromkeys(field(f"from {one.of}") for one in plan.derived if one.path in changed)
        return [*changes_text(plan.changes), *derived, *_notes(self._note(plan))]

    def _later(self, plan: ResourcePlan) -> Iterator[str]:
        """The checks that something unknown holds back."""
        for later in plan.later if self._verbose else ():
            after = f" after {few([str(one) for one in later.after])}" if later.after else " later"
            yield from (style(line, dim=True) for line in folded(f"checked{after}: {later.what}", 6))

    @staticmethod
    def _risks(plan: ResourcePlan) -> list[Action]:
        return [action for action in plan.actions if action.risk is not Risk.LIVE]

    def _sign(self, plan: ResourcePlan) -> tuple[str, str]:
        """`~` is reached without an interruption, whatever its status; `…` waits for one, or for more."""
        if plan.errors:
            return "✗", "red"
        waits = self._within.get(plan.at) is not None or plan.exit in (Exit.ERROR, Exit.UNKNOWN)
        if plan.status is Status.BLOCKED and plan.changes and not waits:
            return SIGNS[Status.CHANGE]
        if plan.status is Status.CHANGE and waits:
            return SIGNS[Status.BLOCKED]
        return SIGNS[plan.status]

    def _note(self, plan: ResourcePlan) -> str:
        """What the changes do not say: why it waits for more than its turn."""
        if plan.errors:
            return f"see {plan.errors[0].code}"
        waits = plan.exit in (Exit.ERROR, Exit.UNKNOWN) or not plan.changes
        if plan.status is Status.BLOCKED and waits:
            names = few([str(at.address) for at in plan.waits_for])
            return plan.reason or (f"waits for {names}" if names else "")
        if plan.status in (Status.UNKNOWN, Status.CHANGE):
            return plan.reason or ""
        return ""


def _group_name(plans: Sequence[ResourcePlan]) -> str:
    return f"{plans[0].address.kind} ({len(plans)})"


def _header(plan: MachinePlan, *, planned: bool, away: bool) -> str:
    """Its name; of a guest, why it was not read, that it is read again, and that its host key is new."""
    name, reached = style(field(plan.machine.id), bold=True), plan.reached
    if plan.machine.parent is None:
        return name
    said = style(field(reached.reason or ""), dim=True)
    match reached.how:
        case Reach.READ:
            key = reached.new_key
            told = ["read again after the start"] * away
            told += [f"host key is new, confirmed by {key.by.value}: apply keeps it"] if key else []
            said = style(" · ".join(told), dim=True) if told else ""
        case Reach.OFF if not planned:
            said = style(f"off: {field(reached.reason or '')}", dim=True)
        case Reach.UNKNOWN if not planned:
            said = style(f"unknown: {field(reached.reason or '')}", fg="magenta")
        case Reach.OFF | Reach.UNKNOWN if planned:
            said = style("cannot be read yet: planned as if nothing were there, and read then", dim=True)
    return f"{name}   {said}".rstrip()


def _unread(plan: MachinePlan, resources: Sequence[ResourcePlan]) -> Iterator[str]:
    """A guest that cannot be read: one line, whatever it has."""
    waits = all(one.status is Status.BLOCKED for one in resources)
    sign, colour = SIGNS[Status.BLOCKED if waits else Status.UNKNOWN]
    count = len(resources)
    hint = f"   → {field(plan.reached.hint)}" if plan.reached.hint else ""
    yield f"  {style(sign, fg=colour, bold=True)} {count} resource{'s' * (count > 1)}{hint}"


def _line(sign: tuple[str, str], name: str, pieces: Sequence[str], width: int) -> Iterator[str]:
    mark = f"  {style(sign[0], fg=sign[1], bold=True)} "
    if not pieces:
        return iter([mark + style(name, bold=True)])
    return filled(pieces, f"{mark}{style(f'{name:<{width}}', bold=True)}   ", width + 7)


def _notes(note: str) -> list[str]:
    return [style(field(note), dim=True)] if note else []


# Commands ---------------------------------------------------------------------------------------------


def _commands(actions: Sequence[Action]) -> Iterator[str]:
    told = ""
    for action in actions:
        risk = "" if action.risk is Risk.LIVE else "   " + style(action.risk.value, fg="red", bold=True)
        yield f"      {style('$', fg='blue')} {field(action.effect.shown())}{risk}"
        if action.why and action.why != told:
            yield from (style(line, dim=True) for line in folded(action.why, 8))
        told = action.why


def _begin(one: Interruption) -> Iterator[str]:
    stops = [step.action for step in one.begin if not isinstance(step.action.effect, Reboot)]
    if isinstance(one.subject, ScopedAddress):
        yield from (_command(action, f"   {style(one.risk.value, fg='red', bold=True)}") for action in stops)
        return
    if stops:
        yield from _several(stops)
        note = (
            "one that goes on running ends it here: the others are started again, nothing is rebooted "
            f"(or power-off-vm={one.machine}/vm.NAME)"
        )
        yield from (style(line, dim=True) for line in folded(note, 8))
    yield from (_command(step.action) for step in one.begin if isinstance(step.action.effect, Reboot))


def _end(one: Interruption) -> Iterator[str]:
    if isinstance(one.subject, ScopedAddress):
        yield from (_command(step.action, style(f"   {_AS_IT_RAN}", dim=True)) for step in one.end)
    elif one.end:
        yield from _several([step.action for step in one.end])


def _several(actions: Sequence[Action]) -> Iterator[str]:
    line = "; ".join(field(action.effect.shown()) for action in actions)
    yield from filled([line], f"      {style('$', fg='blue')} ", 8)


def _command(action: Action, more: str = "") -> str:
    return f"      {style('$', fg='blue')} {field(action.effect.shown())}{more}"
