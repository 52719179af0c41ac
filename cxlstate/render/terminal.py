"""Plans and problems for a person at a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from shutil import get_terminal_size
from textwrap import wrap

from click import style, unstyle

from cxlstate.core.action import Reboot, Risk
from cxlstate.core.change import Change, Leaf
from cxlstate.core.commands import command
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.path import show
from cxlstate.core.secret import Secret
from cxlstate.engine.plan import Exit, MachinePlan, ResourcePlan, Status
from cxlstate.render.shown import block, field
from cxlstate.render.stops import stops_text

BARE = re.compile(r"[0-9,^-]+")
"""A value that does not say what it is of: the CPUs of the nth of many pins."""

SIGNS = {
    Status.IN_SYNC: ("✓", "green"),
    Status.CHANGE: ("~", "yellow"),
    Status.BLOCKED: ("…", "blue"),
    Status.PENDING_REBOOT: ("↻", "cyan"),
    Status.PENDING_RESTART: ("↻", "cyan"),
    Status.UNKNOWN: ("?", "magenta"),
}
WORDS = {
    Status.IN_SYNC: "in sync",
    Status.CHANGE: "to change",
    Status.BLOCKED: "blocked",
    Status.PENDING_REBOOT: "pending reboot",
    Status.PENDING_RESTART: "pending restart",
    Status.UNKNOWN: "unknown",
}


def plan_text(plan: MachinePlan, *, everything: bool = False) -> str:
    """A plan, readable at a glance: only what is not in sync, unless `everything`."""
    return "\n".join(_plan_lines(plan, everything=everything))


def _plan_lines(plan: MachinePlan, *, everything: bool) -> Iterator[str]:
    yield heading(plan)
    shown = [r for r in plan.resources if everything or r.status is not Status.IN_SYNC]
    stops = stops_text(plan.running)
    for resource in shown:
        yield ""
        yield from _resource_lines(resource, stops)
        if any(isinstance(action.effect, Reboot) for action in resource.actions):
            stops = ""  # told once: there is one reboot for all
    yield ""
    yield "  " + summary(plan)
    if consents := _consents(plan):
        yield "  " + style("To apply everything: ", dim=True) + f"apply --allow {','.join(consents)}"


def heading(plan: MachinePlan) -> str:
    """The machine and its spec."""
    return style(field(plan.spec.name), bold=True) + style(f"  {field(plan.spec.file)}", dim=True)


def summary(plan: MachinePlan) -> str:
    """How many resources stand where, in one line."""
    counts = plan.summary
    parts = [
        style(f"{counts[status.value]} {WORDS[status]}", fg=SIGNS[status][1])
        for status in Status
        if counts[status.value]
    ]
    if plan.diagnostics and not parts:
        return style("not planned: see the error", fg="red")
    return style(" · ", dim=True).join(parts) if parts else "nothing declared"


def _consents(plan: MachinePlan) -> list[str]:
    """What to allow, each once; what destroys, by name."""
    asked = [(risk, resource.address) for resource in plan.resources for risk in resource.risks]
    named = (
        field(f"{risk.value}={plan.spec.name}/{address}") if risk is Risk.DESTROY_DATA else risk.value
        for risk, address in asked
    )
    return list(dict.fromkeys(named))


def _resource_lines(resource: ResourcePlan, stops: str) -> Iterator[str]:
    """`stops` is whom a reboot among its actions interrupts."""
    sign, colour = SIGNS[resource.status]
    line = f"  {style(sign, fg=colour, bold=True)} {style(address_text(resource), bold=True)}"
    if resource.status is not Status.CHANGE:
        line += "  " + style(WORDS[resource.status], fg=colour)
    yield from _with_waits(line, waits_text(resource))
    if resource.reason:
        yield from _folded(resource.reason, 6)
    if resource.hint:
        yield from (style(line, fg="blue") for line in _folded(f"→ {resource.hint}", 6))
    yield from _changes(resource.changes)
    told = ""
    for action in resource.actions:
        risk = "" if action.risk is Risk.LIVE else "  " + style(action.risk.value, fg="red", bold=True)
        yield f"      {style('$', fg='blue')} {field(command(action.effect))}{risk}"
        if stops and isinstance(action.effect, Reboot):
            yield from (style(line, fg="red") for line in _folded(stops, 8))
        if action.why and action.why != told:
            yield from (style(line, dim=True) for line in _folded(action.why, 8))
        told = action.why


def address_text(resource: ResourcePlan) -> str:
    """Its address, safe for a terminal."""
    return field(str(resource.address))


def _with_waits(line: str, waits: str) -> Iterator[str]:
    """On the same line where the terminal has room for it."""
    if waits and sys.stdout.isatty() and len(unstyle(line) + waits) >= get_terminal_size().columns:
        yield line
        yield from (style(text, dim=True) for text in _folded(waits.removeprefix(": "), 6))
    else:
        yield line + style(waits, dim=True)


def waits_text(resource: ResourcePlan) -> str:
    """What it waits for, to follow its status."""
    names = [field(str(address)) for address in resource.waits_for]
    return f": waits for {_few(names)}" if names else ""


def _folded(text: str, indent: int) -> list[str]:
    """A long sentence as lines that fit the terminal; one line where there is none."""
    text = field(text)
    if not sys.stdout.isatty():
        return [" " * indent + text]
    room = max(40, get_terminal_size().columns - 1)
    margin = " " * indent
    return wrap(text, room, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)


def _few(names: Sequence[str], most: int = 2) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    names = [_name(change) for change in changes]
    width = max((len(name) for name in names), default=0)
    for name, change in zip(names, changes, strict=True):
        yield f"      {name:<{width}}{'  ' if width else ''}{_from_to(change)}"


def change_text(change: Change) -> str:
    """One change, as a plan shows it, in a single line without colours."""
    return unstyle(f"{_name(change)}  {_from_to(change)}".strip())


def _name(change: Change) -> str:
    """The field; of a list, what the entry is called, or its place, or nothing where the value says it."""
    if change.entry:
        word, _, *rest = change.path
        return field(show((f"{word}[{change.entry}]", *rest)))
    if all(value is None or BARE.fullmatch(str(value)) for value in (change.old, change.new)):
        return field(show(change.path))
    return field(show(tuple(step for step in change.path if isinstance(step, str))))


def _from_to(change: Change) -> str:
    if change.old is None:
        return style(f"+ {_value(change.new)}", fg="green")
    if change.new is None:
        return style(f"- {_value(change.old)}", fg="red")
    return f"{style(_value(change.old), dim=True)} → {style(_value(change.new), fg='green')}"


def _value(value: Leaf) -> str:
    match value:
        case None:
            return "(none)"
        case bool():
            return "yes" if value else "no"
        case Secret():
            return f"(secret {value.digest()})"
        case _:
            return field(str(value))


def drift_text(plans: Iterable[MachinePlan]) -> str:
    """One line a difference, for a mail from cron. Empty where everything is in sync."""
    lines = []
    for plan in plans:
        for resource in plan.resources:
            if resource.status is Status.IN_SYNC:
                continue
            word = (
                resource.cause.value
                if resource.cause and resource.exit is Exit.CHANGES
                else WORDS[resource.status]
            )
            lines.append(
                f"{field(plan.spec.name)}  {address_text(resource)}  {word}{_drift_detail(resource)}"
            )
    return "\n".join(lines)


def _drift_detail(resource: ResourcePlan) -> str:
    texts = [unstyle(f"{_name(change)} {_from_to(change)}").strip() for change in resource.changes]
    if resource.reason:
        texts.insert(0, field(resource.reason))
    return "  " + "; ".join(texts) if texts else ""


def diagnostics_text(diagnostics: Iterable[Diagnostic]) -> str:
    """Problems, each with where, what was found and expected, and what to do."""
    return "\n".join(line for diagnostic in diagnostics for line in _diagnostic_lines(diagnostic))


def _diagnostic_lines(diagnostic: Diagnostic) -> Iterator[str]:
    colour = "red" if diagnostic.severity is Severity.ERROR else "yellow"
    word = style(f"{diagnostic.severity.value}[{diagnostic.code}]", fg=colour, bold=True)
    yield f"{word} {style(field(diagnostic.message), bold=True)}"
    where = [field(str(diagnostic.source))] if diagnostic.source else []
    named = " ".join(field(str(part)) for part in (diagnostic.machine, diagnostic.address) if part)
    where += [named] if named else []
    if where:
        yield "   at       " + "  ".join(where)
    for label, text in (("found", diagnostic.found), ("expected", diagnostic.expected)):
        if text is not None:
            yield from _labelled(label, text)
    if diagnostic.hint:
        yield from _labelled("→", diagnostic.hint)


def _labelled(label: str, text: str) -> Iterator[str]:
    first, *rest = block(text.removesuffix("\n"))
    yield f"   {style(f'{label:<8}', fg='blue')} {first}"
    yield from (f"            {line}" for line in rest)


def live_text(plan: MachinePlan) -> str:
    """The live state of everything that a spec names."""
    lines = [heading(plan)]
    width = max((len(address_text(r)) for r in plan.resources), default=0)
    for resource in plan.resources:
        sign, colour = SIGNS[resource.status]
        name = f"{address_text(resource):<{width}}"
        first, *rest = _state(resource, width + 6) or [""]
        lines.append(f"  {style(sign, fg=colour, bold=True)} {style(name, bold=True)}  {first}".rstrip())
        lines += (" " * (width + 6) + line for line in rest)
    return "\n".join([*lines, "", "  " + summary(plan)])


def _state(resource: ResourcePlan, indent: int) -> list[str]:
    """The facts, as many a line as fit a terminal; where there are none, why."""
    if resource.status is Status.UNKNOWN or not resource.facts:
        return [field(resource.reason or "")]
    facts = [(field(name), field(text)) for name, text in resource.facts]
    if not sys.stdout.isatty():
        return ["  ".join(f"{style(name, dim=True)} {text}" for name, text in facts)]
    room = max(40, get_terminal_size().columns - 1 - indent)
    lines: list[str] = []
    for name, text in facts:
        first, *rest = wrap(f"{name} {text}", room, break_on_hyphens=False)
        fact = style(name, dim=True) + first.removeprefix(name)
        if lines and len(unstyle(lines[-1])) + 2 + len(first) <= room and not rest:
            lines[-1] += "  " + fact
        else:
            lines += [fact, *rest]
    return lines
