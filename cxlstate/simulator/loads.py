"""How long loads take on a simulated machine: as on a host of two sockets with CXL memory behind one of them.

In the form of `machine/posix/time_loads.py`, and in its words where it fails. What the MTRRs, or the mapping
of a device, make uncachable is loaded past the cache each time; all else comes from the cache.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from cxlstate.core.answers import NOT_FOUND, Answer
from cxlstate.formats.domain_xml import meaning
from cxlstate.simulator import mtrr
from cxlstate.simulator.dax import DEVDAX, bounds, extents
from cxlstate.simulator.procfs import memory_map
from cxlstate.simulator.world import World
from cxlstate.simulator.zones import nodes_of_ram

_ROUNDS, _LOADS, _CHAIN = 64, 256, 16
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
    cached = device.memory_type == "write-back" and _cached(world, extents(device))
    return _said(world, device.node, _FAR, cached=cached)


def _of_node(world: World, node: int) -> Answer:
    added = [bounds(one) for one in world.running.online if one.node == node and not one.offline]
    parts = [
        *((start, end) for start, end, its in nodes_of_ram(world, memory_map(world)) if its == node),
        *added,
    ]
    if not parts:
        known = node < len(world.cpus) or any(one.node == node for one in world.running.online)
        why = (
            f"node{node} has no memory for us: mbind: Invalid argument"
            if known
            else f"there is no node {node}"
        )
        return Answer(1, b"", why)
    return _said(world, node, _FAR if added else _NEAR, cached=_cached(world, parts))


def _cached(world: World, parts: Iterable[tuple[int, int]]) -> bool:
    registers = mtrr.of(world)
    return all(registers.lookup(*part) == mtrr.WRITE_BACK for part in parts)


def _said(world: World, node: int, latency: int, *, cached: bool) -> Answer:
    """By the last processor of the node, or of the machine."""
    its = node if node < len(world.cpus) and world.cpus[node] else len(world.cpus) - 1
    virtual = bool(world.power.start)
    said = {
        "cpu": max(meaning.cpus(world.cpus[its])),
        "node": its,
        "cold": True,
        "loads": _LOADS,
        "chain": _CHAIN,
        "model": "simulated processor",
        "virtual": virtual,
        "firmware": None if virtual else latency,
        "governor": "",
        "siblings": [],
        "balancing": False,
        "memory": _rounds(latency, _CACHE if cached else latency),
        "ordinary": _rounds(_NEAR, _CACHE),
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
