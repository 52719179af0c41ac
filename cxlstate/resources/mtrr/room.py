"""Whether the registers suffice: counted over all `mtrr` of the machine, before any of them is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cxlstate.resources.mtrr import goal
from cxlstate.resources.mtrr.goal import Goal
from cxlstate.resources.mtrr.probe import Content, Registers

Wanted = Mapping[str, tuple[Content, ...] | None]
"""What each name wants registers for; None: what is there of it stays."""


@dataclass(frozen=True, slots=True)
class Room:
    """`used` registers stay in any case. `needs` are the new ones of each name, in the order of doing.

    `most` is how many are in use at the fullest moment on the way.
    """

    used: int
    most: int
    needs: Mapping[str, tuple[Content, ...]]
    held: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """New registers of all names."""
        return sum(map(len, self.needs.values()))


def room(  # noqa: PLR0913  # a pure sum of all that counts
    name: str,
    aim: Goal,
    dropped: tuple[Content, ...],
    registers: Registers,
    wanted: Wanted,
    *,
    whole: bool = True,
) -> Room:
    """What all that is declared comes to: leftovers go first, then each name takes away before it adds.

    `wanted` is what the others want. In a run with a target (not `whole`) leftovers stay: their registers are
    free for nobody.
    """
    declared = {**wanted, name: aim.wanted}
    known = {each: contents for each, contents in declared.items() if contents is not None}
    everything = frozenset(content for contents in known.values() for content in contents)
    others = sorted({line.name for line in registers.lines} - declared.keys())
    left_over = {other: registers.dropped(other, everything) for other in others}
    gone = {one for contents in left_over.values() for one in contents} if whole else set()
    held = () if whole else tuple(other for other, contents in left_over.items() if contents)
    there = goal.remaining(registers.used, gone)
    most = len(there)
    in_use, needs = list(there), dict[str, tuple[Content, ...]]()
    for each in sorted(known):
        leaving = dropped if each == name else registers.dropped(each, frozenset(known[each]))
        in_use = list(goal.remaining(in_use, leaving))
        new = tuple(one for one in known[each] if not goal.in_force(one, in_use))
        needs[each] = new
        in_use += [goal.register(one) for one in new]
        most = max(most, len(in_use))
    return Room(len(in_use) - sum(map(len, needs.values())), most, needs, held)
