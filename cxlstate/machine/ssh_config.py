"""OpenSSH client configuration as one text: what `Include` names is put in its place.

The library that reads the text knows every other word we need, and passes over `Include` in silence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from glob import glob
from pathlib import Path

_DEPTH = 16  # as ssh_config(5): more is taken for a loop
_WORD = re.compile(r"\s*(?P<key>\w+)(?:\s*=\s*|\s+)(?P<value>.*?)\s*$")


def files() -> list[Path]:
    """Those that `ssh` reads, or the one that CXLSTATE_SSH_CONFIG names."""
    named = os.environ.get("CXLSTATE_SSH_CONFIG")
    if named:
        return [Path(named).expanduser()]
    return [Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")]


def load(paths: list[Path]) -> str:
    """The text of the files that exist, in order. OSError: one exists and cannot be read."""
    return "".join(line for path in paths for line in _lines(path, _DEPTH))


def _lines(path: Path, depth: int) -> Iterator[str]:
    if not path.is_file():
        return
    block = "Host *\n"
    yield block
    for line in path.read_text(errors="surrogateescape").splitlines(keepends=True):
        word = _WORD.match(line)
        key = word["key"].lower() if word else ""
        if word and key == "include" and depth:
            for included in _named(word["value"], path):
                yield from _lines(included, depth - 1)
            yield block
            continue
        if key in ("host", "match"):
            block = line
        yield line if line.endswith("\n") else f"{line}\n"


def _named(value: str, includer: Path) -> Iterator[Path]:
    """Patterns that are not absolute start from the folder of the file that includes them."""
    for pattern in value.replace('"', "").split():
        rooted = includer.parent / Path(pattern).expanduser()
        yield from map(Path, sorted(glob(str(rooted))))  # noqa: PTH207  # the pattern is absolute
