"""The machines of a tree, open for writing: the host first, a guest once it has work. A lock each.

Out of reach of all that plans: `apply` alone imports this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

from cxlstate.core.connect import Connect
from cxlstate.core.guest import GuestAccess, Route
from cxlstate.core.machine import MachineId
from cxlstate.engine.reading import Readers, way_of
from cxlstate.machine.writer import Writer
from cxlstate.spec.tree import Machine

WriterOpener = Callable[[Connect, str], Writer]
"""How a host of a name is opened for writing: with its lock."""


class HostWriter(Writer, Protocol):
    """Changes a host, and leads on into its guests."""

    def guest_writer(self, route: Route) -> Writer:
        """A guest, connected, with its lock. Raises CxlstateError."""
        ...


@dataclass
class Writers:
    """Hosts are opened for writing at once. A guest is read until something is to be done in it."""

    opener: WriterOpener
    writers: dict[MachineId, Writer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.readers = Readers(self._open_host)

    def _open_host(self, connect: Connect, name: str) -> Writer:
        self.writers[name] = self.opener(connect, name)
        return self.writers[name]

    def writer(self, machine: Machine, access: GuestAccess | None = None) -> Writer:
        """The writer of a machine: with its lock, as long as it is open. Raises CxlstateError."""
        if machine.id not in self.writers:
            if machine.parent is None:
                self.readers.host(machine)
            else:
                self.readers.drop(machine.id)
                host = cast("HostWriter", self.writers[machine.parent])
                opened = host.guest_writer(Route(machine.id, way_of(machine), access or GuestAccess(None)))
                self.writers[machine.id] = self.readers.open[machine.id] = opened
        return self.writers[machine.id]

    def drop(self, machine: MachineId) -> None:
        """Give up the lock of a guest, and the connection to it."""
        self.writers.pop(machine, None)
        self.readers.drop(machine)

    def close(self) -> None:
        """Give up all: guests before their host."""
        self.writers.clear()
        self.readers.close()
