"""How fast memory is, and whether a cache is between: what a kind says of a resource that can be asked so.

A kind that `measures` says in its assessment which memory a resource is now; `cxlstate measure` and
`show --measure` have that timed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cxlstate.core.path import Path


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
