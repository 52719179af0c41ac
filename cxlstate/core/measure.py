"""How fast memory is, and whether a cache is between: what a kind says of a resource that can be asked so.

`cxlstate measure`, and `show --measure`, ask each kind that `Measures` which memory a resource is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from cxlstate.core.observation import Observation
from cxlstate.core.path import Path
from cxlstate.core.reconciler import Resource


@dataclass(frozen=True, slots=True)
class Nanoseconds:
    """How long one load may take, both ends included."""

    low: int
    high: int

    @classmethod
    def parse(cls, text: str) -> Nanoseconds:
        """Read `150-300ns`. ValueError for anything else."""
        found = re.fullmatch(r"([0-9]{1,6})-([0-9]{1,6})ns", text, re.ASCII)
        if not found or not 0 < int(found[1]) <= int(found[2]):
            raise ValueError(f"{text} is no range of nanoseconds")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.low}-{self.high}ns"

    def holds(self, nanoseconds: float) -> bool:
        """Whether a measured time is in it, as it is shown."""
        return self.low <= round(nanoseconds) <= self.high


@dataclass(frozen=True, slots=True)
class Measurable:
    """The memory of a resource, as `TimeLoads` names it, and what is to be expected of it.

    `cached` is None where nothing says what it has to be, and `by` tells what does. `latency` is what the
    spec says, at `path` of the resource.
    """

    memory: str
    cached: bool | None = None
    by: str = ""
    latency: Nanoseconds | None = None
    path: Path = ()


@runtime_checkable
class Measures(Protocol):
    """A kind whose resources are memory that can be measured."""

    def measurable(self, me: Resource[Any], seen: Observation[Any]) -> Measurable | str:
        """Which memory it is now; or why there is none to measure."""
        ...
