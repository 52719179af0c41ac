"""Channels of an SSH connection: one command with its input and output, or a conversation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import paramiko

from cxlstate.machine import limits
from cxlstate.machine.line import UNANSWERED
from cxlstate.machine.posix.transport import Lost, TooMuch

WINDOW = 16 << 20
"""Bytes that may be under way in a channel: a whole plan's answers fit."""

_CHUNK = 1 << 18
_PROHIBITED = 1  # SSH_OPEN_ADMINISTRATIVELY_PROHIBITED of RFC 4254, 5.1
_TURN = 1.0  # seconds
_SLOWEST = 1 << 16  # bytes a second that the far side has to take, as the agent's own limit


class SshStream:
    """A channel on which a conversation is held.

    Waiting is done in short turns, since the channel has one time limit for both directions, and
    two threads use it.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        channel.settimeout(_TURN)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        deadline = time.monotonic() + UNANSWERED + len(data) / _SLOWEST
        at = 0
        while at < len(data):
            try:
                with lost():
                    at += self._channel.send(data[at : at + _CHUNK])
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise Lost("nothing is taken any more") from None

    def receive(self, timeout: float) -> bytes:
        """Wait for some output. The end of the line is told from the end of the command."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                with lost():
                    data: bytes = self._channel.recv(_CHUNK)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
                continue
            if not data and not self._channel.get_transport().is_active():
                raise Lost("the connection was closed")
            return data

    def errors(self) -> str:
        """What came on standard error."""
        said = b""
        while self._channel.recv_stderr_ready() and len(said) < limits.COMPLAINT:
            said += self._channel.recv_stderr(limits.COMPLAINT)
        return said.decode("utf-8", "replace")

    def end(self) -> None:
        """Close the way in."""
        with lost():
            self._channel.shutdown_write()

    def close(self) -> None:
        """Close the channel: the command sees the end of its input."""
        self._channel.close()


def send_all(channel: paramiko.Channel, data: bytes) -> None:
    """What goes wrong here is seen by the receiving side, which knows what it means."""
    with suppress(OSError, EOFError, paramiko.SSHException):
        for at in range(0, len(data), _CHUNK):  # the library copies what is left with each packet
            channel.sendall(data[at : at + _CHUNK])
        channel.shutdown_write()


def receive_all(channel: paramiko.Channel, deadline: float, limit: int) -> tuple[bytes, bytes]:
    """Both outputs to their ends, or to that of the command. Raises TooMuch, TimeoutError."""
    stdout: list[bytes] = []
    stderr: list[bytes] = []
    size, gone = 0, False
    while True:
        left = deadline - time.monotonic()
        if left < 0:  # also while something comes, again and again
            raise TimeoutError
        channel.settimeout(min(left, _TURN))
        chunk = None
        try:
            chunk = channel.recv(_CHUNK)
            stdout.append(chunk)
            size += len(chunk)
        except TimeoutError:
            if gone:  # who still holds the pipes cannot be killed (state D), and is not waited for
                chunk = b""
            gone = channel.exit_status_ready()
        while channel.recv_stderr_ready() and size <= limit:
            stderr.append(channel.recv_stderr(_CHUNK))
            size += len(stderr[-1])
        if size > limit:
            raise TooMuch
        if chunk == b"":
            return b"".join(stdout), b"".join(stderr)


def forwarded(transport: paramiko.Transport, address: str, port: int, patience: float) -> paramiko.Channel:
    """A TCP connection that the server makes (RFC 4254, 7.2).

    Raises Lost, TimeoutError, and OSError where the server says that it leads nowhere.
    """
    deadline = time.monotonic() + patience
    try:
        return transport.open_channel(
            "direct-tcpip", (address, port), ("127.0.0.1", 0), window_size=WINDOW, timeout=patience
        )
    except paramiko.ChannelException as refused:
        prohibited = refused.code == _PROHIBITED
        raise (
            OSError(0, "the host forbids forwarding (AllowTcpForwarding, PermitOpen in its sshd_config)")
            if prohibited
            else OSError(0, refused.text or "connection refused")
        ) from refused
    except (OSError, EOFError, paramiko.SSHException) as broken:
        if transport.is_active() and time.monotonic() >= deadline:
            raise TimeoutError from broken
        raise Lost(str(broken) or "the connection was closed") from broken


@contextmanager
def lost() -> Iterator[None]:
    """A line that breaks, in the words of the transport."""
    try:
        yield
    except TimeoutError:  # what a channel raises where nothing came in time
        raise
    except (OSError, EOFError, paramiko.SSHException) as broken:
        raise Lost(str(broken) or "the connection was closed") from broken
