"""What was last applied to an address: the other half of telling *drifted* from *unapplied*."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from cxlstate.core.address import Address
from cxlstate.core.model import canonical
from cxlstate.core.reconciler import Reconciler, Resource

_VERSION = "2:"
_OLD = re.compile("[0-9a-f]{32}")


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


def parse_record(line: str) -> Record | None:
    """Read a record; a damaged one is a digest that matches nothing.

    None for one of a version before 2: its digest was also of the live state, so it tells nothing apart.
    """
    digest, _, tool = line.strip().partition(" ")
    return None if _OLD.fullmatch(digest) else Record(digest, tool)


def digest_of(resource: Resource[Any], told: Mapping[Address, str]) -> str:
    """A digest of all that was wanted of a resource, and of nothing live.

    That is its spec, and the digests of those whose exports it is told: what a VM should be follows from
    the spec of its dax device, too.
    """
    lines = (canonical(resource.spec), *(f"{address} {digest}" for address, digest in sorted(told.items())))
    return _VERSION + sha256("\n".join(lines).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Digests:
    """The digests of all resources of a machine, each made once. `told`: whose exports one is told."""

    resources: Mapping[Address, Resource[Any]]
    kinds: Mapping[str, Reconciler[Any, Any]]
    told: Callable[[Address], Iterable[Address]]
    _made: dict[Address, str] = field(default_factory=dict)

    def of(self, address: Address) -> str:
        """Kinds that export nothing have no part in it, whatever a resource needs of them."""
        if address not in self._made:
            tellers = (teller for teller in self.told(address) if self.kinds[teller.kind].informs)
            told = {teller: self.of(teller) for teller in dict.fromkeys(tellers)}
            self._made[address] = digest_of(self.resources[address], told)
        return self._made[address]


def cause_of(record: Record | None, digest: str, *, records_readable: bool) -> Cause:
    """`unapplied` where another wish was applied last, or none; `drifted` where it was this one."""
    if not records_readable or record is None:
        return Cause.UNDETERMINED
    return Cause.DRIFTED if record.digest == digest else Cause.UNAPPLIED
