"""What was read of a tree: of each machine what it answered, or why it did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cxlstate.core.address import ScopedAddress
from cxlstate.core.assessment import Assessment
from cxlstate.core.machine import MachineId
from cxlstate.engine.observe import Observed
from cxlstate.engine.plan import Reached


@dataclass(frozen=True)
class Seen:
    """`reached` tells of every machine. `assessed`: resources of hosts that reading had to assess."""

    machines: Mapping[MachineId, Observed] = field(default_factory=dict)
    reached: Mapping[MachineId, Reached] = field(default_factory=dict)
    assessed: Mapping[ScopedAddress, Assessment] = field(default_factory=dict, compare=False, repr=False)

    def with_(self, other: Seen) -> Seen:
        """The same, with what was read later in the place of what was read before."""
        touched = other.reached.keys()
        before = {at: one for at, one in self.assessed.items() if at.machine not in touched}
        machines = {name: one for name, one in self.machines.items() if name not in touched}
        return replace(
            self,
            machines={**machines, **other.machines},
            reached={**self.reached, **other.reached},
            assessed={**before, **other.assessed},
        )
