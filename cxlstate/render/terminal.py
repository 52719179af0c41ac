"""What `drift` and `show` print: differences for a mail, and the live state."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from click import style, unstyle

from cxlstate.core.machine import is_guest
from cxlstate.engine.plan import Exit, MachinePlan, Plan, Reach, ResourcePlan, Status
from cxlstate.render.shown import field
from cxlstate.render.words import SIGNS, WORDS, address_text, columns, from_to, name_of


def heading(plan: MachinePlan, file: str) -> str:
    """The machine and its spec."""
    return style(field(plan.machine.id), bold=True) + style(f"  {field(file)}", dim=True)


def summary(plan: MachinePlan | Plan) -> str:
    """How many resources stand where, in one line."""
    counts = plan.summary
    parts = [
        style(f"{counts[status.value]} {WORDS[status]}", fg=SIGNS[status][1])
        for status in Status
        if counts[status.value]
    ]
    if not parts and any(machine.diagnostics for machine in _machines(plan)):
        return style("not planned: see the error", fg="red")
    return style(" · ", dim=True).join(parts) if parts else "nothing declared"


def _machines(plan: MachinePlan | Plan) -> Sequence[MachinePlan]:
    return plan.machines if isinstance(plan, Plan) else (plan,)


def scoped_text(resource: ResourcePlan) -> str:
    """Its address as people write it: `vm.g1` of the host, `g1:package.ndctl` in a guest."""
    guest = resource.at.machine.partition("/")[2] if is_guest(resource.at.machine) else ""
    return f"{field(guest)}:{address_text(resource)}" if guest else address_text(resource)


def drift_text(plans: Iterable[Plan]) -> str:
    """One line a difference, for a mail from cron. Empty where everything is in sync.

    A guest that was not read is one line, not one for each of its resources.
    """
    return "\n".join(line for plan in plans for machine in plan.machines for line in _drift_lines(machine))


def _drift_lines(plan: MachinePlan) -> Iterator[str]:
    machine = field(plan.machine.id)
    if plan.reached.how is not Reach.READ and plan.machine.parent:
        if plan.exit:
            yield f"{machine}  {plan.reached.how.value}  {field(plan.reached.reason or '')}"
        return
    for resource in plan.resources:
        if resource.status is not Status.IN_SYNC:
            told = resource.cause and resource.exit is Exit.CHANGES
            word = resource.cause.value if resource.cause and told else WORDS[resource.status]
            yield f"{machine}  {address_text(resource)}  {word}{_drift_detail(resource)}"


def _drift_detail(resource: ResourcePlan) -> str:
    texts = [unstyle(f"{name_of(change)} {from_to(change)}").strip() for change in resource.changes]
    if resource.reason:
        texts.insert(0, field(resource.reason))
    return "  " + "; ".join(texts) if texts else ""


def live_text(plan: MachinePlan, file: str) -> str:
    """The live state of everything that a spec names on a machine."""
    lines = [heading(plan, file)]
    if plan.reached.how is not Reach.READ and plan.machine.parent:
        lines[0] += f"  {plan.reached.how.value}: {field(plan.reached.reason or '')}"
        return lines[0]
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
    room = max(40, columns() - indent)
    lines: list[str] = []
    for name, text in facts:
        first, *rest = wrap(f"{name} {text}", room, break_on_hyphens=False)
        fact = style(name, dim=True) + first.removeprefix(name)
        if lines and len(unstyle(lines[-1])) + 2 + len(first) <= room and not rest:
            lines[-1] += "  " + fact
        else:
            lines += [fact, *rest]
    return lines
