"""What `--out` writes: a whole new file or none, and never through a link or into a device."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from cxlstate.core.diagnostic import CxlstateError, fail

_PRIVATE = 0o600


def write(path: Path, text: str, *, private: bool) -> None:
    """Put a file in place in one step. Raises CXE232.

    A private file is for its owner alone; another one gets what the umask leaves. What stands at `path`
    is replaced only if it is a regular file.
    """
    try:
        _refuse_special(path)
        draft = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}")
        try:
            _write_new(draft, text.encode(), _PRIVATE if private else 0o666)
            draft.replace(path)
        except BaseException:
            with suppress(OSError):
                draft.unlink()
            raise
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the path
        raise _unwritable(path, getattr(error, "strerror", None) or str(error)) from error


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _refuse_special(path: Path) -> None:
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            itself = Path(os.path.realpath(path))
            hint = None if itself.is_symlink() else f"name the file itself: --out {itself}"
            raise _unwritable(path, "it is a symbolic link", hint)
        if not stat.S_ISREG(mode):
            raise _unwritable(
                path, "it is not a regular file", "name a file; `--json` prints to standard output"
            )


def _unwritable(path: Path, found: str, hint: str | None = None) -> CxlstateError:
    return fail(
        "CXE232", f"cannot write {path}", found=found, expected="a file in a folder that exists", hint=hint
    )
