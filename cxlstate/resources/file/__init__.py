"""Files by their absolute path (`host.files`)."""

from __future__ import annotations

from cxlstate.core.machine import HOST_AND_GUEST
from cxlstate.core.reconciler import Kind, Place, Shape


class FileKind(Kind):
    """What is known of it where no spec names it."""

    kind = "file"
    place = Place("files", Shape.MAP, HOST_AND_GUEST)
    keeps = ("/var/lib/cxlstate/*",)


kind = FileKind()
