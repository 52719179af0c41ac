"""Faults on purpose: a power cut, or a lost connection, behind any step of any effect."""

from __future__ import annotations

from dataclasses import dataclass, field


class PowerCut(BaseException):
    """The machine, or whoever was changing it, stopped here: nothing that follows happens.

    Not an Exception: what is killed handles nothing.
    """


@dataclass
class Faults:
    """Counts the steps of effects; each is a moment at which the machine is as a reader would find it.

    `stop_at=n`: step n is the last one that happens. `lose_at=n`: from step n on nobody hears of it,
    but the effect that is at work is brought to its end. `steps` tells what has happened so far.
    """

    stop_at: int | None = None
    lose_at: int | None = None
    steps: list[str] = field(default_factory=list)

    @property
    def lost(self) -> bool:
        """Whether the connection is lost."""
        return self.lose_at is not None and len(self.steps) >= self.lose_at

    def step(self, name: str) -> None:
        """A step has happened. Raises PowerCut."""
        self.steps.append(name)
        if len(self.steps) == self.stop_at:
            raise PowerCut(name)
