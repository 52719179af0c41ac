"""OpenSSH client configuration as one text: what `Include` names is put in its place.

The library that reads the text knows every other word we need, and passes over `Include` in silence.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from types import SimpleNamespace

from cxlstate.machine.own_files import at_home

_DEPTH = 16  # as READCONF_MAX_DEPTH of OpenSSH's readconf.c: more is taken for a loop
_EXEC = 30  # seconds for a program of `Match exec`
_LARGEST = 4 << 20  # bytes of one file
_WORD = re.compile(r"(?P<key>\w+)(?:\s*=\s*|\s+)(?P<value>\S.*)")
_ALL = "Host *\n"


def own() -> Path:
    """The file that `ssh-config --write` keeps."""
    return at_home("~/.ssh/config.d/cxlstate")


def named() -> Path | None:
    """The file that CXLSTATE_SSH_CONFIG names."""
    path = os.environ.get("CXLSTATE_SSH_CONFIG")
    return at_home(path) if path else None


def usual() -> list[Path]:
    """Those that `ssh` reads."""
    return [at_home("~/.ssh/config"), Path("/etc/ssh/ssh_config")]


def files() -> list[Path]:
    """Those that `ssh` reads, or the one that CXLSTATE_SSH_CONFIG names."""
    only = named()
    return [only] if only else usual()


def load(paths: Sequence[Path], *, ours: bool = False) -> str:
    """The text of the files that exist, in order. Our own is made of the rest, and so no part of it.

    `ours`: with that, too.

    OSError: one exists and cannot be read. ValueError: one is too large, or `Include` never ends.
    """
    passed_over = None if ours else os.path.realpath(own())  # a circle of links is no error
    return "".join(line for path in paths for line in _lines(path, _ALL, _DEPTH, passed_over))


def _lines(path: Path, block: str, depth: int, passed_over: str | None) -> Iterator[str]:
    """A file that is included in a block holds where that does, and so do the blocks in it (readconf.c)."""
    if not path.is_file() or os.path.realpath(path) == passed_over:
        return
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST} bytes")
    if not depth:
        raise ValueError(f"Include is nested more than {_DEPTH} deep in {path}: a loop?")
    outer = _criteria(block)
    yield block
    for line in path.read_text(errors="surrogateescape").splitlines():
        word = _WORD.fullmatch(line.strip())
        key = word["key"].lower() if word else ""
        if word and key == "include":
            for included in _named(word["value"], path):
                yield from _lines(included, block, depth - 1, passed_over)
            yield block
            continue
        if key in ("host", "match"):
            block = _both(outer, line)
            line = block.removesuffix("\n")  # noqa: PLW2901  # in its place
        yield f"{line}\n"


def _both(outer: str, line: str) -> str:
    """The beginning of a block that holds where the block around it does, too."""
    if not outer:
        return f"{line}\n"
    return f"Match {' '.join(filter(None, (outer, _criteria(line))))}\n"


def _criteria(block: str) -> str:
    """The beginning of a block as criteria of `Match`; of one that holds for all, nothing."""
    word = _WORD.fullmatch(block.strip())
    value = word["value"] if word else ""
    if word and word["key"].lower() == "match":
        return "" if value.strip().lower() == "all" else value
    patterns = shlex.split(value, comments=True)
    return "" if patterns == ["*"] else f"originalhost {','.join(patterns)}"


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
