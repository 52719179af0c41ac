"""What was last applied to an address: the other half of telling *drifted* from *unapplied*."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.model import as_written
from cxlstate.core.reconciler import Kind, Resource

LONGEST: Final = 1 << 15
"""Characters of a resource that a record holds; beyond, its digest: an answer is a line of at most 64 KiB."""


class Cause(StrEnum):
    """Why a resource differs from its spec."""

    DRIFTED = "drifted"
    UNAPPLIED = "unapplied"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class Record:
    """What was wanted of a resource when it was last found in force; by which version of the tool, and when.

    `wanted` is canonical JSON, as `wanted_of` makes it.
    """

    wanted: str
    tool: str = ""
    at: str = ""

    def line(self) -> str:
        """As it is kept on the machine: one line of JSON."""
        return _canonical({"wanted": json.loads(self.wanted), "tool": self.tool, "at": self.at})


def parse_record(line: str) -> Record | None:
    """Read a record. None for one that is damaged, or of an earlier form: it tells nothing."""
    try:
        read = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(read, dict) or "wanted" not in read:
        return None
    return Record(_canonical(read["wanted"]), str(read.get("tool")), str(read.get("at")))


def wanted_of(resource: Resource[Any], told: Mapping[Address, str]) -> str:
    """All that was wanted of a resource, as canonical JSON; nothing live, and references in place of secrets.

    That is what was written of it, and a digest of what was wanted of those whose exports it is told: what a
    VM should be follows from the spec of its dax device, too.
    """
    written = as_written(resource.spec)
    if len(text := _canonical(written)) > LONGEST:
        written = f"sha256:{_digest(text)}"
    return _canonical({"spec": written, "told": {str(one): _digest(wanted) for one, wanted in told.items()}})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of all resources of a tree, each made once. `told`: whose exports one is told."""

    resources: Mapping[ScopedAddress, Resource[Any]]
    kinds: Mapping[str, Kind]
    told: Callable[[ScopedAddress], Iterable[ScopedAddress]]
    _made: dict[ScopedAddress, str] = field(default_factory=dict)

    def of(self, at: ScopedAddress) -> str:
        """Kinds that export nothing have no part in it, whatever a resource needs of them."""
        if at not in self._made:
            tellers = (teller for teller in self.told(at) if self.kinds[teller.address.kind].informs)
            told = {teller.address: self.of(teller) for teller in dict.fromkeys(tellers)}
            self._made[at] = wanted_of(self.resources[at], told)
        return self._made[at]


def cause_of(record: Record | None, wanted: str, *, records_readable: bool) -> Cause:
    """`unapplied` where something else was applied last; `drifted` where it was this."""
    if not records_readable or record is None:
        return Cause.UNDETERMINED
    return Cause.DRIFTED if record.wanted == wanted else Cause.UNAPPLIED


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]
