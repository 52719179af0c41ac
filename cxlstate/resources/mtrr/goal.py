"""What the registers are to hold, what they lack, and what of ours is too much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cxlstate.core.exports import DaxDevice, Inputs
from cxlstate.core.reconciler import Resource
from cxlstate.formats import iomem, mtrr
from cxlstate.formats.iomem import Range
from cxlstate.formats.mtrr import Block, Register
from cxlstate.resources.mtrr.probe import Content, Live, Registers
from cxlstate.resources.mtrr.spec import MtrrSpec


@dataclass(frozen=True, slots=True)
class Goal:
    """`blocks` are meant by the spec, `wanted` are to be in force, `device` is what is covered.

    The device can have several ranges. `waits_for` is the device of which it is not known yet where it is.
    """

    blocks: tuple[Content, ...] = ()
    wanted: tuple[Content, ...] = ()
    device: tuple[Range, ...] = ()
    waits_for: str | None = None

    @property
    def misses(self) -> bool:
        """Whether the window does not hold the device."""
        return bool(self.device) and not self.blocks


def goal(me: Resource[MtrrSpec], inputs: Inputs) -> Goal:
    """What the spec comes to."""
    spec = me.spec
    if spec.cover is None:
        return _meant(spec, [one.block for one in spec.ranges])
    found = [device for address, device in inputs.all(DaxDevice) if str(address) == spec.cover]
    where = next(iter(found), None)
    if where is None or not where.ranges:
        return Goal(waits_for=spec.cover)
    device = tuple(Range(one.start, one.end, spec.cover) for one in where.ranges)
    return _meant(spec, covering(device, window(spec, device)), device)


def window(spec: MtrrSpec, device: Sequence[Range]) -> Range:
    """How far the ranges may reach: as written, or not beyond the device."""
    if spec.within:
        return Range(spec.within.start, spec.within.end)
    return Range(device[0].start, device[-1].end, device[0].name)


def covering(device: Sequence[Range], reach: Range) -> tuple[Block, ...]:
    """None at all where the window misses the device, which is told by `check`."""
    try:
        return mtrr.cover_all([(one.start, one.end) for one in device], reach.start, reach.end)
    except ValueError:
        return ()


def missing(aim: Goal, registers: Registers, without: Iterable[Content] = ()) -> tuple[Content, ...]:
    """Wanted, and not in force once the registers of `without` are gone."""
    left = remaining(registers.used, without)
    return tuple(one for one in aim.wanted if not in_force(one, left))


def surplus(me: Resource[MtrrSpec], aim: Goal, live: Live) -> tuple[Content, ...]:
    """Registers that are to go. Of what is declared absent those that are not known to be others'."""
    registers = live.registers
    dropped = registers.dropped(me.name, frozenset(aim.wanted))
    if me.spec.state == "present" or registers.before is None:
        return () if aim.waits_for else dropped
    there = {one for one in aim.blocks if one in registers.contents and one not in registers.before}
    return tuple(sorted({*dropped, *there}))


def remaining(registers: Iterable[Register], without: Iterable[Content]) -> tuple[Register, ...]:
    """What is left when some are gone."""
    gone = set(without)
    return tuple(one for one in registers if Content(one.block, one.type) not in gone)


def in_force(content: Content, registers: Iterable[Register]) -> bool:
    """Whether registers of that type hold all of it, and none of another type wins over them.

    A range within a larger one of the same type counts: written again, the kernel would only count.
    """
    registers = tuple(registers)
    whole = as_range(content.block)
    same = [as_range(one.block) for one in registers if one.type == content.type]
    kind = mtrr.effective(whole.start, whole.end, registers)
    return iomem.covered(whole, same) and kind == content.type


def register(content: Content) -> Register:
    """A register that is yet to be written."""
    return Register(-1, content.block, content.type)


def as_range(block: Block) -> Range:
    """The bytes of a block."""
    return Range(block.base, block.end)


def _meant(spec: MtrrSpec, blocks: Iterable[Block], device: tuple[Range, ...] = ()) -> Goal:
    meant = tuple(Content(block, spec.type) for block in blocks)
    return Goal(meant, meant if spec.state == "present" else (), device)
