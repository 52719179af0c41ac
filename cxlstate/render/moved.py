"""What has moved between the plan that was shown and what would be done now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from cxlstate.core.change import Change
from cxlstate.core.compare import MISSING, Difference, differences
from cxlstate.core.path import show
from cxlstate.render.shown import field
from cxlstate.render.stops import vms_text
from cxlstate.render.terminal import change_text

_MOST = 12


def without_places(machine: Mapping[str, Any]) -> dict[str, Any]:
    """A machine of the document (`document.machine`), wherever in its file each resource stands."""
    resources = [{**one, "source": None} for one in machine.get("resources", ())]
    return {**machine, "resources": resources}


def moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Lines on what differs between two such machines, of many the first. Empty exactly if they are equal.

    Of a resource, what says most: its status, else what is to change, else what is to be done. That others
    do not wait for it any more goes without saying.
    """
    lines = list(_of_resources(before, now)) or [
        f"{field(show(one.path))}  {_said(one)}" for one in differences(before, now)
    ]
    more = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return "\n".join(lines[:_MOST] + more)


def _of_resources(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    found = differences(_by_address(before), _by_address(now))
    for address, its in groupby(found, lambda one: one.path[0]):
        by_part = {part: list(ones) for part, ones in groupby(its, lambda one: one.path[1:2])}
        part = next(part for part in ((), ("status",), ("changes",), ("actions",)) if part in by_part)
        yield from (
            " ".join((field(str(address)), "", *map(field, map(str, one.path[2:3])), _said(one)))
            for one in by_part[part]
        )


def _by_address(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Texts in the place of entries: a place in a list moves with what comes before it."""
    return {
        resource["address"]: {
            "status": resource["status"],
            "changes": {_change(change): "" for change in resource["changes"]},
            "actions": {_action(action): "" for action in resource["actions"]},
        }
        for resource in machine.get("resources", ())
    }


def _action(action: Mapping[str, Any]) -> str:
    stops = vms_text(action.get("stops") or ())
    return f"{action['does']} ({action['risk']})" + (f", {stops}" if stops else "")


def _change(change: Mapping[str, Any]) -> str:
    return change_text(Change(tuple(change["path"]), change["from"], change["to"]))


def _said(one: Difference) -> str:
    if one.before is MISSING:
        return "is new"
    if one.after is MISSING:
        return "is not there any more"
    return f"{field(str(one.before))} → {field(str(one.after))}"
