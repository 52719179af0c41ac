"""A plan as a value: what differs on each machine, what is interrupted for it, and the order of doing.

`assess` makes it, pure. What is rendered is made from it, and what is executed is it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cxlstate.core.action import Action, Risk
from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Derived, Later
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.guest import Accepted
from cxlstate.core.machine import MachineId
from cxlstate.core.measure import Measurable
from cxlstate.core.reconciler import Resource
from cxlstate.engine.record import Cause
from cxlstate.engine.running import Running
from cxlstate.spec.tree import Machine, Tree

if TYPE_CHECKING:  # slow to load, and few plans measure
    from cxlstate.engine.caching import Measurement


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


# Interruptions ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Base:
    """What an effect assumes of a resource: a digest of what the plan showed of it."""

    of: str
    shown: str


@dataclass(frozen=True, slots=True)
class Planned:
    """One action of a plan, whose it is, and what it assumes."""

    at: ScopedAddress
    action: Action
    bases: tuple[Base, ...] = ()


@dataclass(frozen=True, slots=True)
class Stopped:
    """Somebody whom an interruption stops.

    `again`: this plan starts it again. `autostart`: it starts with the host; None where that is unknown.
    """

    name: str
    declared: bool
    autostart: bool | None
    again: bool


Subject = MachineId | ScopedAddress
"""What is away meanwhile: a machine (a host, a guest), or a VM of a host, declared or not."""


@dataclass(frozen=True, slots=True)
class Away:
    """That a resource needs somebody away: the steps are the interruption's, not the resource's.

    `activation`: only what is written already waits for it.
    """

    risk: Risk
    subject: Subject
    begin: Action
    end: Action | None = None
    activation: bool = False


@dataclass(frozen=True, slots=True)
class Interruption:
    """A machine or a VM that goes away once, for all of `because`.

    `stops` are the VMs and guests that stop with it. `unknown`: why it cannot be told which. `barred`
    are errors into which it would lead: it is not begun. `why` is what the resources say of it.
    """

    risk: Risk
    subject: Subject
    stops: tuple[Stopped, ...] = ()
    because: tuple[ScopedAddress, ...] = ()
    begin: tuple[Planned, ...] = ()
    end: tuple[Planned, ...] = ()
    why: tuple[str, ...] = ()
    unknown: str | None = None
    barred: tuple[Diagnostic, ...] = ()

    @property
    def machine(self) -> MachineId:
        """The machine on which it is begun, or which it is."""
        return self.subject if isinstance(self.subject, str) else self.subject.machine


@dataclass(frozen=True, slots=True)
class Turn:
    """Resources that are done together, and during which interruption."""

    resources: tuple[ScopedAddress, ...]
    effects: tuple[Planned, ...]
    within: Interruption | None = None


# Resources and machines -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ResourcePlan:
    """One resource: where it stands, what differs, what would be done.

    `actions` are its own. What stops a VM or a machine for it is in `away`. `wanted` is what its
    record would say. `waits_for` are resources that have to be in force before.
    """

    at: ScopedAddress
    resource: Resource[Any]
    status: Status
    exit: Exit
    changes: tuple[Change, ...] = ()
    actions: tuple[Action, ...] = ()
    away: tuple[Away, ...] = ()
    reason: str | None = None
    hint: str | None = None
    waits_for: tuple[ScopedAddress, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    wanted: str = ""
    cause: Cause | None = None
    facts: tuple[tuple[str, str], ...] = ()
    measurable: Measurable | str | None = None
    later: tuple[Later, ...] = ()
    derived: tuple[Derived, ...] = ()

    @property
    def address(self) -> Address:
        """Its address on its machine."""
        return self.at.address

    @property
    def risks(self) -> tuple[Risk, ...]:
        """What doing all of it would interrupt or destroy, `live` left out."""
        own = (action.risk for action in self.actions)
        risks = (*(one.risk for one in self.away), *own)
        return tuple(dict.fromkeys(risk for risk in risks if risk is not Risk.LIVE))

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The problems that stop it."""
        return tuple(one for one in self.diagnostics if one.severity is Severity.ERROR)


def steps_of(plan: ResourcePlan) -> tuple[Action | Away, ...]:
    """Whom it needs away, and what it does itself."""
    return (*plan.away, *plan.actions)


class Reach(StrEnum):
    """How far we came with a machine."""

    READ = "read"
    OFF = "off"
    """A guest whose VM is off, or that is not there yet."""
    UNKNOWN = "unknown"
    """It did not answer: waiting may help."""
    REFUSED = "refused"
    """It must not be talked to: its host key is not the one that is known, for example."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Whether a machine was read, and why not. `problem` is told where it is an error.

    `denied`: it answered, and refused the login.
    `new_key`: the host key that a guest was reached by, where its host does not keep it yet.
    """

    how: Reach = Reach.READ
    reason: str | None = None
    hint: str | None = None
    problem: Diagnostic | None = None
    new_key: Accepted | None = None
    denied: bool = False


@dataclass(frozen=True)
class MachinePlan:
    """All resources of a machine, in the order in which they would be done.

    `running` are the VMs that run there. `answers` is what the machine said, and `measured` how fast its
    memory is, where more was asked than a plan needs.
    """

    machine: Machine
    reached: Reached = field(default_factory=Reached)
    resources: tuple[ResourcePlan, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    running: Running = field(default_factory=Running)
    answers: Answers | None = field(default=None, compare=False, repr=False)
    measured: tuple[Measurement, ...] = ()

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

    @property
    def all_diagnostics(self) -> tuple[Diagnostic, ...]:
        """The machine's and its resources'."""
        return self.diagnostics + tuple(d for r in self.resources for d in r.diagnostics)


@dataclass(frozen=True)
class Plan:
    """All machines of a file, a host before its guests; what goes away; and what is done in which order.

    `turns` are what is foreseen from one reading. After each, the machines that it touched are read again.
    """

    tree: Tree
    machines: tuple[MachinePlan, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    turns: tuple[Turn, ...] = ()

    @property
    def exit(self) -> Exit:
        """The exit status of the file."""
        return worst(machine.exit for machine in self.machines)

    @cached_property
    def resources(self) -> tuple[ResourcePlan, ...]:
        """Those of all machines."""
        return tuple(resource for machine in self.machines for resource in machine.resources)

    @property
    def all_diagnostics(self) -> tuple[Diagnostic, ...]:
        """Those of all machines, each once: what an interruption leads into is told first."""
        barred = (one for interruption in self.interruptions for one in interruption.barred)
        found = (one for machine in self.machines for one in machine.all_diagnostics)
        return tuple(dict.fromkeys((*found, *barred)))

    @cached_property
    def _by_address(self) -> dict[ScopedAddress, ResourcePlan]:
        return {resource.at: resource for resource in self.resources}

    @property
    def summary(self) -> dict[str, int]:
        """How many resources stand where, on all machines."""
        return {status.value: sum(m.summary[status.value] for m in self.machines) for status in Status}

    @property
    def has_new_keys(self) -> bool:
        """Whether a guest was reached by a host key that its host does not keep yet."""
        return any(machine.reached.new_key for machine in self.machines)

    def at(self, where: ScopedAddress | Address) -> ResourcePlan | None:
        """The plan of one resource; an address without a machine is the host's."""
        if isinstance(where, Address):
            where = ScopedAddress(self.tree.host.id, where)
        return self._by_address.get(where)

    def on(self, machine: MachineId) -> MachinePlan:
        """The plan of one machine. KeyError: it is none of the tree."""
        return {one.machine.id: one for one in self.machines}[machine]
