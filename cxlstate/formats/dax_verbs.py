"""What the kind `dax`'s fragment of the boot script can do with any dax device, whatever kind wants it.

`device` is the kernel's name of today, for people; the machine finds the device by `selected`.
"""

from __future__ import annotations

from typing import Final

from cxlstate.core.action import Step
from cxlstate.core.fragment import Fragment
from cxlstate.formats import restore

FRAGMENT: Final[Fragment] = restore.fragment("dax", rank=2)


def bind(device: str, selected: str, align: int | None) -> Step:
    """Bind to device_dax, at an alignment if one is given."""
    first = f"echo {align} > /sys/bus/dax/devices/{device}/align; " if align else ""
    shown = f"{first}echo {device} > /sys/bus/dax/drivers/device_dax/new_id"
    return Step(FRAGMENT, ("dax_bind", selected, word(align)), shown)


def unbind(device: str, selected: str) -> Step:
    """Take device_dax off it."""
    shown = f"echo {device} > /sys/bus/dax/drivers/device_dax/unbind"
    return Step(FRAGMENT, ("dax_unbind", selected), shown)


def check(device: str, selected: str) -> Step:
    """Map and read it."""
    return Step(FRAGMENT, ("dax_check", selected), f"# map /dev/{device} shared, and read it")


def word(align: int | None) -> str:
    """An alignment as a word of the script."""
    return f"{align:#x}" if align else "-"
