"""A small web server on loopback: byte ranges, redirections, and transfers that break off on purpose."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    """What is served, by path, and how badly. `asked` are the paths and ranges that were asked for."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    breaks_after: int | None = None  # bytes of an answer
    hangs: bool = False  # in place of breaking off
    once: bool = True  # only the first answer goes wrong
    asked: list[tuple[str, str]] = field(default_factory=list)
    reached: threading.Event = field(default_factory=threading.Event)  # the place where it goes wrong
    over: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        web = self.server.web
        wanted = self.headers.get("Range", "")
        web.asked.append((self.path, wanted))
        if self.path in web.moved:
            self.send_response(302)
            self.send_header("Location", web.moved[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = web.files.get(self.path.partition("?")[0])
        if content is None:
            self.send_error(404)
            return
        range_ = re.fullmatch(r"bytes=(\d+)-", wanted) if web.ranges else None
        start = int(range_[1]) if range_ else 0
        if range_ and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if range_ else 200)
        if range_:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self._send(content[start:], web)

    def _send(self, content: bytes, web: Web) -> None:
        if web.breaks_after is None:
            self.wfile.write(content)
            return
        self.wfile.write(content[: web.breaks_after])
        self.wfile.flush()
        hangs = web.hangs
        if web.once:
            web.breaks_after, web.hangs = None, False
        web.reached.set()
        if hangs:
            web.over.wait(60)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the library
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    web: Web

    def handle_error(self, request, client_address) -> None:
        """A client that was killed is what some tests are about."""


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    web = Web()
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.web = web
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        web.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield web
        web.over.set()
        server.shutdown()
        thread.join()


def wait_for(what, seconds: float = 20.0) -> None:
    """Until something holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)
