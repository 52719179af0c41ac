"""What it takes to perform an effect on libvirt: the form of a line in the tables of domains and networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import libvirt

from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.posix.transport import Before

DONE = Outcome(Result.DONE)
STALE = Outcome(Result.STALE)


@dataclass(frozen=True, slots=True)
class Session:
    """`ran` is what the domains that were shut down ran with, by name: it is added to, and used."""

    connection: libvirt.virConnect
    ran: dict[str, str] = field(default_factory=dict)


def _at_once(_effect: object) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Performer:
    """`do` raises Refused or libvirtError. `before` looks at what the effect is about, and changes nothing.

    It always asks libvirt something: a connection that broke is noticed before the effect is begun.
    `takes` is for how many seconds the effect itself may wait.
    """

    do: Callable[[Any, Session], Outcome]
    before: Callable[[Any, Session], Before]
    takes: Callable[[Any], int] = _at_once


def definition(one: libvirt.virDomain | libvirt.virNetwork | None, inactive: int) -> str | None:
    """The persistent definition, or else that of something transient. Never with secrets."""
    if one is None:
        return None
    text: str = one.XMLDesc(inactive if one.isPersistent() else 0)
    return text
