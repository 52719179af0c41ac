"""Files on the machine that cxlstate itself runs on: specs and what they name, plan files, simulated hosts.

Nobody waits for them: a pipe, a device or a socket is refused before it is opened, since opening alone may
block (fifo(7)) or act (a watchdog starts, a tape rewinds).
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class Unreadable(Exception):
    """A file that cannot be read, and why, in words. `missing`: there is no such file."""

    def __init__(self, reason: str, *, missing: bool = False) -> None:
        super().__init__(reason)
        self.missing = missing


def at_home(path: str) -> Path:
    """A path with its `~` written out; of a user who is not known it stays, and no such file is found."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # pathlib's own raises RuntimeError there


def read(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises Unreadable."""
    content = read_start(path, most + 1)
    if len(content) > most:
        raise Unreadable(f"larger than {most} bytes")
    return content


def read_start(path: Path, most: int) -> bytes:
    """The first `most` bytes of a regular file, links followed. Raises Unreadable."""
    try:
        _refuse_special(path.stat())
        # It may have become another file since: opened without waiting, it is looked at once more.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
            _refuse_special(os.fstat(file.fileno()))
            return file.read(most)
    except FileNotFoundError as error:
        raise Unreadable(os.strerror(errno.ENOENT), missing=True) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the path
        raise Unreadable(getattr(error, "strerror", None) or str(error)) from error


def _refuse_special(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "a special file")
        raise Unreadable(f"{kind}, not a regular file")
