"""The head of a plan: how much is to be done, what that interrupts or destroys, and how to allow it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from shlex import quote

from click import style

from cxlstate.core.action import Action, Risk
from cxlstate.core.address import ScopedAddress
from cxlstate.engine.plan import Exit, Interruption, Plan, ResourcePlan, Status, Stopped
from cxlstate.render.shown import field
from cxlstate.render.words import SIGNS, WORDS, few, filled, listed

_NARROWED = (Risk.RESTART_VM, Risk.POWER_OFF_VM, Risk.REBOOT_GUEST, Risk.DESTROY_DATA)
"""Classes that are allowed by name: there may be several of them."""


def head_text(plan: Plan) -> str:
    """What a person has to know before anything else."""
    lines = [_headline(plan)]
    consents = list(
        dict.fromkeys([*map(_consent, _begun(plan)), *(_of_action(*one) for one in _risky(plan))])
    )
    if plan.interruptions or consents:
        lines += ["", *_interruptions(plan), *_hazards(plan)]
    if consents:
        word = "it" if len(consents) == 1 else "them"
        allow = [f"apply --allow {','.join(consents)}", *_leave_off(plan)]
        lines += filled(allow, "  " + style(f"To allow {word}: ", dim=True), 6)
        lines += _without(plan) if len(consents) > 1 else ()
    return "\n".join(lines)


# The first line ---------------------------------------------------------------------------------------


def _headline(plan: Plan) -> str:
    counts = _counts(plan)
    parts = [style(f"{count} {word}", fg=colour) for word, count, colour in counts if count]
    where = field(plan.tree.host.id)
    if plan.tree.guests:
        guests = [field(guest.id.partition("/")[2]) for guest in plan.tree.guests]
        where += f" and its guest{'s' * (len(guests) > 1)} {listed(guests)}"
    if not parts:
        empty = any(machine.diagnostics for machine in plan.machines)
        parts = [style("not planned: see the error", fg="red")] if empty else ["nothing declared"]
    first, *rest = parts
    said = style(" · ", dim=True).join([f"{first} on {style(where, bold=True)}", *rest])
    return f"{style(field(plan.tree.file) + ':', dim=True)} {said}"


def _counts(plan: Plan) -> list[tuple[str, int, str]]:
    """What is to be done first; in sync only where nothing else is."""
    found = dict.fromkeys(("change", "error", *Status), 0)
    for resource in plan.resources:
        found[_stands(resource)] += 1
    rows = [
        ("to change", found["change"], "yellow"),
        *(
            (WORDS[status], found[status], SIGNS[status][1])
            for status in (Status.PENDING_REBOOT, Status.PENDING_RESTART)
        ),
        ("wait", found[Status.BLOCKED], "blue"),
        ("unknown", found[Status.UNKNOWN], "magenta"),
        ("in error", found["error"], "red"),
    ]
    if not any(count for _, count, _ in rows):
        rows.append(("in sync", found[Status.IN_SYNC], "green"))
    return rows


def _stands(resource: ResourcePlan) -> str:
    if resource.errors:
        return "error"
    if resource.status in (Status.CHANGE, Status.BLOCKED) and resource.changes:
        return "change"
    return resource.status


# What is interrupted or destroyed ---------------------------------------------------------------------


def _begun(plan: Plan) -> list[Interruption]:
    return [one for one in plan.interruptions if not one.barred]


def _risky(plan: Plan) -> list[tuple[ResourcePlan, Action]]:
    """What resources do themselves at a risk; an error of theirs, or of what they wait for, stops that."""
    return [
        (resource, action)
        for resource in plan.resources
        for action in resource.actions
        if action.risk is not Risk.LIVE and resource.exit is not Exit.ERROR
    ]


def _interruptions(plan: Plan) -> Iterator[str]:
    for one in plan.interruptions:
        reboot = isinstance(one.subject, str)
        pieces = _reboot(one) if reboot else _vm(one)
        yield from _row(one.risk, str(one.subject), [*pieces, *_barred(one)])
        if reboot and one.stops:
            yield from _stops(one.stops)


def _row(risk: Risk, name: str, pieces: Sequence[str]) -> Iterator[str]:
    start = f"  {style(f'{risk.value:<12}', fg='red', bold=True)} {style(field(name), bold=True)}   "
    yield from filled([" · ".join(pieces)], start, 15)


def _barred(one: Interruption) -> list[str]:
    codes = listed(list(dict.fromkeys(problem.code for problem in one.barred))) if one.barred else ""
    return [f"not begun: see {codes}"] if codes else []


def _reboot(one: Interruption) -> list[str]:
    names = few([str(at.address) for at in one.because], 3)
    whys = [f"{field(names)}: {field(one.why[0])}" if one.why else field(names)]
    if one.unknown:
        return [*whys, field(f"which VMs it stops is unknown: {one.unknown}")]
    if not one.stops:
        return ["stops no VM", *whys]
    count = len(one.stops)
    return [*whys, f"shuts down {count} VM{'s' * (count > 1)}:"]


def _vm(one: Interruption) -> list[str]:
    others = [str(at.address) for at in one.because if at != one.subject]
    own = ["its own definition"] if one.subject in one.because and one.end else []
    reasons = listed([*map(field, others), *own]) if others or own else "its state"
    how = f"off once, for {reasons}" if one.end else f"shut down and stays off, for {reasons}"
    return [f"{how}; stops all that runs in it"]


def _stops(stops: Sequence[Stopped]) -> Iterator[str]:
    """Those that fare alike in a row."""
    rows = [list(several) for _, several in groupby(sorted(stops, key=_fate), _fate)]
    names = [", ".join(field(vm.name) for vm in row) for row in rows]
    width = max(map(len, names))
    for name, row in zip(names, rows, strict=True):
        yield from filled([_said(row[0], len(row) > 1)], f"      {name:<{width}}   ", width + 9)


def _fate(vm: Stopped) -> tuple[bool, bool, str]:
    """Those that start with the host first, then those that the spec names."""
    return not vm.autostart, not vm.declared, f"{vm.autostart} {vm.again}"


def _said(vm: Stopped, several: bool) -> str:  # noqa: FBT001  # the grammatical number
    declared = "" if vm.declared else "not in the spec, "
    starts, do = ("start", "do") if several else ("starts", "does")
    if vm.autostart:
        return f"{declared}{starts} with the host"
    known = f"{do} not start with the host" if vm.autostart is False else "may not start with the host"
    return f"{declared}{known}: " + ("started again after the boot" if vm.again else "off afterwards")


def _leave_off(plan: Plan) -> list[str]:
    """How to keep a VM of somebody off, which would be started again."""
    vms = [vm for one in _begun(plan) if isinstance(one.subject, str) for vm in one.stops]
    names = [vm.name for vm in vms if vm.again and not vm.declared]
    if not names:
        return []
    commands = "; ".join(f"virsh shutdown {quote(name)}" for name in names)
    return [style(field(f"(to leave {listed(names)} off: {commands}, then plan again)"), dim=True)]


def _hazards(plan: Plan) -> Iterator[str]:
    for resource, action in _risky(plan):
        said = [field(action.does)] + ([field(action.why)] if action.why else [])
        yield from _row(action.risk, str(resource.at), [": ".join(said)])


# How to allow it --------------------------------------------------------------------------------------


def _consent(one: Interruption) -> str:
    return field(f"{one.risk.value}={one.subject}") if one.risk in _NARROWED else one.risk.value


def _of_action(resource: ResourcePlan, action: Action) -> str:
    return field(f"{action.risk.value}={resource.at}") if action.risk in _NARROWED else action.risk.value


def _without(plan: Plan) -> Iterator[str]:
    """What is left out without each: those that need it, and those that wait for them."""
    needing: dict[str, list[ScopedAddress]] = {}
    for one in _begun(plan):
        needing.setdefault(_consent(one), []).extend(one.because)
    for resource, action in _risky(plan):
        needing.setdefault(_of_action(resource, action), []).append(resource.at)
    for consent, several in needing.items():
        left = [str(at.address) for at in _with_waiting(plan, several)]
        text = f"{consent.partition('=')[0]}: all else is done, and {few(left, 3)} {_stay(left)}"
        yield from filled([field(text)], "  " + style("Without ", dim=True), 4)


def _stay(left: Sequence[str]) -> str:
    return "waits" if len(left) == 1 else "wait"


def _with_waiting(plan: Plan, several: Sequence[ScopedAddress]) -> list[ScopedAddress]:
    found = dict.fromkeys(several)
    grown = True
    while grown:
        more = [r.at for r in plan.resources if r.at not in found and any(at in found for at in r.waits_for)]
        grown = bool(more)
        found |= dict.fromkeys(more)
    return list(found)
