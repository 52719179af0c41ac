"""What a machine can be asked and told. Reading and writing are different types.

`plan` and `drift` are handed a `Reader`, which has no way to change anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cxlstate.core.action import Effect
from cxlstate.core.read import Answers, Read

STATE = "/var/lib/cxlstate"
"""Journal and records of what was last applied, on the machine itself."""

Progress = Callable[[str], None]
"""Told what is being waited for; shown to a person, with how long it has taken."""


class Reader(Protocol):
    """Asks a machine. Everything asked in one call is one exchange with it."""

    def read(self, reads: Collection[Read]) -> Answers:
        """Answers to all reads, duplicates dropped and commands merged.

        Raises CxlstateError (CXC…) where the machine cannot be reached or the exchange breaks. A
        single read that fails is no error: its answer carries the status.
        """
        ...

    def close(self) -> None:
        """End the connection. May be called twice."""
        ...


class Result(Enum):
    """How an effect ended."""

    DONE = "done"
    FAILED = "failed"
    STALE = "stale"  # the file is not what it was when the plan was made; nothing was written
    FOREIGN = "foreign"  # what was generated has changes that are not ours; nothing was written
    REFUSED = "refused"  # a guest would have to be powered off for it, and that was not allowed


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an effect ended, and what was said (the last 64 KiB; a unified diff for FOREIGN)."""

    result: Result
    status: int = 0
    output: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal says of an effect, besides when, and how it ended."""

    run: str
    addresses: tuple[str, ...]
    does: str
    risk: str


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
