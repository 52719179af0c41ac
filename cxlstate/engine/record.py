"""What was last applied to an address: the other half of telling *drifted* from *unapplied*."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from cxlstate.core.address import Address
from cxlstate.core.exports import Export
from cxlstate.core.model import canonical
from cxlstate.core.reconciler import Resource


class Cause(StrEnum):
    """Why a resource differs from its spec."""

    DRIFTED = "drifted"
    UNAPPLIED = "unapplied"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class Record:
    """The digest of the wish that was last found in force, and by which version of the tool."""

    digest: str
    tool: str = ""

    def line(self) -> str:
        """As it is kept on the machine."""
        return f"{self.digest} {self.tool}"


def parse_record(line: str) -> Record:
    """Read a record; a damaged one is a digest that matches nothing."""
    digest, _, tool = line.strip().partition(" ")
    return Record(digest, tool)


def digest_of(resource: Resource[Any], given: Iterable[tuple[Address, Export]]) -> str:
    """A digest of all that decides what a resource should be: its spec and what it was told."""
    told = sorted(f"{address} {export!r}" for address, export in given)
    return sha256("\n".join((canonical(resource.spec), *told)).encode()).hexdigest()[:32]


def cause_of(record: Record | None, digest: str, *, records_readable: bool) -> Cause:
    """`unapplied` where another wish was applied last, or none; `drifted` where it was this one."""
    if not records_readable or record is None:
        return Cause.UNDETERMINED
    return Cause.DRIFTED if record.digest == digest else Cause.UNAPPLIED
