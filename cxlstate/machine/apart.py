"""SSH in a process of its own, which connects while ours reads the spec.

Loading the library and shaking hands takes as long as loading the kinds and checking the spec, and
all of it is computing, at which the threads of one interpreter would only take turns.

The two talk in pickles over two pipes that nobody else holds. The process has no terminal signals
to hear, and ends with the first of: its reader is closed, its pipes break.
"""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import BinaryIO

from cxlstate.core.connect import Ssh
from cxlstate.machine.posix.transport import Lost, Reply


class ApartTransport:
    """The exchanges of an `SshTransport` that connects from now on."""

    def __init__(self, connect: Ssh) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],  # -P: modules in the current folder are not ours
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches only ourselves
        )
        self._tell(connect)

    def exchange(self, command: str, stdin: bytes, timeout: float, limit: int) -> Reply:
        """As every transport's. What went wrong while connecting is raised by the first."""
        assert self._process.stdout  # noqa: S101  # opened in `__init__`
        self._tell((command, stdin, timeout, limit))
        try:
            answer = pickle.load(self._process.stdout)  # noqa: S301  # nobody else writes to this pipe
        except (EOFError, pickle.UnpicklingError):
            raise Lost("the process that held the connection ended") from None
        if isinstance(answer, Exception):
            raise answer
        reply: Reply = answer
        return reply

    def close(self) -> None:
        """End the process, whatever it is waiting for. May be called twice."""
        self._process.terminate()
        self._process.communicate()

    def _tell(self, what: object) -> None:
        assert self._process.stdin  # noqa: S101  # opened in `__init__`
        with suppress(BrokenPipeError):  # seen by who waits for the answer
            pickle.dump(what, self._process.stdin)
            self._process.stdin.flush()


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """The other side: connect, then answer for as long as it is asked."""
    connect: Ssh = pickle.load(questions)  # noqa: S301  # nobody else writes to this pipe
    from cxlstate.machine.ssh import SshTransport  # noqa: PLC0415  # slow to load, and for this side only

    transport = SshTransport(connect, connect.host)
    failed = _try(transport.connect)
    with suppress(EOFError):
        while True:
            exchange = partial(transport.exchange, *pickle.load(questions))  # noqa: S301  # as above
            answer = failed or _try(exchange)
            failed = None
            pickle.dump(answer, answers)
            answers.flush()
    transport.close()


def _try(act: Callable[[], Reply | None]) -> Reply | Exception | None:
    try:
        return act()
    except Exception as error:  # noqa: BLE001  # it is raised on the other side
        return error


if __name__ == "__main__":
    gc.disable()  # while it loads, the collector would go through the library again and again
    serve(sys.stdin.buffer, sys.stdout.buffer)
