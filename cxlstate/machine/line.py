"""A TCP connection on which nobody waits for nothing."""

from __future__ import annotations

import socket


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
