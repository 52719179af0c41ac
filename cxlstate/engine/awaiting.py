"""Guests whose VM starts in a run: they are waited for until they answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cxlstate.core.machine import MachineId
from cxlstate.engine.plan import Reach, Status
from cxlstate.engine.seen import Seen

if TYPE_CHECKING:
    from cxlstate.engine.apply import Applied, Converger

LOOKS, PAUSE = 60, 5.0
"""How often, and how many seconds apart, a guest is asked after its start before it counts as unknown."""


@dataclass
class Awaited:
    """Who was off in this run, and how often each is looked at once its VM runs.

    A guest that ran all along and does not answer is waited for by nobody.
    """

    run: Converger
    _looks: dict[MachineId, int] = field(default_factory=dict)

    def note(self, seen: Seen) -> None:
        """Who is off now will have to start."""
        self.will_start(*(one for one, reached in seen.reached.items() if reached.how is Reach.OFF))

    def will_start(self, *guests: MachineId) -> None:
        """These are off, or about to be."""
        self._looks |= dict.fromkeys(guests, LOOKS)

    def look(self, result: Applied) -> bool:
        """Pause, and look again. False: nobody is waited for."""
        untold = {one.at.machine for one in result.plan.resources if one.status is Status.UNKNOWN}
        coming = sorted(one for one, looks in self._looks.items() if looks and one in untold)
        if not coming:
            return False
        for one in coming:
            self._looks[one] -= 1
        self.run.watcher.waits(f"waiting for {', '.join(coming)} to answer")
        self.run.sleep(PAUSE)
        result.plan = self.run.plan([self.run.tree.host.id])
        return True
