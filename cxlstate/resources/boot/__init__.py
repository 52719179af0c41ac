"""`host.boot`: the unit that makes again at boot what a reboot forgets. There is nothing to say."""

from __future__ import annotations

from cxlstate.core.address import AllOf
from cxlstate.core.machine import HOST_ONLY
from cxlstate.core.read import Exists
from cxlstate.core.reconciler import How, Kind, Need, Place, Shape
from cxlstate.formats import ours


class BootKind(Kind):
    """What is known of it where no spec names it."""

    kind = "boot"
    place = Place("boot", Shape.ONE, HOST_ONLY)
    keeps = (ours.RESTORE, ours.RESTORE_UNIT_FILE)
    traces = Exists(
        ours.RESTORE,
        ours.RESTORE_UNIT_FILE,
        f"/etc/systemd/system/*.wants/{ours.RESTORE_UNIT}",
        f"/run/systemd/system/*.wants/{ours.RESTORE_UNIT}",
        f"/run/systemd/units/invocation:{ours.RESTORE_UNIT}",
    )
    """Files, links of `systemctl enable`, and what systemd keeps of a unit that it has run, whether its file
    is there or not (`unit_export_invocation_id` in src/core/unit.c)."""
    gathers = tuple(Need(AllOf(kind), how) for kind in ours.restored() for how in (How.KNOWS, How.AFTER))
    """Those who export steps. Written behind them: what a boot would do was done before."""


kind = BootKind()
