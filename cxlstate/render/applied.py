"""What an apply came to, for a person at a terminal. What renders plans may not import this."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from click import style

from cxlstate.engine.apply import Applied
from cxlstate.engine.plan import ResourcePlan, Status
from cxlstate.render.shown import field
from cxlstate.render.terminal import SIGNS, WORDS, address_text, heading, summary, waits_text


def applied_text(applied: Applied) -> str:
    """What an apply came to: what is done, what is left and why, in a few lines."""
    plan = applied.plan
    lines = [heading(plan), "  " + summary(plan)]
    for resource in plan.resources:
        if resource.status is not Status.IN_SYNC:
            sign, colour = SIGNS[resource.status]
            lines.append(f"  {style(sign, fg=colour)} {address_text(resource)}  {_left(resource, applied)}")
    if applied.stopped:
        lines.append("  " + style(f"not running since the reboot: {_names(applied.stopped)}", fg="yellow"))
        lines.append(f"    → {field('; '.join(f'virsh start {quote(name)}' for name in applied.stopped))}")
    if applied.interrupted:
        lines.append("  interrupted: the resources above are left; the next apply continues")
    elif not plan.exit:
        lines.append("  " + style("applied and proven" if applied.done else "nothing to do", fg="green"))
    return "\n".join(lines)


def _left(resource: ResourcePlan, applied: Applied) -> str:
    refused = applied.refused.get(resource.address)
    if refused:
        classes = ",".join(risk.value for risk in refused)
        return style(f"refused: needs --allow {classes}", fg="red") + " (nothing of it was done)"
    word = WORDS[resource.status]
    if resource.status is Status.PENDING_REBOOT:
        return f"{word}: written, takes effect after a reboot (--allow reboot-host, or reboot by hand)"
    if resource.status is Status.PENDING_RESTART and resource.risks and not resource.waits_for:
        allow = ",".join(risk.value for risk in resource.risks)
        return f"{word}: written, takes effect after a restart (--allow {allow}, or restart by hand)"
    reason = f": {field(resource.reason)}" if resource.reason else ""
    return word + style(waits_text(resource) + reason, dim=True)


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(field, names))
