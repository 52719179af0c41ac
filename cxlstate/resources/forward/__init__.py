"""Ports of the host that lead to a guest (`host.forwards`)."""

from __future__ import annotations

from cxlstate.core.machine import HOST_ONLY
from cxlstate.core.read import Exists
from cxlstate.core.reconciler import Kind, Place, Shape
from cxlstate.resources.forward import keepers


class ForwardKind(Kind):
    """What is known of it where no spec names it."""

    kind = "forward"
    place = Place("forwards", Shape.ONE, HOST_ONLY)
    keeps = keepers.FILES
    traces = Exists(*keepers.FILES)


kind = ForwardKind()
