"""Behind which steps an apply is stopped."""

from __future__ import annotations

from collections.abc import Sequence


def stops(steps: Sequence[str], *, every: bool) -> list[int]:
    """The first and the last step of each sort, or all of them (`--every-crash`), counted from 1.

    Most of the others prove nothing more: *begun* and *journalled* each add one line to the journal, which
    decides nothing.
    """
    if every:
        return list(range(1, len(steps) + 1))
    sorts: dict[str, list[int]] = {}
    for number, step in enumerate(steps, 1):
        sorts.setdefault(_sort(step), []).append(number)
    return sorted({number for one in sorts.values() for number in (one[0], one[-1])})


def _sort(step: str) -> str:
    """What happened, without whom it happened to: `in place: PATH`, `PACKAGE is unpacked`."""
    what, named, _ = step.partition(":")
    return what if named else what.partition(" ")[2]
