"""What this kind's fragment of the boot script can do, as steps of an apply and as rows of the table.

`device` is the kernel's name of today, for people; the machine finds the device by `selected`.
"""

from __future__ import annotations

from typing import Final

from cxlstate.core.action import Step
from cxlstate.core.exports import RestoreStep
from cxlstate.core.fragment import Fragment
from cxlstate.formats import restore

FRAGMENT: Final[Fragment] = restore.fragment("dax", rank=2)


def at_boot(name: str, selected: str, align: int | None) -> RestoreStep:
    """dax.NAME, bound and linked, for the table."""
    return RestoreStep(FRAGMENT, ("dax", name, selected, _word(align)))


def bind(device: str, selected: str, align: int | None) -> Step:
    """Bind to device_dax, at an alignment if one is given."""
    first = f"echo {align} > /sys/bus/dax/devices/{device}/align; " if align else ""
    shown = f"{first}echo {device} > /sys/bus/dax/drivers/device_dax/new_id"
    return Step(FRAGMENT, ("dax_bind", selected, _word(align)), shown)


def unbind(device: str, selected: str) -> Step:
    """Take device_dax off it."""
    shown = f"echo {device} > /sys/bus/dax/drivers/device_dax/unbind"
    return Step(FRAGMENT, ("dax_unbind", selected), shown)


def reclaim(device: str, selected: str) -> Step:
    """Take it back from kmem."""
    shown = f"daxctl offline-memory {device}; unbind it from kmem"
    return Step(FRAGMENT, ("dax_reclaim", selected), shown, timeout=1800)


def link(name: str, device: str, selected: str) -> Step:
    """Make the stable path."""
    return Step(FRAGMENT, ("dax_link", name, selected), f"ln -sfn ../{device} {restore.LINKS}/{name}")


def unlink(name: str) -> Step:
    """Take the stable path away."""
    return Step(FRAGMENT, ("dax_unlink", name), f"rm -f {restore.LINKS}/{name}")


def check(device: str, selected: str) -> Step:
    """Map and read it."""
    return Step(FRAGMENT, ("dax_check", selected), f"# map /dev/{device} shared, and read it")


def _word(align: int | None) -> str:
    return f"{align:#x}" if align else "-"
