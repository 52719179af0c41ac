"""What carries words to a machine: one command with its input and output, or a conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Reply:
    """How a command ended and what it said."""

    status: int
    stdout: bytes
    stderr: bytes


class Lost(Exception):
    """The line to the machine is gone. The text says how it was noticed."""


class TooMuch(Exception):
    """More came than was to be taken."""


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

    def close(self) -> None:
        """Close both directions. May be called twice."""
        ...


class Exchanger(Protocol):
    """Runs single commands on a machine: enough to read it.

    `command` is always a constant of this package: values travel on standard input.
    Every method raises CxlstateError (CXC1…) where the machine cannot be reached.
    """

    def exchange(self, command: str, stdin: bytes, timeout: float, limit: int) -> Reply:
        """One command, once, up to `limit` bytes. Raises Lost, TooMuch, TimeoutError (seconds)."""
        ...

    def close(self) -> None:
        """End the connection. May be called twice."""
        ...


class Transport(Exchanger, Protocol):
    """Holds conversations, too; connects when it is first needed, and again after `close`."""

    def start(self, command: str) -> Stream:
        """Begin a conversation with a command. Raises Lost."""
        ...
