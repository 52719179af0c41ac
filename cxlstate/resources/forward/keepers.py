"""The files that keep forwards in force after a reboot, and after others have made their rules anew."""

from __future__ import annotations

from functools import cache
from typing import Final

from cxlstate.core.action import Run
from cxlstate.formats import ours

TABLE: Final = ours.FORWARD_TABLE
SCRIPT: Final = ours.FORWARD_SCRIPT
HOOK: Final = ours.FORWARD_HOOK
UNIT: Final = "cxlstate-forward.service"
UNIT_FILE: Final = f"/etc/systemd/system/{UNIT}"

FILES: Final = (SCRIPT, TABLE, HOOK, UNIT_FILE)
MODES: Final = {HOOK: 0o755}
"""libvirt runs executable files only (virHookCheck in src/util/virhook.c)."""

RELOAD: Final = Run(("systemctl", "daemon-reload"))
ENABLE: Final = Run(("systemctl", "enable"), (UNIT,))
DISABLE: Final = Run(("systemctl", "disable"), (UNIT,))


@cache
def content(path: str) -> str:
    """What a file holds that is the same for every spec."""
    from importlib.resources import files  # noqa: PLC0415  # slow to load, and every plan knows these paths

    from cxlstate.formats import forward_keeping  # noqa: PLC0415  # as above

    if path == SCRIPT:
        return forward_keeping.script()
    if path == HOOK:
        return forward_keeping.hook()
    return files(__package__).joinpath("keep.service").read_text("utf-8")


def verb(name: str) -> Run:
    """A verb of the script: the same that runs at boot and from the hook."""
    return Run(("sh", SCRIPT), (name,), timeout=120)
