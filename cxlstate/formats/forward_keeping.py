"""The script that keeps port forwards in force: at boot, from libvirt's hook, and as the steps of an apply.

It is constant: the table of a spec stands in a file of its own, which `nft` reads.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from cxlstate.formats import ours
from cxlstate.formats.sh import quote

TABLE: Final = ours.FORWARD_TABLE
SCRIPT: Final = ours.FORWARD_SCRIPT
HOOK: Final = ours.FORWARD_HOOK

_CALL: Final = 'main "$@"\n'


@cache
def script() -> str:
    """The whole of it."""
    return _text("forward_keeping.sh")


@cache
def hook() -> str:
    """What libvirt runs when the rules of a network have been made."""
    return _text("forward_hook.sh")


def simulated(root: str, overlay: str) -> str:
    """The script elsewhere than on a machine.

    Files of the kernel stand below `root`, and `overlay` has the functions that take the place of what would
    touch this machine.
    """
    below = script().replace("\nroot=\n", f"\nroot={quote(root)}\n", 1)
    return below.removesuffix(_CALL) + overlay + _CALL


def _text(name: str) -> str:
    from importlib.resources import files  # noqa: PLC0415  # slow to load, and every plan knows the paths

    return files(__package__).joinpath(name).read_text("utf-8")
