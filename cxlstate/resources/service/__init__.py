"""systemd units (`host.services`)."""

from __future__ import annotations

from cxlstate.core.machine import HOST_AND_GUEST
from cxlstate.core.reconciler import Kind, Place, Shape


class ServiceKind(Kind):
    """What is known of it where no spec names it."""

    kind = "service"
    place = Place("services", Shape.MAP, HOST_AND_GUEST)


kind = ServiceKind()
