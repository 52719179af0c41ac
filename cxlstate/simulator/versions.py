"""The order of Debian versions: deb-version(7)."""

from __future__ import annotations

import re
from itertools import zip_longest


def version_key(version: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """A key that sorts versions as dpkg does: epoch, upstream version, revision."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, "0"
    return (((), int(epoch)), *_parts(upstream), _END, *_parts(revision), _END)


_END = ((0,), 0)


def _parts(text: str) -> list[tuple[tuple[int, ...], int]]:
    """Pairs of a non-digit and a digit run; `~` sorts before the end, letters before the rest."""
    letters = re.split(r"\d+", text)
    digits = re.findall(r"\d+", text)
    return [
        ((*(_order(letter) for letter in run), 0), int(number or 0))
        for run, number in zip_longest(letters, digits)
        if run or number
    ]


def _order(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256
