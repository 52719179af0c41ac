"""The signs and words of plans, changes as a person reads them, and lines that fit a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from shutil import get_terminal_size
from textwrap import wrap

from click import style, unstyle

from cxlstate.core.change import Change, Leaf
from cxlstate.core.path import show
from cxlstate.core.secret import Secret
from cxlstate.engine.plan import ResourcePlan, Status
from cxlstate.render.shown import field

BARE = re.compile(r"[0-9,^-]+")
"""A value that does not say what it is of: the CPUs of the nth of many pins."""

SIGNS = {
    Status.IN_SYNC: ("✓", "green"),
    Status.CHANGE: ("~", "yellow"),
    Status.BLOCKED: ("…", "blue"),
    Status.PENDING_REBOOT: ("↻", "cyan"),
    Status.PENDING_RESTART: ("↻", "cyan"),
    Status.UNKNOWN: ("?", "magenta"),
}
WORDS = {
    Status.IN_SYNC: "in sync",
    Status.CHANGE: "to change",
    Status.BLOCKED: "blocked",
    Status.PENDING_REBOOT: "pending reboot",
    Status.PENDING_RESTART: "pending restart",
    Status.UNKNOWN: "unknown",
}
NO_TERMINAL = 110
"""Columns where there is no terminal: files, pipes, documents."""


def columns() -> int:
    """How wide a line may be."""
    return max(60, get_terminal_size().columns - 1) if sys.stdout.isatty() else NO_TERMINAL


def address_text(resource: ResourcePlan) -> str:
    """Its address, safe for a terminal."""
    return field(str(resource.address))


def few(names: Sequence[str], most: int = 2) -> str:
    """`a, b and 3 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def folded(text: str, indent: int) -> list[str]:
    """A long sentence as lines that fit."""
    margin = " " * indent
    return wrap(
        field(text), columns(), initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    )


def filled(pieces: Iterable[str], first: str, indent: int, gap: str = "   ") -> Iterator[str]:
    """Pieces behind `first`, as many a line as fit; a piece that fits on no line is folded by its words.

    Pieces may be styled; one that has to be folded loses that.
    """
    room, line, empty, full = columns(), first, True, False
    for piece in pieces:
        if full or (not empty and len(unstyle(line + gap + piece)) > room):
            yield line.rstrip()
            line, empty, full = " " * indent, True, False
        line += "" if empty else gap
        empty = False
        if len(unstyle(line + piece)) <= room:
            line += piece
            continue
        start = len(unstyle(line))
        margin = " " * (indent + 2)
        folds = wrap(
            unstyle(piece),
            max(room, indent + 30),
            initial_indent="." * start,
            subsequent_indent=margin,
            break_on_hyphens=False,
        )
        yield (line + folds[0][start:]).rstrip()
        yield from folds[1:-1]
        line, full = folds[-1] if len(folds) > 1 else "", len(folds) > 1
    if line.strip():
        yield line.rstrip()


# Changes ----------------------------------------------------------------------------------------------


def change_text(change: Change) -> str:
    """One change, as a plan shows it, in a single line without colours."""
    return unstyle(f"{name_of(change)}  {from_to(change)}".strip())


def changes_text(changes: Sequence[Change]) -> list[str]:
    """Changes as pieces of a line: what is added to, and taken from, the same place stands together."""
    pieces: dict[tuple[str, str], list[str]] = {}
    for number, change in enumerate(changes):
        name = name_of(change)
        if change.old is None:
            pieces.setdefault((name, "+"), []).append(value_text(change.new))
        elif change.new is None:
            pieces.setdefault((name, "-"), []).append(value_text(change.old))
        else:
            pieces[name, f"{number}"] = [from_to(change)]
    return [_piece(name, sign, values) for (name, sign), values in pieces.items()]


def _piece(name: str, sign: str, values: list[str]) -> str:
    label = f"{name}  " if name else ""
    joined = (", " if any(" " in value for value in values) else " ").join(values)
    match sign:
        case "+":
            return label + style(f"+ {joined}", fg="green")
        case "-":
            return label + style(f"- {joined}", fg="red")
        case _:
            return label + joined


def name_of(change: Change) -> str:
    """The field; of a list, what the entry is called, or its place, or nothing where the value says it."""
    if change.entry:
        word, _, *rest = change.path
        return field(show((f"{word}[{change.entry}]", *rest)))
    if all(value is None or BARE.fullmatch(str(value)) for value in (change.old, change.new)):
        return field(show(change.path))
    return field(show(tuple(step for step in change.path if isinstance(step, str))))


def from_to(change: Change) -> str:
    """What it is and what it will be."""
    if change.old is None:
        return style(f"+ {value_text(change.new)}", fg="green")
    if change.new is None:
        return style(f"- {value_text(change.old)}", fg="red")
    return f"{style(value_text(change.old), dim=True)} → {style(value_text(change.new), fg='green')}"


def value_text(value: Leaf) -> str:
    """A value, safe for a terminal."""
    match value:
        case None:
            return "(none)"
        case bool():
            return "yes" if value else "no"
        case Secret():
            return f"(secret {value.digest()})"
        case _:
            return field(str(value))
