"""The script that keeps port forwards in force: at boot, from libvirt's hook, and as the steps of an apply.

It is constant: the table of a spec stands in a file of its own, which `nft` reads.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from cxlstate.formats.sh import quote

TABLE: Final = "/etc/cxlstate/forwards.nft"
SCRIPT: Final = "/etc/cxlstate/forward"
HOOK: Final = "/etc/libvirt/hooks/network.d/50-cxlstate"

_CALL: Final = 'main "$@"\n'


@cache
def script() -> str:
    """The whole of it."""
    return files(__package__).joinpath("forward_keeping.sh").read_text("utf-8")


@cache
def hook() -> str:
    """What libvirt runs when the rules of a network have been made."""
    return files(__package__).joinpath("forward_hook.sh").read_text("utf-8")


def simulated(root: str, overlay: str) -> str:
    """The script elsewhere than on a machine.

    Files of the kernel stand below `root`, and `overlay` has the functions that take the place of what would
    touch this machine.
    """
    below = script().replace("\nroot=\n", f"\nroot={quote(root)}\n", 1)
    return below.removesuffix(_CALL) + overlay + _CALL
