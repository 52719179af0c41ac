"""Mounted file systems (`filesystems`)."""

from __future__ import annotations

from cxlstate.core.machine import HOST_AND_GUEST
from cxlstate.core.reconciler import Kind, Place, Shape


class FileSystemKind(Kind):
    """What is known of it where no spec names it."""

    kind = "filesystem"
    place = Place("filesystems", Shape.MAP, HOST_AND_GUEST)


kind = FileSystemKind()
