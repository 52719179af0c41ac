"""A plan as data: what differs, what would be done about it, and what cannot be told.

`planner` makes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from cxlstate.core.action import Action, Risk
from cxlstate.core.address import Address
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.read import Answers
from cxlstate.core.reconciler import Resource
from cxlstate.engine.record import Cause
from cxlstate.engine.running import Running
from cxlstate.spec.load import MachineSpec


class Status(StrEnum):
    """Where a resource stands."""

    IN_SYNC = "in-sync"
    CHANGE = "change"
    BLOCKED = "blocked"
    PENDING_REBOOT = "pending-reboot"
    PENDING_RESTART = "pending-restart"
    UNKNOWN = "unknown"


PENDING = (Status.PENDING_REBOOT, Status.PENDING_RESTART)


class Exit(IntEnum):
    """The exit statuses of a run. Wrong usage (64) is told by `cli.main`, before there is a plan."""

    IN_SYNC = 0
    ERROR = 1
    CHANGES = 2
    PENDING = 3
    REFUSED = 4
    UNKNOWN = 5


_FIRST = (Exit.ERROR, Exit.UNKNOWN, Exit.REFUSED, Exit.CHANGES, Exit.PENDING, Exit.IN_SYNC)


def worst(exits: Iterable[Exit]) -> Exit:
    """The one that is reported when several hold."""
    return min(exits, key=_FIRST.index, default=Exit.IN_SYNC)


@dataclass(frozen=True)
class ResourcePlan:
    """One resource: where it stands, what differs, what would be done."""

    resource: Resource[Any]
    status: Status
    exit: Exit
    changes: tuple[Change, ...] = ()
    actions: tuple[Action, ...] = ()
    reason: str | None = None
    hint: str | None = None
    waits_for: tuple[Address, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    wanted: str = ""
    cause: Cause | None = None
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def address(self) -> Address:
        """Whose plan this is."""
        return self.resource.address

    @property
    def risks(self) -> tuple[Risk, ...]:
        """What doing all of it would interrupt, `live` left out."""
        return tuple(dict.fromkeys(a.risk for a in self.actions if a.risk is not Risk.LIVE))


@dataclass(frozen=True)
class MachinePlan:
    """All resources of a machine, in the order in which they would be done.

    `running` are the VMs that a reboot would stop, where the plan of any resource may hold one.
    `answers` is what the machine said, where more was asked than a plan needs.
    """

    spec: MachineSpec
    resources: tuple[ResourcePlan, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    running: Running = field(default_factory=Running)
    answers: Answers | None = field(default=None, compare=False, repr=False)

    @property
    def exit(self) -> Exit:
        """The exit status of this machine."""
        errors = [Exit.ERROR for d in self.diagnostics if d.severity is Severity.ERROR]
        return worst([*errors, *(resource.exit for resource in self.resources)])

    @property
    def status(self) -> str:
        """One word for the machine."""
        words = {
            Exit.ERROR: "error",
            Exit.UNKNOWN: Status.UNKNOWN.value,
            Exit.CHANGES: Status.CHANGE.value,
            Exit.IN_SYNC: Status.IN_SYNC.value,
        }
        pending = [r.status for r in self.resources if r.status in PENDING]
        return words.get(self.exit) or max(pending, default=Status.PENDING_REBOOT).value

    @property
    def summary(self) -> dict[str, int]:
        """How many resources stand where."""
        counts = {status.value: 0 for status in Status}
        for resource in self.resources:
            counts[resource.status.value] += 1
        return counts

    def at(self, address: Address) -> ResourcePlan | None:
        """The plan of one resource."""
        return next((resource for resource in self.resources if resource.address == address), None)

    @property
    def all_diagnostics(self) -> tuple[Diagnostic, ...]:
        """The machine's and its resources'."""
        return self.diagnostics + tuple(d for r in self.resources for d in r.diagnostics)
