"""A kind's own part of the script that makes again what a reboot forgets."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fragment:
    """Constant text in POSIX sh: the verbs of a kind, and how its rows of the table are made again at boot.

    Kinds of a lower rank are restored first. What the text may use and has to define is told at the top of
    `formats/restore.sh`, the head that is joined with it.
    """

    kind: str
    rank: int
    text: str = field(repr=False)
