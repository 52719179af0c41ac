"""How libvirt's daemon is reached: a URI, who carries what is said, and what its silence means."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cxlstate.core.exit_status import NOT_FOUND

SYSTEM = "qemu:///system"

_SOCKETS = Path("/run/libvirt")
_NOT_THERE = ("No such file or directory", "Connection refused", "Failed to find")
_NOT_LET_IN = ("Permission denied", "authentication", "access denied", "not authorized")


class Way(Protocol):
    """A way to libvirt, for one connection."""

    @property
    def uri(self) -> str:
        """What is opened."""
        ...

    def explain(self, message: str) -> Refusal:
        """Why it leads nowhere (any more): libvirt's own message, or what is known better. Raises Lost."""
        ...

    def close(self) -> None:
        """Nobody goes it any more. May be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """Exit status and words of a failed answer: NOT_FOUND where libvirt is not installed."""

    status: int
    words: str


@dataclass(frozen=True, slots=True)
class Direct:
    """The daemon of this machine, by libvirt's own means."""

    uri: str

    def explain(self, message: str) -> Refusal:
        """Not installed, if there is neither a daemon nor a socket of one."""
        daemons = (shutil.which(name, path="/usr/sbin:/usr/bin") for name in ("libvirtd", "virtqemud"))
        if self.uri == SYSTEM and not any(daemons) and not any(_SOCKETS.glob("*-sock*")):
            return Refusal(NOT_FOUND, "libvirt is not installed")
        return Refusal(1, message)

    def close(self) -> None:
        """Nothing is held here."""


def plainly(why: Refusal) -> Refusal:
    """With what it comes to, where a connection could not be opened."""
    if why.status == NOT_FOUND:
        return why
    if any(word in why.words for word in _NOT_LET_IN):
        return Refusal(why.status, f"libvirt does not let us in: {why.words}")
    if any(word in why.words for word in _NOT_THERE):
        return Refusal(why.status, f"libvirt's daemon does not run: {why.words}")
    return Refusal(why.status, f"libvirt cannot be asked: {why.words}")
