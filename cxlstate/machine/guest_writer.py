"""Changing a host and its guests: the writers beside the readers of `machine.guest`."""

from __future__ import annotations

from typing import Protocol

from cxlstate.core.guest import Accepted, Route
from cxlstate.machine.guest import GuestExchanger, Passage, PosixGuestReader, reach
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.session import Holder
from cxlstate.machine.posix.transport import Transport
from cxlstate.machine.posix.writer import DEFAULT, PosixWriter
from cxlstate.machine.qga.lease import Lease
from cxlstate.machine.qga.transport import AgentTransport


class HostTransport(Passage, Transport, Protocol):
    """What a host is told by, and what leads on into its guests."""


class GuestTransport(GuestExchanger, Transport, Protocol):
    """What a guest is told by."""


class PosixGuestWriter(PosixWriter):
    """Changes a guest, under its own lock: a process that stays there, or a lease over its agent."""

    def __init__(self, transport: GuestTransport, name: str, settings: Settings = DEFAULT) -> None:
        self._reached = transport
        super().__init__(transport, name, survives_reboot=True, settings=settings)

    @property
    def accepted(self) -> Accepted | None:
        """The host key that it was reached by, if it has one."""
        return self._reached.accepted

    def _lock_up(self) -> Holder:
        if isinstance(self._reached, AgentTransport):
            return Lease(self._reached, self._name, self._settings)
        return super()._lock_up()


class PosixHostWriter(PosixWriter):
    """Changes a host, and leads on into its guests."""

    def __init__(self, transport: HostTransport, name: str, *, survives_reboot: bool) -> None:
        self._passage = transport
        super().__init__(transport, name, survives_reboot=survives_reboot)

    def guest(self, route: Route) -> PosixGuestReader:
        """A guest to be asked, connected."""
        return PosixGuestReader(reach(self._passage, self._name, route), route.machine)

    def guest_writer(self, route: Route) -> PosixGuestWriter:
        """A guest to be changed, connected and locked."""
        return PosixGuestWriter(reach(self._passage, self._name, route), route.machine)
