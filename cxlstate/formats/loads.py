"""What `TimeLoads` answers: how long loads took, where, and under which circumstances.

The program that says so is `machine/posix/time_loads.py`, which tells what each number is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

_ONE_IN: Final = 8
"""Of the rounds, so many are quicker than what counts: a clock that jumps is not believed, and interrupts do
not matter while they leave some rounds alone."""


_MOST: Final = 1024  # of anything that is listed


@dataclass(frozen=True, slots=True)
class Rounds:
    """Nanoseconds a load, a round each: of single loads, the first and again, and of repeated ones."""

    first: tuple[float, ...]
    again: tuple[float, ...]
    repeated: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Another place of a device: its offset, and nanoseconds of a repeated load there, a round each."""

    at: int
    repeated: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Loads:
    """Loads of the memory and of ordinary memory, by one processor.

    `memory` is of the first pages of a device, `elsewhere` is all over it. `cold`: no first load came from a
    cache. `firmware` is the read latency that it tells, in ns, for the nodes `initiators`. `virtual`: the
    processor says that it is one of a virtual machine. `siblings` share its core; `balancing`: the kernel
    moves pages between nodes.
    """

    memory: Rounds
    ordinary: Rounds
    elsewhere: tuple[Part, ...]
    cpu: int
    node: int | None
    cold: bool
    model: str
    virtual: bool
    firmware: int | None
    initiators: tuple[int, ...]
    governor: str
    siblings: tuple[int, ...]
    balancing: bool

    @property
    def rounds(self) -> int:
        """How often each was timed."""
        both = (self.memory, self.ordinary)
        kinds = (one for rounds in both for one in (rounds.first, rounds.again, rounds.repeated))
        return min(map(len, (*kinds, *(part.repeated for part in self.elsewhere))))

    @property
    def step(self) -> float:
        """What the interpreter itself takes for a single load."""
        return undisturbed(self.ordinary.again)

    def first(self, rounds: Rounds) -> float:
        """How long a single first load takes: half of them took less."""
        return max(sorted(rounds.first)[len(rounds.first) // 2] - self.step, 0)


def undisturbed(rounds: Sequence[float]) -> float:
    """How long it takes where nothing comes between."""
    return sorted(rounds)[len(rounds) // _ONE_IN]


def parse(text: str) -> Loads:
    """The answer of the program. ValueError for any other text."""
    try:
        said = json.loads(text)
        loads, chain = _number(said["loads"], least=1), _number(said["chain"], least=1)
        node, firmware = (None if said[key] is None else _number(said[key]) for key in ("node", "firmware"))
        return Loads(
            memory=_rounds(said["memory"], loads, chain),
            ordinary=_rounds(said["ordinary"], loads, chain),
            elsewhere=tuple(
                Part(_number(one[0]), _each("elsewhere", one[1], loads)) for one in said["elsewhere"][:_MOST]
            ),
            cpu=_number(said["cpu"]),
            node=node,
            cold=said["cold"] is True,
            model=_word(said["model"]),
            virtual=said["virtual"] is True,
            firmware=firmware,
            initiators=_numbers(said["initiators"]),
            governor=_word(said["governor"]),
            siblings=_numbers(said["siblings"]),
            balancing=said["balancing"] is True,
        )
    except (LookupError, TypeError, RecursionError) as odd:
        raise ValueError(f"no timings: {type(odd).__name__}: {odd}") from odd


def _rounds(said: Any, loads: int, chain: int) -> Rounds:
    return Rounds(
        _each("first", said["first"], chain),
        _each("again", said["again"], chain),
        _each("repeated", said["repeated"], loads),
    )


def _each(name: str, said: Any, number: int) -> tuple[float, ...]:
    rounds = tuple(one / number for one in _numbers(said))
    if not rounds:
        raise ValueError(f"no timings: {name} is empty")
    return rounds


def _numbers(said: Any) -> tuple[int, ...]:
    if not isinstance(said, list) or len(said) > _MOST:
        raise ValueError(f"no timings: {str(said)[:40]!r} is no short list of numbers")
    return tuple(map(_number, said))


def _number(said: Any, least: int = 0) -> int:
    if type(said) is not int or not least <= said < 1 << 63:
        raise ValueError(f"no timings: {str(said)[:40]!r} is no number")
    return said


def _word(said: Any) -> str:
    if not isinstance(said, str):
        raise TypeError("not a text")
    return said[:100]
