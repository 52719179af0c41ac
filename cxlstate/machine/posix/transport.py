"""What carries words to a machine: one command with its input and output, or a conversation."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # slow to load, and of no use to the process that connects
    from cxlstate.core.answers import Answer
    from cxlstate.core.effect import Effect
    from cxlstate.core.libvirt import LibvirtEffect
    from cxlstate.core.read import LibvirtRead
    from cxlstate.machine.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Reply:
    """How a command ended and what it said."""

    status: int
    stdout: bytes
    stderr: bytes


class Lost(Exception):
    """The line to the machine is gone. The text says how it was noticed."""


class LockLost(Lost):
    """The lock is not ours any more: another may be at work."""


class TooMuch(Exception):
    """More came than was to be taken."""


class Unclear(Exception):
    """Nobody knows whether what was begun was done. The text says why."""


class Stream(Protocol):
    """A running command: bytes in, bytes out."""

    def send(self, data: bytes) -> None:
        """Hand over all of `data`. Raises Lost."""
        ...

    def receive(self, timeout: float) -> bytes:
        """What has come, at least a byte; nothing at its end. Raises Lost, TimeoutError."""
        ...

    def errors(self) -> str:
        """What was said on standard error up to now."""
        ...

    def end(self) -> None:
        """Close the way in: the command sees the end of its input, and what it says still comes."""
        ...

    def close(self) -> None:
        """Close both directions. May be called twice."""
        ...


class LibvirtReads(Protocol):
    """Asks the machine's libvirt, over a read-only connection that is kept."""

    def read(self, reads: Collection[LibvirtRead]) -> dict[LibvirtRead, Answer]:
        """An answer to each; a failed one where libvirt refuses, or is not there.

        Raises Lost, and CXC501 without the library.
        """
        ...


@dataclass(frozen=True, slots=True)
class Before:
    """What is to be known before an effect on libvirt is begun.

    `xml` is the definition that it changes or ends, without secrets. `devices` have to be checked first.
    `refused`: libvirt cannot be told anything, and why.
    """

    xml: str | None = None
    devices: tuple[str, ...] = ()
    refused: str = ""


class LibvirtWrites(Protocol):
    """Tells the machine's libvirt what to do, over a connection that is kept."""

    def performs(self, effect: type[Effect]) -> bool:
        """Whether it knows how. Nothing is opened for it."""
        ...

    def before(self, effect: LibvirtEffect) -> Before:
        """Look at what an effect is about. Raises Lost."""
        ...

    def perform(self, effect: LibvirtEffect, fence: Callable[[], None]) -> Outcome:
        """Do it. `fence` is called right before each call that changes something, and may raise.

        Raises Unclear, Lost.
        """
        ...


class LibvirtAccess(LibvirtReads, Protocol):
    """Both, over two connections."""

    def writer(self) -> LibvirtWrites:
        """What can change something. Raises CXC501 without the library."""
        ...


class Exchanger(Protocol):
    """Runs single commands on a machine, and asks its libvirt: enough to read it.

    `command` is always a constant of this package: values travel on standard input.
    Every method raises CxlstateError (CXC1…) where the machine cannot be reached.
    """

    @property
    def libvirt(self) -> LibvirtReads:
        """The machine's libvirt, of which nothing is loaded or opened before it is asked."""
        ...

    def connect(self) -> None:
        """Connect now, and not when it is first needed."""
        ...

    def exchange(self, command: str, stdin: bytes, timeout: float, limit: int) -> Reply:
        """One command, once, up to `limit` bytes. Raises Lost, TooMuch, TimeoutError (seconds)."""
        ...

    def close(self) -> None:
        """End the connection. May be called twice."""
        ...


class Transport(Exchanger, Protocol):
    """Holds conversations, too; connects when it is first needed, and again after `close`."""

    @property
    def libvirt(self) -> LibvirtAccess:
        """The machine's libvirt, to be asked and told."""
        ...

    def start(self, command: str) -> Stream:
        """Begin a conversation with a command. Raises Lost."""
        ...
