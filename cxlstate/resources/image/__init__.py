"""Disk images on the host (`images`)."""

from __future__ import annotations

from cxlstate.core.machine import ROOT_ONLY
from cxlstate.core.reconciler import Kind, Place, Shape


class ImageKind(Kind):
    """What is known of it where no spec names it."""

    kind = "image"
    place = Place("images", Shape.MAP, ROOT_ONLY)
    informs = True


kind = ImageKind()
