"""The machines of a tree, open for writing: the host first, a guest once it has work. A lock each.

Out of reach of all that plans: `apply` alone imports this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cxlstate.core.connect import Connect
from cxlstate.core.guest import GuestAccess, Route
from cxlstate.core.machine import MachineId
from cxlstate.engine.reading import Readers, way_of
from cxlstate.machine.writer import GuestWriter, HostWriter, Writer
from cxlstate.spec.tree import Machine

WriterOpener = Callable[[Connect, str], HostWriter]
"""How a host of a name is opened for writing: with its lock."""


@dataclass
class Writers:
    """Hosts are opened for writing at once. A guest is read until something is to be done in it."""

    opener: WriterOpener
    hosts: dict[MachineId, HostWriter] = field(default_factory=dict)
    guests: dict[MachineId, GuestWriter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.readers = Readers(self._open_host)

    def _open_host(self, connect: Connect, name: str) -> HostWriter:
        self.hosts[name] = self.opener(connect, name)
        return self.hosts[name]

    def writer(self, machine: Machine, access: GuestAccess | None = None) -> Writer:
        """The writer of a machine: with its lock, as long as it is open. Raises CxlstateError."""
        if machine.parent is None:
            self.readers.host(machine)
            return self.hosts[machine.id]
        if machine.id not in self.guests:
            self.readers.drop(machine.id)
            route = Route(machine.id, way_of(machine), access or GuestAccess(None))
            opened = self.hosts[machine.parent].guest_writer(route)
            self.guests[machine.id] = self.readers.guests[machine.id] = opened
        return self.guests[machine.id]

    def drop(self, guest: MachineId) -> None:
        """Give up the lock of a guest, and the connection to it."""
        self.guests.pop(guest, None)
        self.readers.drop(guest)

    def close(self) -> None:
        """Give up all: guests before their host."""
        self.guests.clear()
        self.hosts.clear()
        self.readers.close()
