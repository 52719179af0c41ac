"""What a machine can be told. A module of its own: `lint-imports` keeps it out of reach of what reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from cxlstate.core.effect import Effect
from cxlstate.core.guest import Route
from cxlstate.machine.outcome import Entry, Outcome
from cxlstate.machine.reader import GuestReader, HostReader, Reader

Progress = Callable[[str], None]
"""Told what is being waited for; shown to a person, with how long it has taken."""


class Writer(Reader, Protocol):
    """Changes a machine, and holds its one lock for as long as it is open.

    The lock is a process on the machine with a heartbeat: it is free again when that process ends,
    and an effect still running keeps it until it is done.
    """

    @property
    def survives_reboot(self) -> bool:
        """Whether `reboot` can wait for the machine: false where we run on it ourselves."""
        ...

    def perform(self, effect: Effect, entry: Entry) -> Outcome:
        """Do one effect and journal it: what it is before, how it ended after.

        What a file held before goes into the journal's store first. Raises CxlstateError when the
        connection is lost in the middle; the effect then goes on by itself, or was not begun.
        """
        ...

    def record(self, records: Mapping[str, str | None]) -> None:
        """Set the last-applied record (one line) of each address; None forgets it."""
        ...

    def reboot(self, entry: Entry, progress: Progress) -> None:
        """Reboot, wait for a new boot id, and take the lock again before anything else."""
        ...


class GuestWriter(Writer, GuestReader, Protocol):
    """Changes a guest. Its lock, journal and records are in the guest."""


class HostWriter(Writer, HostReader, Protocol):
    """Changes a host, and leads on into its guests. What is only asked of a guest takes `guest`."""

    def guest_writer(self, route: Route) -> GuestWriter:
        """A guest to be changed, over the connection that is open, with its lock held. It is closed first.

        Raises CxlstateError as `guest` does, and CXC30x as opening any writer.
        """
        ...
