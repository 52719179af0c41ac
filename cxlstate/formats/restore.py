"""The script that makes again what a reboot forgets, joined from a head, a table, and what kinds bring.

All of it is plain POSIX sh, and constant but for the table, a row of words for each thing. `restore.sh`
beside this file is the head. A kind that has something to restore brings a fragment, `restore.sh` in its own
folder. `apply` runs the verbs of one fragment one by one. Nothing of a spec is ever part of the code.

The table's form never changes, so that any version reads the rows of another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from cxlstate.core.exports import RestoreStep
from cxlstate.core.fragment import Fragment
from cxlstate.formats import ours
from cxlstate.formats.iomem import Range, joined
from cxlstate.formats.sh import quote

SCRIPT: Final = ours.RESTORE
UNIT: Final = ours.RESTORE_UNIT
UNIT_FILE: Final = ours.RESTORE_UNIT_FILE
BEFORE: Final = "/run/cxlstate/mtrr"
"""A copy of /proc/mtrr from before our first write since the machine started: what is not ours."""
LINKS: Final = "/dev/cxlstate"
NOTED: Final = "/run/cxlstate/write-back"
"""Memory, as `selector` writes it, that was mapped write-back when it was bound under uncachable MTRRs."""

Words = tuple[str, ...]

_FILE: Final = "restore.sh"
_KINDS: Final = "cxlstate.resources"
_TABLE: Final = """\
#!/bin/sh
# Written by cxlstate, and run at boot by {unit}. Edits are undone by the next apply.
table='
{rows}'
"""
_CALL: Final = 'main "$@"\n'
_WORD = re.compile(r"[A-Za-z0-9_.:=+-]+", re.ASCII)


@cache
def head() -> str:
    """What all fragments stand on: the kernel's memory, the table, and `main`."""
    return files(__package__).joinpath(_FILE).read_text("utf-8")


@cache
def map_and_read() -> str:
    """The program in Python that maps a device, for those that only read.

    Its arguments are path, align and size of a device.
    """
    return head().partition("<<'PYTHON'\n")[2].partition("PYTHON\n")[0]


def fragment(kind: str, rank: int) -> Fragment:
    """What a kind brings."""
    return Fragment(kind, rank, _fragment(kind))


@cache
def _fragment(kind: str) -> str:
    return files(_KINDS).joinpath(kind, _FILE).read_text("utf-8")


def program(*fragments: str, root: str = "", overlay: str = "") -> str:
    """Head, fragments and the call, to be run with a verb and its words.

    Elsewhere than on a machine, what it touches stands below `root`, and `overlay` has the functions that
    take the place of what would touch this machine.
    """
    return "".join((f"root={quote(root)}\n", head(), *fragments, overlay, _CALL))


def script(steps: Iterable[RestoreStep]) -> bytes:
    """The script for the steps of all resources. ValueError for a word that is not plain."""
    ordered = sorted(steps, key=lambda step: (step.fragment.rank, step.words))
    fragments = dict.fromkeys(step.fragment.text for step in ordered)
    return _script([step.words for step in ordered], fragments).encode()


def _script(rows: Sequence[Words], fragments: Iterable[str]) -> str:
    for words in rows:
        if not all(map(_WORD.fullmatch, words)):
            raise ValueError(f"not plain words: {words}")
    table_ = "".join(f"{' '.join(words)}\n" for words in rows)
    return _TABLE.format(unit=UNIT, rows=table_) + program(*fragments)


def table(text: str) -> tuple[Words, ...] | None:
    """The rows of a script that is on a machine, of whatever version; None: it has no table."""
    match = re.search(r"^table='\n((?:[A-Za-z0-9_.:=+ -]*\n)*)'$", text, re.MULTILINE | re.ASCII)
    if match is None:
        return None
    return tuple(tuple(line.split()) for line in match[1].splitlines() if line.strip())


def simulated(text: str, root: str, overlay: str) -> str | None:
    """A script that is on a machine, to be run elsewhere; None: it is not to the byte one of this version."""
    rows = table(text) or ()
    if not {words[0] for words in rows} <= set(ours.restored()):
        return None
    fragments = [_fragment(kind) for kind in dict.fromkeys(words[0] for words in rows)]
    if text != _script(rows, fragments):
        return None
    return text.removesuffix(program(*fragments)) + program(*fragments, root=root, overlay=overlay)


def unit() -> bytes:
    """The systemd unit: after what brings the devices, before every socket of libvirt."""
    return files(__package__).joinpath("restore.service").read_bytes()


def selector(ranges: Iterable[Range] = (), *, node: int | None = None, name: str = "") -> str:
    """What finds a device again: `range=0xSTART+0xSIZE:…` by address, `node=N` or `name=daxX.Y`."""
    if written := ":".join(f"{one.start:#x}+{one.size:#x}" for one in joined(ranges)):
        return f"range={written}"
    return f"node={node}" if node is not None else f"name={name}"


def mapped_write_back(noted: str, ranges: Iterable[Range]) -> bool:
    """Whether `NOTED` says that the kernel maps a device so whatever its MTRRs are."""
    return selector(ranges).removeprefix("range=") in noted.splitlines()
