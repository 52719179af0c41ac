"""Users and their groups (`host.users`)."""

from __future__ import annotations

from cxlstate.core.machine import HOST_AND_GUEST
from cxlstate.core.reconciler import Kind, Place, Shape


class UserKind(Kind):
    """What is known of it where no spec names it."""

    kind = "user"
    place = Place("users", Shape.MAP, HOST_AND_GUEST)
    keeps = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow")


kind = UserKind()
