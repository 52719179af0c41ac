"""The machine we run on, through subprocesses."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from cxlstate.machine import limits
from cxlstate.machine.libvirt.access import Access
from cxlstate.machine.libvirt.tunnel import Tunnel
from cxlstate.machine.libvirt.way import SYSTEM, Direct, Way
from cxlstate.machine.line import UNANSWERED, Line
from cxlstate.machine.posix import launcher
from cxlstate.machine.posix.transport import Lost, Reply, TooMuch
from cxlstate.machine.qga.ask import Ask

_CHUNK = 1 << 16
_TURN = 0.5  # seconds
_LOOKS = 5  # at who is left: one may have begun another meanwhile


class LocalTransport:
    """Runs commands here, in a session of their own, so that Ctrl-C reaches only ourselves."""

    def __init__(self, libvirt_uri: str = SYSTEM) -> None:
        self._libvirt_uri = libvirt_uri
        self.libvirt = Access(lambda: Direct(libvirt_uri), self._way_to_write)

    def connect(self) -> None:
        """We are here."""

    def exchange(self, command: str, stdin: bytes, timeout: float, limit: int) -> Reply:
        """One command with its input, up to `limit` bytes of output."""
        script = os.memfd_create("cxlstate-script")
        try:
            os.write(script, stdin)
            os.lseek(script, 0, os.SEEK_SET)
            process = _start(command, script)
        finally:
            os.close(script)
        try:
            stdout, stderr = _gather(process, time.monotonic() + timeout, limit)
            return Reply(process.wait(timeout), stdout, stderr)
        except BaseException:
            _end(process.pid)
            raise
        finally:
            _release(process)

    def start(self, command: str) -> LocalStream:
        """Begin a conversation."""
        return LocalStream(_start(command, subprocess.PIPE))

    def agent(self, vm: str) -> Ask:
        """The guest agent of one of this machine's VMs."""
        return partial(self.libvirt.agent, vm)

    def channel(self, address: str, port: int, patience: float) -> Line:
        """A TCP connection from here. Raises OSError where it leads nowhere."""
        return Line(address, port, patience, UNANSWERED)

    def close(self) -> None:
        """End the connections to libvirt; nothing else is held between commands."""
        self.libvirt.close()

    def _way_to_write(self) -> Way:
        if os.geteuid() == 0 or self._libvirt_uri != SYSTEM:
            return Direct(self._libvirt_uri)
        return Tunnel(self.start(launcher.LIBVIRT_WRITE))


class LocalStream:
    """The pipes of a process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def send(self, data: bytes) -> None:
        """Write all of it."""
        assert self._process.stdin  # noqa: S101  # opened in `start`
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError as gone:
            raise Lost(str(gone)) from gone

    def receive(self, timeout: float) -> bytes:
        """Wait for some output."""
        assert self._process.stdout  # noqa: S101  # opened in `start`
        if self._process.stdout.closed:
            raise Lost("it was closed here")
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise TimeoutError
        return os.read(self._process.stdout.fileno(), _CHUNK)

    def errors(self) -> str:
        """What the process complained of, once it has ended."""
        assert self._process.stderr  # noqa: S101  # opened in `start`
        if self._process.stderr.closed:
            return ""
        os.set_blocking(self._process.stderr.fileno(), False)
        return (self._process.stderr.read(limits.COMPLAINT) or b"").decode("utf-8", "replace")

    def end(self) -> None:
        """Close standard input."""
        assert self._process.stdin  # noqa: S101  # opened in `start`
        with suppress(OSError):
            self._process.stdin.close()

    def close(self) -> None:
        """Close the pipes: the process sees the end of its input, and is left to finish."""
        _release(self._process)


def _start(command: str, stdin: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["sh", "-c", command],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _end(session: int) -> None:
    """Kill all that is in a session, group by group: timeout(1) makes one of its own for all else."""
    for _ in range(_LOOKS):
        groups = {group for group, its in _groups() if its == session}
        if not groups:
            return
        for group in groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)


def _groups() -> Iterator[tuple[int, int]]:
    """Process group and session of every process that is alive: proc_pid_stat(5)."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            state, _, group, session, *_ = stat.read_text("ascii", "replace").rpartition(")")[2].split()
            if state not in ("Z", "X"):
                yield int(group), int(session)


def _release(process: subprocess.Popen[bytes]) -> None:
    """Let go of the pipes, and of the process if it ends soon."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with suppress(OSError):
                pipe.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(2)


def _gather(process: subprocess.Popen[bytes], deadline: float, limit: int) -> tuple[bytes, bytes]:
    """Both outputs to their ends, or to that of the process. Raises TooMuch, TimeoutError."""
    assert process.stdout and process.stderr  # noqa: S101, PT018  # opened in `_start`
    taken: dict[int, list[bytes]] = {process.stdout.fileno(): [], process.stderr.fileno(): []}
    size, gone = 0, False
    with selectors.DefaultSelector() as selector:
        for descriptor in taken:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left < 0:  # also while something comes, again and again
                raise TimeoutError
            ready = selector.select(min(left, _TURN))
            if not ready:
                if gone:  # who still holds the pipes cannot be killed (state D), and is not waited for
                    break
                gone = process.poll() is not None
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                taken[key.fd].append(chunk)
                size += len(chunk)
                if not chunk:
                    selector.unregister(key.fd)
            if size > limit:
                raise TooMuch
    stdout, stderr = (b"".join(chunks) for chunks in taken.values())
    return stdout, stderr
