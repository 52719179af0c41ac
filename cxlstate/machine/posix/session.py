"""One effect under way on a POSIX machine: scripts that the agent runs under its lock, and their reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cxlstate.core.diagnostic import CxlstateError, fail
from cxlstate.machine.outcome import Entry, Outcome
from cxlstate.machine.posix import effects
from cxlstate.machine.posix.transport import LibvirtWrites, LockLost, Lost, Transport

SLACK = 120
"""Seconds for what surrounds a program: hashing, syncing, sending."""


class Holder(Protocol):
    """Holds the machine's lock, and runs scripts under it."""

    def run(self, script: bytes, timeout: float) -> bytes:
        """What a script printed. Raises Lost, TimeoutError (seconds)."""
        ...

    def confirm(self) -> None:
        """Make sure that the lock is ours, and for some time from now. Raises Lost, TimeoutError."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """What a performer is handed. `state` is our folder on the machine, `entry` what the journal says."""

    agent: Holder
    transport: Transport
    machine: str
    state: str
    entry: Entry

    @property
    def libvirt(self) -> LibvirtWrites:
        """The machine's libvirt. Raises CXC501 without the library."""
        return self.transport.libvirt.writer()

    def do(self, script: bytes, timeout: int = 0) -> Outcome:
        """What a script reports. `timeout` is its own, in seconds. Raises CxlstateError (CXC303, CXC307)."""
        output = self.run(script, timeout)
        try:
            return effects.report(output)
        except ValueError as cut:
            raise self.unclear(text(output)) from cut

    def run(self, script: bytes, timeout: int = 0) -> bytes:
        """All that a script prints. Raises CxlstateError (CXC303)."""
        try:
            return self.agent.run(script, timeout + SLACK)
        except (Lost, TimeoutError) as lost:
            raise self.lost(lost) from lost

    def fence(self) -> None:
        """Look whether the lock is ours: after the answer it is, for the time of a heartbeat."""
        try:
            self.agent.confirm()
        except (Lost, TimeoutError) as gone:
            raise LockLost(str(gone) or "the agent on the machine does not answer") from gone

    def lost(self, lost: Exception) -> CxlstateError:
        """The line broke."""
        return fail(
            "CXC303",
            f"connection lost during: {self.entry.does}",
            machine=self.machine,
            found=str(lost) or "no sign of life",
            expected="an answer",
            hint="it goes on by itself, or was not begun; the next apply looks at what is there "
            "and converges, nothing has to be cleaned up",
        )

    def lock_lost(self, lost: Exception) -> CxlstateError:
        """Another may be at work."""
        return fail(
            "CXC310",
            f"lock lost during: {self.entry.does}",
            machine=self.machine,
            found=str(lost),
            expected="the lock to be held until the end",
            hint="apply again, once no other apply is at work on the machine: nothing more was begun",
        )

    def unclear(self, found: str) -> CxlstateError:
        """Nobody knows whether it was done."""
        return fail(
            "CXC307",
            f"outcome is unknown: {self.entry.does}",
            machine=self.machine,
            found=found or "no report",
            hint="the next apply looks at what is there and goes on from it",
        )


def text(output: bytes) -> str:
    """What a script said, as far as anybody reads."""
    return output[-4000:].decode("utf-8", "replace").strip()
