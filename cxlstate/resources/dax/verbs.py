"""What this kind's fragment of the boot script can do, as steps of an apply and as rows of the table.

`device` is the kernel's name of today, for people; the machine finds the device by `selected`.
"""

from __future__ import annotations

from cxlstate.core.action import Step
from cxlstate.core.exports import RestoreStep
from cxlstate.formats import restore
from cxlstate.formats.dax_verbs import FRAGMENT, bind, check, unbind, word

__all__ = ["FRAGMENT", "at_boot", "bind", "check", "link", "reclaim", "unbind", "unlink"]


def at_boot(name: str, selected: str, align: int | None) -> RestoreStep:
    """dax.NAME, bound and linked, for the table."""
    return RestoreStep(FRAGMENT, ("dax", name, selected, word(align)))


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
