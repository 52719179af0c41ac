"""The one JSON document of `--json` and `--out`, format 2. Its shape is part of the contract.

Readers ignore keys that they do not know: a minor version adds keys or values, a major removes or changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cxlstate import __version__
from cxlstate.core.action import Action
from cxlstate.core.address import ScopedAddress
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.engine.caching import Measurement
from cxlstate.engine.memory_map import memory_map
from cxlstate.engine.plan import Interruption, MachinePlan, Plan, Planned, Reached, ResourcePlan, Turn
from cxlstate.engine.promise import name_of
from cxlstate.render.measured import measured_json
from cxlstate.render.memory_map import memory_map_json
from cxlstate.render.shown import unicode_only
from cxlstate.spec.tree import Tree

FORMAT, MINOR = 2, 0


def document(
    plans: Sequence[Plan],
    diagnostics: Sequence[Diagnostic] = (),
    targets: Sequence[str] = (),
    measurements: Sequence[Measurement] | None = None,
) -> dict[str, Any]:
    """Plans and problems of a run, the resources that it was narrowed to, and, if asked for, measurements."""
    found = dict.fromkeys([*diagnostics, *(d for plan in plans for d in plan.all_diagnostics)])
    content: dict[str, Any] = unicode_only(
        {
            "format": FORMAT,
            "minor": MINOR,
            "tool": f"cxlstate {__version__}",
            "targets": list(targets),
            "machines": [_machine(plan.tree, machine) for plan in plans for machine in plan.machines],
            "interruptions": [_interruption(one) for plan in plans for one in plan.interruptions],
            "turns": [_turn(turn) for plan in plans for turn in plan.turns],
            "diagnostics": [_diagnostic(one) for one in found],
            **({} if measurements is None else {"measurements": list(map(measured_json, measurements))}),
        }
    )
    return content


def _machine(tree: Tree, plan: MachinePlan) -> dict[str, Any]:
    """One machine of the document; with its memory, where that was asked for."""
    return {
        "id": plan.machine.id,
        "name": plan.machine.id,
        "parent": plan.machine.parent,
        "scope": plan.machine.scope.value,
        "spec": tree.file,
        "reached": _reached(plan.reached),
        "status": plan.status,
        "summary": plan.summary,
        "resources": [_resource(tree, resource) for resource in plan.resources],
        **({"memory_map": memory_map_json(memory_map(plan.answers))} if plan.answers is not None else {}),
    }


def _reached(reached: Reached) -> dict[str, Any]:
    """`new_host_key`: one that the host does not keep yet, as `ssh-keygen -l` prints it."""
    key = reached.new_key
    return {
        "how": reached.how.value,
        "reason": reached.reason,
        "hint": reached.hint,
        "new_host_key": {"key": str(key.key), "confirmed_by": key.by.value} if key else None,
    }


def _resource(tree: Tree, plan: ResourcePlan) -> dict[str, Any]:
    source = tree.locate(plan.resource.path) if plan.resource.path else None
    return {
        "address": str(plan.at),
        "kind": plan.address.kind,
        "status": plan.status.value,
        "source": {"file": source.file, "line": source.line, "column": source.column} if source else None,
        "changes": [change.as_json() for change in plan.changes],
        "actions": [_action(action) for action in plan.actions],
        "interrupts": [f"{one.risk.value}={one.subject}" for one in plan.away],
        "reason": plan.reason,
        "waits_for": [str(at) for at in plan.waits_for],
        "cause": plan.cause.value if plan.cause else None,
        "derived": [
            {"path": list(one.path), "value": str(one.value), "of": str(one.of)} for one in plan.derived
        ],
        "later": [{"what": one.what, "after": list(map(str, one.after))} for one in plan.later],
    }


def _action(action: Action) -> dict[str, Any]:
    return {
        "does": action.does,
        "run": action.effect.exact(),
        "risk": action.risk.value,
        "why": action.why or None,
    }


def _interruption(one: Interruption) -> dict[str, Any]:
    """`stops` of null: it is unknown which VMs stop. `barred`: codes of errors that bar it."""
    stops = [
        {"vm": vm.name, "declared": vm.declared, "autostart": vm.autostart, "again": vm.again}
        for vm in one.stops
    ]
    return {
        "name": name_of(one),
        "risk": one.risk.value,
        "subject": str(one.subject),
        "stops": None if one.unknown else stops,
        "because": list(map(str, one.because)),
        "why": list(one.why),
        "begin": [_action(step.action) for step in one.begin],
        "end": [_action(step.action) for step in one.end],
        "barred": [problem.code for problem in one.barred],
    }


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "resources": list(map(str, turn.resources)),
        "within": name_of(turn.within) if turn.within else None,
        "effects": [_effect(one) for one in turn.effects],
    }


def _effect(one: Planned) -> dict[str, Any]:
    return {
        "address": str(one.at),
        "does": one.action.does,
        "fingerprint": one.action.effect.fingerprint(),
        "bases": {base.of: base.shown for base in one.bases},
    }


def _diagnostic(one: Diagnostic) -> dict[str, object]:
    """With the address scoped, as everywhere in the document."""
    content = one.as_json()
    if one.machine and one.address:
        content["address"] = str(ScopedAddress(one.machine, one.address))
    return content
