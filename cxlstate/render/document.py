"""The one JSON document of `--json` and `--out`. Its shape is part of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cxlstate import __version__
from cxlstate.core.action import Action, Reboot
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.engine.memory_map import memory_map
from cxlstate.engine.plan import MachinePlan, ResourcePlan
from cxlstate.render.memory_map import memory_map_json
from cxlstate.render.shown import unicode_only
from cxlstate.render.stops import stops_json

FORMAT = 1


def document(
    plans: Sequence[MachinePlan], diagnostics: Sequence[Diagnostic] = (), targets: Sequence[str] = ()
) -> dict[str, Any]:
    """Plans and problems of a run, and the resources that it was narrowed to."""
    found = [*diagnostics, *(d for plan in plans for d in plan.all_diagnostics)]
    return {
        "format": FORMAT,
        "tool": f"cxlstate {__version__}",
        "targets": unicode_only(targets),
        "machines": [machine(plan) for plan in plans],
        "diagnostics": [unicode_only(diagnostic.as_json()) for diagnostic in found],
    }


def machine(plan: MachinePlan) -> dict[str, Any]:
    """One machine of the document; with its memory, where that was asked for."""
    content = {
        "name": plan.spec.name,
        "spec": plan.spec.file,
        "status": plan.status,
        "summary": plan.summary,
        "resources": [_resource(plan, resource) for resource in plan.resources],
        **({"memory_map": memory_map_json(memory_map(plan.answers))} if plan.answers is not None else {}),
    }
    machine: dict[str, Any] = unicode_only(content)
    return machine


def _resource(plan: MachinePlan, resource: ResourcePlan) -> dict[str, Any]:
    source = plan.spec.locate(resource.resource.path) if resource.resource.path else None
    return {
        "address": str(resource.address),
        "kind": resource.address.kind,
        "status": resource.status.value,
        "source": {"file": source.file, "line": source.line, "column": source.column} if source else None,
        "changes": [change.as_json() for change in resource.changes],
        "actions": [_action(plan, action) for action in resource.actions],
        "reason": resource.reason,
        "waits_for": [str(address) for address in resource.waits_for],
        "cause": resource.cause.value if resource.cause else None,
    }


def _action(plan: MachinePlan, action: Action) -> dict[str, Any]:
    """One action. A reboot has `stops` where VMs run, or where it is unknown which do (null)."""
    reboot, stops = isinstance(action.effect, Reboot), stops_json(plan.running)
    return {
        "does": action.does,
        "run": action.effect.exact(),
        "risk": action.risk.value,
        "why": action.why or None,
        **({"stops": stops} if reboot and stops != [] else {}),
    }
