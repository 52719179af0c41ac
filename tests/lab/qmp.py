"""A minimal client of QEMU's machine protocol (QMP): one command, one answer; reboots are counted."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any, Self

from tests.lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path


_BIOS_SECONDS = 15
_GONE = "QEMU does not answer on its control socket: the machine has ended, or hangs"


class Qmp:
    """A connection to one running QEMU."""

    def __init__(self, path: Path, *, timeout: float = 60) -> None:
        """Connect to the socket at `path` and leave the negotiation mode."""
        self.reboots = 0
        self._reset = 0  # when the last one was: the BIOS adds one of its own
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
            self._lines = self._socket.makefile("r", encoding="utf-8")
            self._read()  # the greeting
            self.command("qmp_capabilities")
        except (OSError, LabError):
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        """Return the connection itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection; the machine goes on."""
        self.close()

    def close(self) -> None:
        """Close the connection; the machine goes on."""
        self._lines.close()
        self._socket.close()

    def command(self, name: str, **arguments: object) -> Any:
        """Run the QMP command `name` and return its answer; `_` in argument names means `-`."""
        request = {
            "execute": name,
            "arguments": {key.replace("_", "-"): value for key, value in arguments.items()},
        }
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise LabError(_GONE) from error
        while True:
            answer = self._read()
            if "error" in answer:
                msg = f"QEMU refused {name}: {answer['error']['desc']}"
                raise LabError(msg)
            if "return" in answer:
                return answer["return"]

    def monitor(self, line: str) -> str:
        """Run a line of QEMU's human monitor and return what it prints."""
        return str(self.command("human-monitor-command", command_line=line))

    def migrate(self, target: str, *, timeout: float = 300) -> None:
        """Write the machine's state to `target` (such as `file:/path`) and wait for its end."""
        self.command("migrate", uri=target)
        deadline = time.monotonic() + timeout
        while (status := self.command("query-migrate"))["status"] != "completed":
            if status["status"] in {"failed", "cancelled"} or time.monotonic() > deadline:
                msg = f"saving the machine's state did not complete: {status}"
                raise LabError(msg)
            time.sleep(0.1)

    def _read(self) -> dict[str, Any]:
        """Read one message."""
        try:
            line = self._lines.readline()
        except OSError as error:
            raise LabError(_GONE) from error
        if not line:
            raise LabError(_GONE)
        message: dict[str, Any] = json.loads(line)
        if message.get("event") == "RESET" and message["data"]["guest"]:
            last, self._reset = self._reset, message["timestamp"]["seconds"]
            self.reboots += self._reset - last > _BIOS_SECONDS
        return message
