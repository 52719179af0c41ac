"""Whether the registers suffice: counted over all `mtrr` of the machine, before any of them is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cxlstate.core.exports import Given, MtrrRanges
from cxlstate.formats.mtrr import Block
from cxlstate.resources.mtrr import goal
from cxlstate.resources.mtrr.goal import Goal
from cxlstate.resources.mtrr.probe import Content, Registers


@dataclass(frozen=True, slots=True)
class Room:
    """`used` registers stay in any case. `needs` are the new ones of each name, in the order of doing.

    `most` is how many are in use at the fullest moment on the way. `held` are names of an earlier spec whose
    registers stay in this run.
    """

    used: int
    most: int
    needs: Mapping[str, tuple[Content, ...]]
    held: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """New registers of all names."""
        return sum(map(len, self.needs.values()))


def room(name: str, aim: Goal, dropped: tuple[Content, ...], registers: Registers, given: Given) -> Room:
    """What all that is declared comes to: leftovers go first, then each name takes away before it adds.

    `given` has what the others want. In a run with a target it has those that are done in it, and leftovers
    stay: their registers are free for nobody.
    """
    declared = {address.name: _contents(one) for address, one in given.all(MtrrRanges)}
    declared[name] = aim.wanted
    wanted = {each: contents for each, contents in declared.items() if contents is not None}
    everything = frozenset(content for contents in wanted.values() for content in contents)
    others = sorted({line.name for line in registers.lines} - declared.keys())
    left_over = {other: registers.dropped(other, everything) for other in others}
    gone = {one for contents in left_over.values() for one in contents} if given.whole else set()
    held = () if given.whole else tuple(other for other, contents in left_over.items() if contents)
    there = goal.remaining(registers.used, gone)
    most = len(there)
    in_use, needs = list(there), dict[str, tuple[Content, ...]]()
    for each in sorted(wanted):
        leaving = dropped if each == name else registers.dropped(each, frozenset(wanted[each]))
        in_use = list(goal.remaining(in_use, leaving))
        new = tuple(one for one in wanted[each] if not goal.in_force(one, in_use))
        needs[each] = new
        in_use += [goal.register(one) for one in new]
        most = max(most, len(in_use))
    return Room(len(in_use) - sum(map(len, needs.values())), most, needs, held)


def _contents(ranges: MtrrRanges) -> tuple[Content, ...] | None:
    if ranges.wanted is None:
        return None
    return tuple(Content(Block(base, size), kind) for base, size, kind in ranges.wanted)
