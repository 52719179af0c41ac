"""Kernel modules (`host.modules`)."""

from __future__ import annotations

from typing import Final

from cxlstate.core.machine import HOST_AND_GUEST
from cxlstate.core.read import Exists
from cxlstate.core.reconciler import Kind, Place, Shape

OWN: Final = "/etc/modules-load.d/cxlstate-"
"""Begins the names of our files that have a module loaded at boot (modules-load.d(5))."""


class ModuleKind(Kind):
    """What is known of it where no spec names it."""

    kind = "module"
    place = Place("modules", Shape.MAP, HOST_AND_GUEST)
    keeps = (f"{OWN}*",)
    traces = Exists(f"{OWN}*.conf")
    informs = True
    reboots = True


kind = ModuleKind()
