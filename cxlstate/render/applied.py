"""What an apply came to, for a person at a terminal. What renders plans may not import this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote

from click import style

from cxlstate.core.action import Risk
from cxlstate.core.address import ScopedAddress
from cxlstate.engine.apply import Applied
from cxlstate.engine.plan import ResourcePlan, Status
from cxlstate.render.shown import field
from cxlstate.render.terminal import scoped_text, summary
from cxlstate.render.words import SIGNS, WORDS, change_text, few, filled, listed


def applied_text(applied: Applied) -> str:
    """What an apply came to: what is done, what is left and why, in a few lines."""
    plan = applied.plan
    lines = [f"{style(field(plan.tree.host.id), bold=True)}   {summary(plan)}"]
    if applied.interrupted:
        lines[0] += " · interrupted: the next apply continues"
    elif not applied.exit:
        lines[0] += " · " + style("applied and proven" if applied.done else "nothing to do", fg="green")
    shown = [one for one in plan.resources if one.status is not Status.IN_SYNC]
    width = min(24, max((len(scoped_text(one)) for one in shown), default=0))
    for resource in shown:
        sign, colour = SIGNS[resource.status]
        start = f"  {style(sign, fg=colour)} {scoped_text(resource):<{width}}   "
        lines += filled(_left(resource, applied), start, width + 7)
    if applied.stopped:
        lines.append("  " + style(f"not running since the reboot: {_names(applied.stopped)}", fg="yellow"))
        lines.append(f"    → {field('; '.join(f'virsh start {quote(name)}' for name in applied.stopped))}")
    if applied.left:
        lines.append(f"  → cxlstate plan {field(plan.tree.file)}")
    return "\n".join(lines)


def promise_text(file: str, resources: Sequence[ScopedAddress], host: str, made: str) -> str:
    """What a plan file holds, in the place of the plan that was reviewed."""
    names = [field(str(at.address)) for at in resources]
    what = few(names, 6) if len(names) > 6 else listed(names) if names else "nothing"  # noqa: PLR2004  # as many as fit
    when = f", planned {field(made)}" if made else ""
    return f"{field(file)}: {what} on {style(field(host), bold=True)}{when}"


def _left(resource: ResourcePlan, applied: Applied) -> Iterator[str]:
    """Why it is not in sync, in pieces of a line."""
    refused = applied.refused.get(resource.at)
    word = WORDS[resource.status]
    if resource.at in applied.left:
        changed = [replaced for change in resource.changes if (replaced := change_text(change))]
        yield from changed
        yield "changed since the plan, not part of it, left as it is"
    elif refused:
        consents = ",".join(_consent(risk, resource.at) for risk in refused)
        yield style(f"refused: needs --allow {consents}", fg="red") + " (nothing of it was done)"
    elif resource.at in applied.failed:
        yield style("failed: see the error", fg="red")
    elif resource.status is Status.PENDING_REBOOT:
        allow = ",".join(one.risk.value for one in resource.away)
        yield f"{word}: written, takes effect after a reboot (--allow {allow}, or reboot by hand)"
    elif resource.status is Status.PENDING_RESTART and resource.risks and not resource.waits_for:
        allow = ",".join(risk.value for risk in resource.risks)
        yield f"{word}: written, takes effect after a restart (--allow {allow}, or restart by hand)"
    else:
        names = [field(str(at.address)) for at in resource.waits_for]
        reason = f": {field(resource.reason)}" if resource.reason else ""
        waits = f": waits for {few(names)}" if names and not resource.errors else ""
        yield f"{word}{waits}{reason}"


def _consent(risk: Risk, at: ScopedAddress) -> str:
    """As it is accepted: data is destroyed by name alone."""
    return f"{risk.value}={quote(field(str(at)))}" if risk is Risk.DESTROY_DATA else risk.value


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(field, names))
