"""Who may log in by SSH, and how (`host.sshd`)."""

from __future__ import annotations

from cxlstate.core.machine import HOST_AND_GUEST
from cxlstate.core.read import Exists
from cxlstate.core.reconciler import Kind, Place, Shape
from cxlstate.formats import ours


class SshdKind(Kind):
    """What is known of it where no spec names it."""

    kind = "sshd"
    place = Place("sshd", Shape.ONE, HOST_AND_GUEST)
    keeps = (ours.SSHD_DROP_IN,)
    traces = Exists(ours.SSHD_DROP_IN)


kind = SshdKind()
