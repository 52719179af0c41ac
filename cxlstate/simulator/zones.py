"""Which node has which memory, and `/proc/zoneinfo`.

Source: Linux 6.12 mm/vmstat.c (`zoneinfo_show_print`). Counts of pages in use are not modelled: all are free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from cxlstate.simulator.memory import RAM, TYPES, Range
from cxlstate.simulator.world import Online, World

Piece = tuple[int, int, int]
"""First byte, first byte behind, node."""

_PAGE = 4096
_BORDERS = (("DMA", 0, 1 << 24), ("DMA32", 1 << 24, 1 << 32), ("Normal", 1 << 32, 1 << 64))
_GIB = 1 << 30


def nodes_of_ram(world: World, memory: Iterable[Range]) -> list[Piece]:
    """The RAM that the machine has started with: each node has CPUs, and an equal share in a row."""
    borders = _borders(world)
    return [
        (max(one.start, low), min(one.end, high), node)
        for one in memory
        if one.type == RAM
        for node, (low, high) in enumerate(borders)
        if max(one.start, low) < min(one.end, high)
    ]


def _borders(world: World) -> list[tuple[int, int]]:
    """Where each node's addresses are: of the firmware's RAM, so that `memmap=` moves none of it."""
    number = max(len(world.cpus), 1)
    top = max((int(one.end, 16) + 1 for one in world.firmware if TYPES[one.type] == RAM), default=0)
    share = -(-top // number // _GIB) * _GIB
    edges = [*(share * node for node in range(number)), 1 << 64]
    return list(pairwise(edges))


def zoneinfo(ram: Sequence[Piece], online: Sequence[Online]) -> str:
    """Every zone of every node that has memory; those without pages end after their counts."""
    zones: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for start, end, node in ram:
        for name, low, high in _BORDERS:
            if max(start, low) < min(end, high):
                zones.setdefault((node, name), []).append((max(start, low), min(end, high)))
    for one in online:
        if not one.offline:
            name = "Movable" if one.movable else "Normal"
            zones.setdefault((one.node, name), []).append((int(one.start, 16), int(one.end, 16) + 1))
    names = (*(name for name, _, _ in _BORDERS), "Movable", "Device")
    nodes = sorted({node for node, _ in zones})
    return "".join(_zone(node, name, zones.get((node, name), [])) for node in nodes for name in names)


def _zone(node: int, name: str, pieces: list[tuple[int, int]]) -> str:
    present = sum(end - start for start, end in pieces) // _PAGE
    first = min((start for start, _ in pieces), default=0) // _PAGE
    spanned = max((end for _, end in pieces), default=0) // _PAGE - first
    counts = {
        **dict.fromkeys(("boost", "min", "low", "high", "promo"), 0),
        "spanned": spanned,
        "present": present,
        "managed": present,
        "cma": 0,
    }
    lines = [f"Node {node}, zone {name:>8}", f"  pages free     {present}"]
    lines += [f"        {word:<8} {count}" for word, count in counts.items()]
    lines.append("        protection: (0, 0, 0, 0, 0)")
    if present:
        lines += ["  node_unreclaimable:  0", f"  start_pfn:           {first}"]
    return "\n".join(lines) + "\n"
