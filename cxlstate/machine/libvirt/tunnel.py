"""A private unix socket, and behind it the program on the machine that leads to libvirt's daemon.

So libvirt's own library talks through the connection that is already open: no second handshake, and
the host's key is checked by the rules of the first. `virt-ssh-helper` is what `qemu+ssh` runs, too.

Two threads carry the bytes, and both end with the first end that comes: libvirt closes its socket, or
the program on the machine ends, or the line breaks. A program of ours that ends before them hangs up:
libvirt's own farewell would wait for an answer that nobody carries any more.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from cxlstate.core.exit_status import NOT_FOUND
from cxlstate.machine.libvirt.way import Refusal
from cxlstate.machine.posix.launcher import NO_HELPER
from cxlstate.machine.posix.transport import Lost, Stream

CALLED = 30
"""Seconds in which libvirt has to have opened the socket."""

_LONGEST = 100  # bytes of a socket's path, of the 108 that there are (sockaddr_un)
_CHUNK = 1 << 18
_TURN = 10.0  # seconds; what has come is handed on at once


class Tunnel:
    """One connection through a stream. The socket has a name only until it was called."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._lost: Lost | None = None
        self._first_to_end = ""
        self._near: socket.socket | None = None
        self._closed = threading.Event()
        self._folder = _private_folder()
        self._path = str(self._folder / "libvirt")
        self.uri = f"qemu+unix:///system?socket={quote(self._path, safe='/')}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._path)
        self._listener.listen(1)
        self._listener.settimeout(CALLED)
        self._carrier = threading.Thread(target=self._carry, daemon=True)
        self._carrier.start()

    def explain(self, message: str) -> Refusal:
        """In the words of the program on the machine, if it was the first to leave, and said any."""
        self._carrier.join(1)  # it may still be at what broke
        if self._lost:
            raise self._lost
        said = self._stream.errors().strip().splitlines() if self._first_to_end == "far" else []
        if NO_HELPER in said:
            return Refusal(NOT_FOUND, NO_HELPER)
        return Refusal(1, said[-1] if said else message)

    def close(self) -> None:
        """End the program on the machine, which libvirt may still be talking to."""
        self._closed.set()
        with socket.socket(socket.AF_UNIX) as caller, suppress(OSError):
            caller.connect(self._path)  # nothing else wakes who still waits for a call
        self._hang_up()
        self._carrier.join(1)
        self._stream.close()

    def _carry(self) -> None:
        """Wait for the call, then carry to libvirt; a second thread carries from it."""
        try:
            self._near, _ = self._listener.accept()
        except OSError:  # nobody called
            return
        finally:
            self._listener.close()
            shutil.rmtree(self._folder, ignore_errors=True)
        there = threading.Thread(target=self._carry_there, args=(self._near,), daemon=True)
        there.start()
        atexit.register(self._hang_up)
        try:
            with suppress(OSError):  # libvirt has closed its end
                while data := self._receive():
                    self._near.sendall(data)
        except Lost as lost:
            self._lost = lost
        finally:
            self._first_to_end = self._first_to_end or "far"
            self._hang_up()
            there.join()
            self._near.close()
            atexit.unregister(self._hang_up)

    def _carry_there(self, near: socket.socket) -> None:
        """What goes wrong on the far side is noticed by the other thread, which knows what it means."""
        with suppress(Lost):
            while data := _received(near):
                self._stream.send(data)
            self._first_to_end = self._first_to_end or "near"
        with suppress(Lost):
            self._stream.end()

    def _receive(self) -> bytes:
        while not self._closed.is_set():
            try:
                return self._stream.receive(_TURN)
            except TimeoutError:
                continue
        return b""

    def _hang_up(self) -> None:
        """Both threads, and libvirt, notice at once."""
        if self._near:
            with suppress(OSError):
                self._near.shutdown(socket.SHUT_RDWR)


def _received(near: socket.socket) -> bytes:
    try:
        return near.recv(_CHUNK)
    except OSError:
        return b""


def _private_folder() -> Path:
    """Closed to everybody else, under a path that a socket can have."""
    usual = tempfile.gettempdir()
    folder = usual if len(os.fsencode(usual)) < _LONGEST - len("/cxlstate-12345678/libvirt") else "/tmp"  # noqa: S108  # made for us alone
    return Path(tempfile.mkdtemp(prefix="cxlstate-", dir=folder))
