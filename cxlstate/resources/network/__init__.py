"""libvirt's networks, and which guest has which address on them (`networks`)."""

from __future__ import annotations

from cxlstate.core.machine import ROOT_ONLY
from cxlstate.core.reconciler import Kind, Place, Shape


class NetworkKind(Kind):
    """What is known of it where no spec names it."""

    kind = "network"
    place = Place("networks", Shape.MAP, ROOT_ONLY)
    keeps = ("/etc/cxlstate/networks/*",)


kind = NetworkKind()
