"""Our files on the machine: whose reservations are ours, and a restart that was begun."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from cxlstate.core.action import Action, RemoveFile, WriteFile, undoing
from cxlstate.formats.network_xml import normal_mac


@dataclass(frozen=True, slots=True)
class Tap:
    """What a guest is plugged in with. `isolated`: it reaches no other isolated port of the bridge."""

    name: str
    isolated: bool = False

    def __str__(self) -> str:
        return f"{self.name} isolated" if self.isolated else self.name


def path(name: str) -> str:
    """The MAC addresses that a spec has named in a network, a line each."""
    return f"/etc/cxlstate/networks/{name}"


def begun_path(name: str) -> str:
    """The taps to plug in again behind a restart, a line each. It is gone after a boot, as they are."""
    return f"/run/cxlstate/networks/{name}"


def content(name: str, macs: Collection[str]) -> str | None:
    """The list as we write it; None: no file."""
    if not macs:
        return None
    return _lines(f"# Reservations of cxlstate in network.{name}", sorted(macs))


def begun(name: str, taps: Collection[Tap]) -> str:
    """What is to be plugged in again."""
    return _lines(f"# Restart of network.{name} by cxlstate", list(map(str, taps)))


def taps(text: str | None) -> tuple[Tap, ...]:
    """Those of a restart that was begun."""
    return tuple(Tap(line.split()[0], line.endswith(" isolated")) for line in entries(text))


def macs(text: str | None) -> frozenset[str]:
    """Those of a list."""
    return frozenset(map(normal_mac, entries(text)))


def entries(text: str | None) -> tuple[str, ...]:
    """The lines that are no comment."""
    lines = (line.strip() for line in (text or "").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def note(name: str, taps: Collection[Tap]) -> Action:
    """Write a restart down. It has no undo: until it is over, somebody may be plugged in nowhere."""
    text = begun(name, taps)
    return Action("note what is plugged in", WriteFile(begun_path(name), _bytes(text)), activation=True)


def change(does: str, where: str, old: str | None, new: str | None, *, activation: bool = False) -> Action:
    """Write the file, or remove it; undone, it is as it was."""
    before = None if old is None else _bytes(old)
    if new is None:
        effect: WriteFile | RemoveFile = RemoveFile(where, digest(old or ""))
        return Action(does, effect, undo=undoing(WriteFile(where, before or b"")), activation=activation)
    after = _bytes(new)
    effect = WriteFile(where, after, None if old is None else digest(old))
    back = RemoveFile(where, digest(new)) if before is None else WriteFile(where, before, digest(new))
    return Action(does, effect, undo=undoing(back), activation=activation)


def digest(text: str) -> str:
    """The SHA-256 of a text as the machine has it."""
    return hashlib.sha256(_bytes(text)).hexdigest()


def _lines(heading: str, lines: Collection[str]) -> str:
    return "".join(f"{line}\n" for line in (heading, *lines))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
