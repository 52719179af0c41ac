"""What this kind's fragment of the boot script can do, as steps of an apply and as rows of the table."""

from __future__ import annotations

from typing import Final

from cxlstate.core.action import Step
from cxlstate.core.exports import RestoreStep
from cxlstate.core.fragment import Fragment
from cxlstate.core.units import format_address
from cxlstate.formats import restore
from cxlstate.formats.mtrr import Block

FRAGMENT: Final[Fragment] = restore.fragment("mtrr", rank=1)


def at_boot(name: str, block: Block, kind: str) -> RestoreStep:
    """A register of mtrr.NAME, for the table."""
    return RestoreStep(FRAGMENT, ("mtrr", name, f"{block.base:#x}", f"{block.size:#x}", kind))


def add(block: Block, kind: str) -> Step:
    """Write a register."""
    shown = f"echo 'base={block.base:#x} size={block.size:#x} type={kind}' > /proc/mtrr"
    return Step(FRAGMENT, ("mtrr_add", f"{block.base:#x}", f"{block.size:#x}", kind), shown)


def remove(block: Block, kind: str) -> Step:
    """Clear the register of just this content."""
    shown = f"echo 'disable=N' > /proc/mtrr  # N: {kind} {format_address(block.base)}"
    return Step(FRAGMENT, ("mtrr_remove", f"{block.base:#x}", f"{block.size:#x}", kind), shown)
