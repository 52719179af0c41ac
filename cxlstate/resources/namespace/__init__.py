"""Namespaces of persistent memory (`namespaces`)."""

from __future__ import annotations

from cxlstate.core.machine import HOST_AND_GUEST
from cxlstate.core.reconciler import Kind, Place, Shape


class NamespaceKind(Kind):
    """What is known of it where no spec names it."""

    kind = "namespace"
    place = Place("namespaces", Shape.MAP, HOST_AND_GUEST)
    measures = True


kind = NamespaceKind()
