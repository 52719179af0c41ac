"""What `plan --out` has written, read again: checked as anything is that comes from a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxlstate.core.diagnostic import fail
from cxlstate.machine import own_files
from cxlstate.render.document import FORMAT

MAX_BYTES = 32 << 20
"""A plan has a few KiB for each resource."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlanFile:
    """What was planned of each machine, by name; the specs of it, and the targets it was narrowed to."""

    machines: dict[str, Json]
    specs: tuple[Path, ...]
    targets: tuple[str, ...]


def is_one(path: Path) -> bool:
    """Whether it is to be read as a plan, and not as a spec."""
    return path.suffix == ".json" and path.is_file()


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
            found=f"format {kept.get('format')}" if isinstance(kept, dict) else type(kept).__name__,
            expected=f"format {FORMAT}, with at least one machine and its resources",
            hint=f"write it again: cxlstate plan --out {path}",
        )
    return PlanFile(
        {machine["name"]: machine for machine in kept["machines"]},
        tuple(Path(machine["spec"]) for machine in kept["machines"]),
        tuple(map(str, kept.get("targets", ()))),
    )


def _is_plan(kept: object) -> bool:
    return (
        isinstance(kept, dict)
        and kept.get("format") == FORMAT
        and isinstance(kept.get("targets", []), list)
        and bool(kept.get("machines"))
        and _are(kept["machines"], _is_machine)
    )


def _is_machine(one: Json) -> bool:
    """It has what it is made again from, and what it is compared with then."""
    return _has_texts(one, "name", "spec") and _are(one.get("resources"), _is_resource)


def _is_resource(one: Json) -> bool:
    return (
        _has_texts(one, "address", "status")
        and _are(one.get("changes"), _is_change)
        and _are(one.get("actions"), lambda it: _has_texts(it, "does", "risk"))
    )


def _is_change(one: Json) -> bool:
    path = one.get("path")
    return (
        isinstance(path, list)
        and all(isinstance(step, str | int) for step in path)
        and {"from", "to"} <= one.keys()
    )


def _has_texts(one: Json, *keys: str) -> bool:
    return all(isinstance(one.get(key), str) for key in keys)


def _are(entries: object, good: Callable[[Json], bool]) -> bool:
    """Whether it is a list of such objects."""
    return isinstance(entries, list) and all(isinstance(one, dict) and good(one) for one in entries)
