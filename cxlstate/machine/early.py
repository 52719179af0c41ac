"""The process that connects, before it is known where to.

Loading the SSH library takes longer than all that a plan does until it knows its host. So `cxlstate plan
FILE` starts that process first of all. It is told the host and the environment later, or it is ended unused.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_VERBS = ("plan", "apply", "drift", "show")
_ENOUGH = 1 << 16
"""Bytes of a file: `connect` stands at its beginning."""

_early: list[subprocess.Popen[bytes]] = []


def begin(arguments: Sequence[str]) -> None:
    """Start it, where a command line seems to name one host, reached by SSH. A slip costs some time."""
    if None in (sys.stdin, sys.stdout, sys.stderr):  # a pipe would get the number of a stream that was closed
        return
    files = [Path(one) for one in arguments[1:] if one.endswith((".yaml", ".yml"))]
    if arguments[:1] and arguments[0] in _VERBS and len(files) == 1 and _seems_remote(files[0]):
        with suppress(OSError):  # said by who tries again, where errors are put into words
            _early.append(_start())


def _seems_remote(file: Path) -> bool:
    with suppress(OSError):
        if file.is_file():  # and nothing that would have us wait
            with file.open("rb") as content:
                text = content.read(_ENOUGH)
            return b"host:" in text and b"connect: local" not in text and b"sim:" not in text
    return False


def take() -> subprocess.Popen[bytes]:
    """The one that was started, or another."""
    return _early.pop() if _early else _start()


def dismiss() -> None:
    """End the one that nobody took."""
    while _early:
        with _early.pop() as process:
            process.kill()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: modules in the current folder are not ours
        [sys.executable, "-P", "-m", "cxlstate.machine.apart"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches only ourselves
    )
