"""Processes by their command line: pgrep and pkill with `--full`. pgrep(1) of procps-ng 4.0."""

from __future__ import annotations

import re

from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.world import World

_NONE = 1


def pgrep(world: World, words: list[str]) -> Ended:
    """`pgrep --list-full --full PATTERN`: a line for each that is found."""
    match words:
        case ["--list-full", "--full", pattern]:
            found = [one for one in world.running.processes if re.search(pattern, one.command)]
            return Ended(0 if found else _NONE, "".join(f"{one.pid} {one.command}\n" for one in found))
    return unknown(("pgrep", *words))


def pkill(world: World, words: list[str]) -> Ended:
    """`pkill --full PATTERN`: all that are found end."""
    match words:
        case ["--full", pattern]:
            left = [one for one in world.running.processes if not re.search(pattern, one.command)]
            ended = len(left) < len(world.running.processes)
            world.running.processes[:] = left
            return Ended(0 if ended else _NONE)
    return unknown(("pkill", *words))
