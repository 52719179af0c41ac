"""Named states of a machine that tests begin in: each is made once, kept, and gone back to.

So a test stands alone, whatever was run before it: it names the stage that it needs, and the machine is taken
there in seconds, or the stage is made if nobody has needed it yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tests.lab.errors import LabError


class Machine(Protocol):
    """What remembers how it is: an emulated host, or a simulated one."""

    def snapshot(self, name: str) -> None:
        """Remember how it is now."""

    def restore(self, name: str) -> None:
        """Be so again."""

    def power_cut(self) -> None:
        """Be off, until it is restored."""


@dataclass(frozen=True)
class Stage:
    """One state, and how it comes about from the one before it."""

    name: str
    make: Callable[[Any], object]
    """Given the machine. What it asserts on the way holds for every test of this stage."""
    after: Stage | None = None
    """Without one it is made from the machine as it was first started."""
    image: str = "stable"
    """The image of the emulated host that it is a stage of."""


FRESH = Stage("fresh", lambda _: None)


class Stages:
    """One machine, and the stages of it that were made so far."""

    failures: dict[str, str] = {}  # noqa: RUF012 - of the run: what failed twice is not tried a third time
    TWICE = 2

    def __init__(self, machine: Machine) -> None:
        """Begin with the machine as it is first started."""
        self.machine = machine
        self._made: set[str] = set()
        self._is: str | None = None

    def at(self, stage: Stage, *, looks: bool = False) -> Machine:
        """Return the machine at this stage. Who only `looks` leaves it there for the next one."""
        if self._is != stage.name:
            self._go(stage)
        self._is = stage.name if looks else None
        return self.machine

    def leave(self) -> None:
        """Have the machine off until a stage of it is asked for again."""
        self._is = None
        self.machine.power_cut()

    def _go(self, stage: Stage) -> None:
        """Go back to the stage, or make it."""
        if stage.name in self._made:
            self.machine.restore(stage.name)
            return
        if stage.name != FRESH.name:
            self.at(stage.after or FRESH)
        self._make(stage)
        self.machine.snapshot(stage.name)
        self._made.add(stage.name)

    def _make(self, stage: Stage) -> None:
        """Make it; where that failed on two new hosts already, it is not tried again."""
        tried = [text for name, text in self.failures.items() if name.startswith(f"{stage.name}/")]
        if len(tried) >= self.TWICE:
            msg = f"the stage {stage.name} could not be made, twice; the first time: {tried[0]}"
            raise LabError(msg)
        try:
            stage.make(self.machine)
        except BaseException as error:  # a timeout, too
            self.failures[f"{stage.name}/{len(tried)}"] = str(error)
            raise
