"""The VMs that a reboot of their host stops, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxlstate.engine.running import Running
from cxlstate.render.shown import field


def stops_json(running: Running) -> list[dict[str, Any]] | None:
    """Each by its name, with whether it starts with the host; None where that is unknown."""
    if running.unknown is not None:
        return None
    return [{"vm": vm.name, "autostart": vm.autostart} for vm in running.vms]


def stops_text(running: Running) -> str:
    """One line; empty where no VM runs."""
    if running.unknown is not None:
        return field(f"which VMs it stops is unknown: {running.unknown}")
    return vms_text(stops_json(running) or ())


def vms_text(vms: Sequence[Mapping[str, Any]]) -> str:
    """`stops VMs a, b (autostart off: b)`, of what `stops_json` tells."""
    if not vms:
        return ""
    notes = [
        f"autostart {word}: {names}"
        for word, value in (("off", False), ("unknown", None))
        if (names := ", ".join(field(vm["vm"]) for vm in vms if vm["autostart"] is value))
    ]
    names = ", ".join(field(vm["vm"]) for vm in vms)
    return f"stops VM{'s' * (len(vms) > 1)} {names}" + (f" ({'; '.join(notes)})" if notes else "")
