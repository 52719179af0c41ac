"""OpenSSH client configuration as one text: what `Include` names is put in its place.

The library that reads the text knows every other word we need, and passes over `Include` in silence.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from types import SimpleNamespace

_DEPTH = 16  # as READCONF_MAX_DEPTH of OpenSSH's readconf.c: more is taken for a loop
_EXEC = 30  # seconds for a program of `Match exec`
_LARGEST = 4 << 20  # bytes of one file
_WORD = re.compile(r"(?P<key>\w+)(?:\s*=\s*|\s+)(?P<value>\S.*)")
_ALL = "Host *\n"


def files() -> list[Path]:
    """Those that `ssh` reads, or the one that CXLSTATE_SSH_CONFIG names."""
    named = os.environ.get("CXLSTATE_SSH_CONFIG")
    if named:
        return [Path(named).expanduser()]
    return [Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")]


def load(paths: list[Path]) -> str:
    """The text of the files that exist, in order.

    OSError: one exists and cannot be read. ValueError: one is too large, or `Include` never ends.
    """
    return "".join(line for path in paths for line in _lines(path, _ALL, _DEPTH))


def _lines(path: Path, block: str, depth: int) -> Iterator[str]:
    """A file that is included in a block holds where that does, up to its own first `Host` or `Match`."""
    if not path.is_file():
        return
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST} bytes")
    if not depth:
        raise ValueError(f"Include is nested more than {_DEPTH} deep in {path}: a loop?")
    yield block
    for line in path.read_text(errors="surrogateescape").splitlines():
        word = _WORD.fullmatch(line.strip())
        key = word["key"].lower() if word else ""
        if word and key == "include":
            for included in _named(word["value"], path):
                yield from _lines(included, block, depth - 1)
            yield block
            continue
        if key in ("host", "match"):
            block = f"{line}\n"
        yield f"{line}\n"


def _named(value: str, includer: Path) -> Iterator[Path]:
    """Patterns that are not absolute start from the folder of the file that includes them."""
    for pattern in shlex.split(value, comments=True):
        rooted = includer.parent / os.path.expanduser(pattern)  # noqa: PTH111  # an unknown user is no error
        yield from map(Path, sorted(glob(str(rooted))))  # noqa: PTH207  # the pattern is absolute


@dataclass(frozen=True, slots=True)
class Programs:
    """What `Match exec` names; to the library, its way to run it. `gate` is waited for before."""

    gate: Callable[[], object]

    def run(self, command: str, **_ignored: object) -> SimpleNamespace:
        """`ok` says whether it succeeded."""
        self.gate()
        return _run(command)


def _run(command: str) -> SimpleNamespace:
    """As ssh does it (readconf.c, execute_in_shell): in the user's shell, silent.

    The library's own way would read our standard input.
    """
    shell = os.environ.get("SHELL") or "/bin/sh"
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(
            [shell, "-c", command], stdin=quiet, stdout=quiet, stderr=quiet, check=False, timeout=_EXEC
        )
    except subprocess.TimeoutExpired as late:
        raise ValueError(f"`Match exec {command}` did not end within {_EXEC} s") from late
    return SimpleNamespace(ok=done.returncode == 0)
