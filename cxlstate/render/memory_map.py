"""The memory map for a person at a terminal: one line a range, the dull ones summed up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap
from typing import Any, Final

from click import style

from cxlstate.engine.memory_map import MEMORY, Kind, MemoryMap, Row, register_text
from cxlstate.formats.mtrr import UNCACHABLE
from cxlstate.render.shown import field as plain

WIDTH: Final = 99
LOW: Final = 4 << 30
"""Below it, firmware and devices are summed up."""
FEW: Final = 6
"""So many dull ranges in a row are still shown one by one."""

_HEADINGS: Final = ("start", "end", "at", "size", "memory", "node", "type")
_NAME, _TYPE = _HEADINGS.index("memory"), _HEADINGS.index("type")
_ROOM: Final = 32
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
_COLOURS: Final = {
    Kind.RAM: "blue",
    Kind.SOFT_RESERVED: "green",
    Kind.PERSISTENT: "green",
    Kind.CXL: "green",
    Kind.DAX: "green",
    Kind.MEMMAP: "cyan",
}


@dataclass(frozen=True, slots=True)
class _Line:
    """Cells in the order of the headings, and what stands below them in the column of the names."""

    cells: tuple[str, ...]
    kind: Kind
    below: tuple[str, ...] = ()
    problem: str = ""


def memory_map_text(found: MemoryMap) -> str:
    """The map, the registers, and what could not be read or is odd."""
    lines = [*_table(list(_lines(found.rows))), ""] if found.rows else []
    if found.registers:
        lines += _labelled("MTRRs", ", ".join(map(register_text, found.registers)))
    for note in found.notes:
        lines += (style(line, fg="yellow") for line in _labelled("!", note))
    return "\n".join(lines).rstrip("\n")


def memory_map_json(found: MemoryMap) -> dict[str, Any]:
    """All of it, for programs. Addresses as in /proc/iomem: `end` is the last byte."""
    return {
        "rows": [
            {
                "start": f"{row.start:#x}",
                "end": f"{row.end - 1:#x}",
                "size": row.size,
                "depth": row.depth,
                "kind": row.kind.value,
                "name": row.name,
                "nodes": None if row.nodes is None else list(row.nodes),
                "type": row.type,
                "details": list(row.details),
                "link": row.link or None,
                "problem": row.problem or None,
            }
            for row in found.rows
        ],
        "registers": [register_text(register) for register in found.registers],
        "notes": list(found.notes),
    }


# Which lines ------------------------------------------------------------------------------------------


def _lines(rows: Sequence[Row]) -> Iterator[_Line]:
    shown = [row for row in rows if row.depth == 0 or row.kind in MEMORY]
    low = [row for row in shown if row.start < LOW]
    yield from _low_lines([row for row in low if not _is_dull(row)])
    if dull := [row for row in low if _is_dull(row)]:
        yield _sum_line(dull, "firmware, devices")
    for is_dull, group in groupby((row for row in shown if row.start >= LOW), _is_dull):
        run = list(group)
        if is_dull and len(run) > FEW:
            yield _sum_line(run, "PCI, firmware, holes")
        else:
            yield from map(_line, run)


def _low_lines(rows: Sequence[Row]) -> Iterator[_Line]:
    """RAM there is in pieces, since firmware sits between them: one line for those that are alike."""
    for _, group in groupby(rows, lambda row: _alike(row) if row.kind is Kind.RAM else row):
        run = list(group)
        yield _line(run[0]) if len(run) == 1 else _sum_line(run, run[0].name)


def _is_dull(row: Row) -> bool:
    """Neither memory, nor above 4 GiB with a type that a register gives it."""
    return row.kind not in MEMORY and (row.start < LOW or not row.type)


def _alike(row: Row) -> tuple[object, ...]:
    return row.depth, row.name, row.nodes, row.type, row.details, row.problem


def _line(row: Row) -> _Line:
    """What does not fit beside the name goes below it."""
    margin = "  " * row.depth
    name = margin + plain(row.name)
    below: list[str] = []
    link = f"→ {plain(row.link)}" if row.link else ""
    details = f"({plain(', '.join(row.details))})" if row.details else ""
    for text in filter(None, (link, details)):
        if not below and len(name) + 1 + len(text) <= _ROOM:
            name += f" {text}"
        else:
            below.append(f"{margin}  {text}")
    return _Line(_cells(row, row.end, row.size, name), row.kind, tuple(below), row.problem)


def _sum_line(rows: Sequence[Row], name: str) -> _Line:
    """Several ranges; their size is without what lies between them."""
    first, size = rows[0], sum(row.size for row in rows)
    cells = _cells(first, rows[-1].end, size, f"{name}: {len(rows)} ranges")
    return _Line(cells if first.kind in MEMORY else (*cells[:_TYPE], ""), first.kind, problem=first.problem)


def _cells(row: Row, end: int, size: int, name: str) -> tuple[str, ...]:
    nodes = "?" if row.nodes is None else ",".join(map(str, row.nodes))
    memory_type = "?" if row.type is None else row.type
    return f"{row.start:#x}", f"{end - 1:#x}", _human(row.start), _human(size), name, nodes, memory_type


def _human(size: int) -> str:
    """The largest unit; a fraction says that it is about so much."""
    power = max((min(size.bit_length() - 1, 59) // 10), 0)
    if power == 0:
        return str(size)
    unit = 1 << 10 * power
    if size % unit == 0:
        return f"{size // unit}{_UNITS[power - 1]}"
    tenths = (size * 10 + unit // 2) // unit  # of whole numbers: no address is too large for it
    return f"{tenths // 10}.{tenths % 10}{_UNITS[power - 1]}"


# How they look ----------------------------------------------------------------------------------------


def _table(lines: Sequence[_Line]) -> Iterator[str]:
    rows = [_HEADINGS, *(line.cells for line in lines)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(_HEADINGS))]
    margin = " " * (2 + sum(width + 2 for width in widths[:_NAME]))
    yield style("  " + "  ".join(_padded(_HEADINGS, widths)), dim=True)
    for line in lines:
        yield "  " + "  ".join(_coloured(line, widths))
        for text in line.below:
            yield margin + style(text, fg="red" if line.problem else None, dim=not line.problem)
        if line.problem:
            yield margin + style(f"✗ {line.problem}", fg="red", bold=True)


def _padded(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Numbers to the right, words to the left, and nothing behind the last word of a line."""
    last = max(column for column, text in enumerate(cells) if text)
    padded = [
        text.ljust(width) if column >= _NAME else text.rjust(width)
        for column, (text, width) in enumerate(zip(cells[:last], widths, strict=False))
    ]
    return [*padded, cells[last]]


def _coloured(line: _Line, widths: Sequence[int]) -> list[str]:
    padded = _padded(line.cells, widths)
    dull = line.kind not in MEMORY
    if line.problem:
        return [style(text, fg="red") for text in padded]
    return [_cell(column, text, line.kind, dim=dull) for column, text in enumerate(padded)]


def _cell(column: int, text: str, kind: Kind, *, dim: bool) -> str:
    if text == UNCACHABLE:
        return style(text, fg="yellow")
    return style(text, fg=_COLOURS.get(kind) if column == _NAME else None, dim=dim)


def _labelled(label: str, text: str) -> list[str]:
    return wrap(
        f"{label}  {plain(text)}",
        WIDTH,
        initial_indent="  ",
        subsequent_indent=" " * (len(label) + 4),
        break_on_hyphens=False,
    )
