"""Where on a machine stands what cxlstate itself writes, as far as more than one kind or layer has to know.

Kinds are declared by these paths (`Kind.traces`, `Kind.keeps`): nothing here is slow to load.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

RESTORE: Final = "/etc/cxlstate/restore"
"""The script that makes again what a reboot forgets."""
RESTORE_UNIT: Final = "cxlstate-restore.service"
RESTORE_UNIT_FILE: Final = f"/etc/systemd/system/{RESTORE_UNIT}"

GRUB_DROP_IN: Final = "/etc/default/grub.d/zz-cxlstate.cfg"

SSHD_DROP_IN: Final = "/etc/ssh/sshd_config.d/00-cxlstate.conf"
"""Before those of images and installers: `50-cloud-init.conf`, Anaconda's `01-permitrootlogin.conf`."""

FORWARD_TABLE: Final = "/etc/cxlstate/forwards.nft"
FORWARD_SCRIPT: Final = "/etc/cxlstate/forward"
"""What keeps the table of port forwards in force."""
FORWARD_HOOK: Final = "/etc/libvirt/hooks/network.d/50-cxlstate"

_IMAGES: Final = "/var/lib/libvirt/images"
_RESOURCES: Final = Path(__file__).parents[1] / "resources"


def seed(vm: str) -> str:
    """Where the host has the seed of a guest: in a folder that QEMU's user can enter."""
    return f"{_IMAGES}/{vm}.cidata.iso"


@cache
def restored() -> tuple[str, ...]:
    """The kinds that have something to restore at boot: those with a fragment of the script."""
    return tuple(sorted(path.parent.name for path in _RESOURCES.glob("*/restore.sh")))
