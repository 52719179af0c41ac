"""Sockets to a machine: TCP with timeouts on connect and read, or the program that `ProxyCommand` names."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile

UNANSWERED = 60
"""Seconds that sent data may stay unacknowledged before the line is given up."""


class Line(socket.socket):
    """Sends small packets at once, acknowledges at once, and gives up on a dead peer.

    An SSH server holds back its answer to the first channel until what it sent before is
    acknowledged (Nagle), which the kernel otherwise puts off for 40 ms. `unanswered` is for how many
    seconds sent data may stay unacknowledged. Raises OSError.
    """

    def __init__(self, host: str, port: int, timeout: float, unanswered: int) -> None:
        made = socket.create_connection((host, port), timeout=timeout)
        super().__init__(made.family, made.type, made.proto, fileno=made.detach())
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unanswered * 1000)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """As any socket's; the kernel forgets its promise of quick answers each time."""
        data = super().recv(size, flags)
        if hasattr(socket, "TCP_QUICKACK"):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


class ProxyLine(socket.socket):
    """Standard input and output of a program, run as ssh does (sshconnect.c, ssh_proxy_connect).

    A socket pair, so that its end is seen at once. The program ends with the socket.
    """

    def __init__(self, command: str) -> None:
        near, far = socket.socketpair()
        super().__init__(near.family, near.type, near.proto, fileno=near.detach())
        self._said = ""
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # read when it is known that it failed
        shell = os.environ.get("SHELL") or "/bin/sh"
        with far:
            self._process = subprocess.Popen(
                [shell, "-c", f"exec {command}"],
                stdin=far.fileno(),
                stdout=far.fileno(),
                stderr=self._complaints,
                start_new_session=True,  # Ctrl-C reaches only ourselves
            )

    def complaint(self) -> str:
        """The last line that it said on standard error; the library may have closed the socket by then."""
        if not self._complaints.closed:
            size = os.fstat(self._complaints.fileno()).st_size
            said = os.pread(self._complaints.fileno(), 4000, max(0, size - 4000)).decode("utf-8", "replace")
            self._said = said.strip().rpartition("\n")[2]
        return self._said

    def close(self) -> None:
        """End the program, too. May be called twice."""
        super().close()
        self._process.terminate()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.complaint()
        self._complaints.close()
