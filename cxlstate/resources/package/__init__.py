"""Debian packages (`host.packages`)."""

from __future__ import annotations

from cxlstate.core.machine import HOST_AND_GUEST
from cxlstate.core.reconciler import Kind, Place, Shape


class PackageKind(Kind):
    """What is known of it where no spec names it."""

    kind = "package"
    place = Place("packages", Shape.LIST, HOST_AND_GUEST)


kind = PackageKind()
