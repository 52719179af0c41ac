"""How long loads take on a simulated machine: as on a host of two sockets with CXL memory behind one of them.

In the form of `machine/posix/time_loads.py`, and in its words where it fails. What the MTRRs, or the mapping
of a device, make uncachable is loaded past the cache each time; all else comes from the cache.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from cxlstate.core.answers import Answer
from cxlstate.core.exit_status import NOT_FOUND
from cxlstate.formats.domain_xml import meaning
from cxlstate.simulator import mtrr
from cxlstate.simulator.dax import DEVDAX, bounds, extents
from cxlstate.simulator.procfs import memory_map
from cxlstate.simulator.world import World
from cxlstate.simulator.zones import nodes_of_ram

_ROUNDS, _LOADS, _CHAIN, _PLACES = 64, 256, 16, 8
_PAGE = 2 << 20
_STEP, _CACHE, _NEAR, _FAR = 40, 1, 100, 220  # nanoseconds
_NOISE = (0, 2, 1, 0, 3, 1, 0, 9)


def timed(world: World, memory: str) -> Answer:
    """The answer to `TimeLoads`."""
    if not world.python:
        return Answer(NOT_FOUND, b"", "python3 is not installed")
    if memory.startswith("node"):
        return _of_node(world, int(memory.removeprefix("node")))
    device = world.running.dax.get(memory)
    if device is None:
        return Answer(1, b"", f"there is no {memory}")
    if device.driver != DEVDAX:
        return Answer(1, b"", f"{memory} is not bound to device_dax")
    if not world.login.root:
        return Answer(1, b"", f"/dev/{memory}: Permission denied")
    mapped = device.memory_type == "write-back"
    cached = {at: mapped and _cached(world, [one]) for at, one in _places(extents(device))}
    return _said(world, device.node, _FAR, cached)


def _places(parts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Places all over a device: the offset, and the addresses of a page there."""
    size = sum(end - start for start, end in parts)
    for number in range(_PLACES):
        at = offset = (size - _PAGE) * number // (_PLACES - 1) // _PAGE * _PAGE
        for start, end in parts:
            if offset < end - start:
                yield at, (start + offset, start + offset + _PAGE)
                break
            offset -= end - start


def _of_node(world: World, node: int) -> Answer:
    added = [bounds(one) for one in world.running.online if one.node == node and not one.offline]
    parts = [
        *((start, end) for start, end, its in nodes_of_ram(world, memory_map(world)) if its == node),
        *added,
    ]
    if not parts:
        known = node < len(world.cpus) or any(one.node == node for one in world.running.online)
        why = (
            f"node{node} has no memory for us: 0 MiB of it are free" if known else f"there is no node {node}"
        )
        return Answer(1, b"", why)
    return _said(world, node, _FAR if added else _NEAR, {0: _cached(world, parts)})


def _cached(world: World, parts: Iterable[tuple[int, int]]) -> bool:
    registers = mtrr.of(world)
    return all(registers.lookup(*part) == mtrr.WRITE_BACK for part in parts)


def _said(world: World, node: int, latency: int, cached: dict[int, bool]) -> Answer:
    """By the last processor of the node, or of the machine."""
    its = node if node < len(world.cpus) and world.cpus[node] else len(world.cpus) - 1
    virtual = bool(world.power.start)
    rounds = {at: _rounds(latency, _CACHE if here else latency) for at, here in cached.items()}
    said = {
        "cpu": max(meaning.cpus(world.cpus[its])),
        "node": its,
        "cold": True,
        "loads": _LOADS,
        "chain": _CHAIN,
        "model": "simulated processor",
        "virtual": virtual,
        "firmware": None if virtual else latency,
        "initiators": [] if virtual else [its],
        "governor": "",
        "siblings": [],
        "balancing": False,
        "memory": rounds.pop(0),
        "ordinary": _rounds(_NEAR, _CACHE),
        "elsewhere": [(at, one["repeated"]) for at, one in rounds.items()],
    }
    return Answer(0, json.dumps(said).encode())


def _rounds(first: int, repeated: int) -> dict[str, list[int]]:
    """Nanoseconds a round. A single load from the cache is less than what a step of Python takes."""
    again = repeated if repeated > _CACHE else 0
    noise = [_NOISE[number % len(_NOISE)] for number in range(_ROUNDS)]
    return {
        "first": [_CHAIN * (_STEP + first + one) for one in noise],
        "again": [_CHAIN * (_STEP + again + one) for one in noise],
        "repeated": [_LOADS * (repeated + one // 9) for one in noise],
    }
