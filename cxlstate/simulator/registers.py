"""The verbs of the boot script that touch MTRRs, on the simulated kernel."""

from __future__ import annotations

import os
from collections.abc import Callable

from cxlstate.formats.iomem import parse_iomem
from cxlstate.formats.mtrr import Block, Register, effective, parse
from cxlstate.formats.restore import BEFORE
from cxlstate.simulator import mtrr
from cxlstate.simulator.procfs import computed
from cxlstate.simulator.world import World


class RefusedError(Exception):
    """What the script says before it ends with 1."""


class Registers:
    """Writes and clears registers. `step` is told of each change that has just been made."""

    def __init__(self, world: World, step: Callable[[str], None]) -> None:
        self._world = world
        self._step = step

    def add(self, base: str, size: str, kind: str) -> bool:
        """Whether there was anything to do."""
        block, name = block_of(base, size), f"{kind} {shown(base, size)}"
        if self.in_effect(block, kind):
            return False
        self._without_ram(block)
        if BEFORE not in self._world.running.files:
            self._world.running.files[BEFORE] = mtrr.of(self._world).text()
            self._step(f"kept: {BEFORE}")
        self._may_be_added(block, kind, name)
        said = len(self._world.running.log)
        line = f"base={block.base:#x} size={block.size:#x} type={kind}\n"
        number = mtrr.write(self._world, line)
        if not any(one.block == block and one.type == kind for one in self.used()):
            heard = self._world.running.log[said:]
            why = heard[-1].partition("] ")[2] if heard else os.strerror(number)
            raise RefusedError(f"the kernel did not take {name}: {why.removeprefix('mtrr: ')}")
        self._step(f"MTRR written: {name}")
        return True

    def remove(self, base: str, size: str, kind: str) -> None:
        """Until it is gone: it may have been written more than once."""
        block, name = block_of(base, size), f"{kind} {shown(base, size)}"
        if self._index(block, kind) is None:
            return
        kept = self._world.running.files.get(BEFORE)
        if kept is None:
            raise RefusedError(f"{name} stays: without {BEFORE} nobody knows whose it is")
        if any(one.block == block and one.type == kind for one in parse(kept)):
            raise RefusedError(f"{name} stays: it was there before cxlstate wrote any")
        while (index := self._index(block, kind)) is not None:
            mtrr.write(self._world, f"disable={index}\n")
            self._step(f"MTRR disabled: {name}")

    def used(self) -> tuple[Register, ...]:
        """Those in use."""
        if not self._world.mtrr.registers:
            raise RefusedError("there is no /proc/mtrr: the kernel lets nobody set MTRRs here")
        return parse(mtrr.of(self._world).text())

    def _index(self, block: Block, kind: str) -> int | None:
        found = [one.index for one in self.used() if one.block == block and one.type == kind]
        return found[0] if found else None

    def in_effect(self, block: Block, kind: str) -> bool:
        """Whether registers of the type hold all of it, and none of another type wins over them."""
        registers = self.used()
        same = [one for one in registers if one.type == kind]
        held = effective(block.base, block.end, same, default="") == kind
        return held and effective(block.base, block.end, registers) == kind

    def _without_ram(self, block: Block) -> None:
        for one in parse_iomem(computed(self._world)["/proc/iomem"].decode()):
            if one.name.startswith("System RAM") and block.overlaps(one.start, one.end):
                what = f"{one.start:#010x}-{one.end - 1:#010x}, {one.name}"
                raise RefusedError(f"{block.base:#x}+{block.size:#x} has System RAM in it: {what}")

    def _may_be_added(self, block: Block, kind: str, name: str) -> None:
        same = [one for one in self.used() if one.type == kind]
        if any(one.block.holds(block) for one in same):
            raise RefusedError(f"a register holds {name} already, but one of another type wins over it")
        enclosed = [one.block for one in same if block.holds(one.block)]
        before = {(one.block, one.type) for one in parse(self._world.running.files[BEFORE])}
        if len(enclosed) == 1 and (enclosed[0], kind) in before:
            other = f"{enclosed[0].base:#x}+{enclosed[0].size:#x}"
            raise RefusedError(f"{name} would replace the register {other}, which is not cxlstate's")


def block_of(base: str, size: str) -> Block:
    """The block of two words of a verb."""
    return Block(int(base, 16), int(size, 16))


def shown(base: str, size: str) -> str:
    """Those words, as they are told."""
    return f"{int(base, 16):#x}+{int(size, 16):#x}"
