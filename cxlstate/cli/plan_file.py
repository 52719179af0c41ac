"""What `plan --out` has written, read again: checked as anything is that comes from a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxlstate import __version__
from cxlstate.core.diagnostic import fail
from cxlstate.core.machine import MachineId
from cxlstate.engine.promise import Promise, Promised
from cxlstate.machine import own_files
from cxlstate.render.document import FORMAT

MAX_BYTES = 32 << 20
"""A plan has a few KiB for each resource."""

TOOL = f"cxlstate {__version__}"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlanFile:
    """What was promised of each host, its specs, the targets it was narrowed to, and when it was made."""

    path: Path
    promises: Mapping[MachineId, Promise]
    specs: tuple[Path, ...]
    targets: tuple[str, ...]
    made: str


def is_one(path: Path) -> bool:
    """Whether it is to be read as a plan, and not as a spec."""
    try:
        return path.suffix == ".json" and path.is_file()
    except OSError:  # a name that is too long, a folder that we may not enter: told where it is read
        return True


def read(path: Path) -> PlanFile:
    """Raises CXE206 for what cannot be read, is no plan, or is one of another version."""
    try:
        kept = json.loads(own_files.read(path, MAX_BYTES))
    except (own_files.Unreadable, ValueError, RecursionError) as error:
        raise fail("CXE206", f"{path} is not a plan", found=str(error)) from None
    if not _is_plan(kept):
        raise fail(
            "CXE206",
            f"{path} is not a plan of this version",
            found=f"format {kept.get('format')} of {kept.get('tool')}"
            if isinstance(kept, dict)
            else type(kept).__name__,
            expected=f"format {FORMAT} of {TOOL}, with at least one machine, its turns and their effects",
            hint=f"write it again: cxlstate plan --out {path}",
        )
    hosts = {
        machine["id"]: Path(machine["spec"]) for machine in kept["machines"] if machine["parent"] is None
    }
    return PlanFile(
        path,
        {host: _promise(host, kept) for host in hosts},
        tuple(hosts.values()),
        tuple(map(str, kept.get("targets", ()))),
        str(kept.get("made", "")),
    )


def _promise(host: MachineId, kept: Json) -> Promise:
    """What concerns a host and its guests."""
    resources: dict[str, Promised] = {}
    for turn in kept["turns"]:
        for name in (name for name in turn["resources"] if _host_of(name) == host):
            its = [one for one in turn["effects"] if one["address"] == name]
            bases = {of: shown for one in its for of, shown in one["bases"].items()}
            resources[name] = Promised(tuple(one["fingerprint"] for one in its), bases)
    interruptions = {
        one["name"]: Promised((), {one["subject"]: _names(one["stops"])})
        for one in kept["interruptions"]
        if _host_of(one["subject"]) == host
    }
    return Promise(resources, interruptions)


def _host_of(name: str) -> MachineId:
    return name.partition("/")[0]


def _names(stops: list[Json] | None) -> str:
    return "unknown" if stops is None else ",".join(sorted(vm["vm"] for vm in stops))


# What is one ------------------------------------------------------------------------------------------


def _is_plan(kept: object) -> bool:
    return (
        isinstance(kept, dict)
        and (kept.get("format"), kept.get("tool")) == (FORMAT, TOOL)
        and isinstance(kept.get("targets", []), list)
        and bool(kept.get("machines"))
        and _are(kept["machines"], lambda it: _has_texts(it, "id", "spec") and "parent" in it)
        and any(machine["parent"] is None for machine in kept["machines"])
        and _are(kept.get("interruptions"), _is_interruption)
        and _are(kept.get("turns"), _is_turn)
    )


def _is_interruption(one: Json) -> bool:
    stops = one.get("stops", 0)
    return _has_texts(one, "name", "subject") and (
        stops is None or _are(stops, lambda it: _has_texts(it, "vm"))
    )


def _is_turn(one: Json) -> bool:
    names = one.get("resources")
    return (
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and _are(one.get("effects"), _is_effect)
    )


def _is_effect(one: Json) -> bool:
    bases = one.get("bases")
    return (
        _has_texts(one, "address", "fingerprint")
        and isinstance(bases, dict)
        and all(isinstance(shown, str) for shown in bases.values())
    )


def _has_texts(one: Json, *keys: str) -> bool:
    return all(isinstance(one.get(key), str) for key in keys)


def _are(entries: object, good: Callable[[Json], bool]) -> bool:
    """Whether it is a list of such objects."""
    return isinstance(entries, list) and all(isinstance(one, dict) and good(one) for one in entries)
