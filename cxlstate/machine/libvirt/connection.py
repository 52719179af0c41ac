"""One connection to libvirt: opened when first needed, kept, and opened anew where it broke.

Every use is done aside and has a time limit: a daemon that hangs must not hang us.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import libvirt

from cxlstate.machine.aside import Aside
from cxlstate.machine.libvirt.way import Refusal, Way, plainly

T = TypeVar("T")

_FAREWELL = 2.0  # seconds


class Unusable(Exception):
    """libvirt cannot be reached; nothing was asked."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.words)
        self.refusal = refusal


class Broken(Exception):
    """The connection broke in the middle."""


@dataclass(frozen=True, slots=True)
class _Open:
    way: Way
    connection: libvirt.virConnect


class Connection:
    """To one machine, for reading or for all."""

    def __init__(self, way: Callable[[], Way], *, read_only: bool) -> None:
        self._way = way
        self._read_only = read_only
        self._kept: _Open | None = None
        libvirt.registerErrorHandler(_silent, None)

    def use(self, act: Callable[[libvirt.virConnect], T], patience: float, *, again: bool = True) -> T:
        """What `act` makes of it, within `patience` seconds.

        Where a connection that was kept turns out to be broken, all of `act` is done `again` with a new
        one. Raises Unusable, Broken, TimeoutError, Lost.
        """
        kept = self._kept is not None
        try:
            return self._try(act, patience)
        except Broken:
            if not (kept and again):
                raise
        return self._try(act, patience)

    def close(self) -> None:
        """Take leave, if that is quick. May be called twice."""
        kept, self._kept = self._kept, None
        if kept:
            with suppress(TimeoutError, libvirt.libvirtError):
                Aside(kept.connection.close).result(_FAREWELL)
            kept.way.close()

    def _try(self, act: Callable[[libvirt.virConnect], T], patience: float) -> T:
        try:
            return Aside(lambda: act(self._opened())).result(patience)
        except TimeoutError:
            self._drop()
            raise
        except libvirt.libvirtError as error:
            if self._kept and is_alive(self._kept.connection):
                raise
            raise Broken(self._drop(str(error))) from None

    def _opened(self) -> libvirt.virConnect:
        if self._kept is None:
            way = self._way()
            try:
                open_ = libvirt.openReadOnly if self._read_only else libvirt.open
                self._kept = _Open(way, open_(way.uri))
            except libvirt.libvirtError as refused:
                try:
                    raise Unusable(plainly(way.explain(str(refused)))) from None
                finally:
                    way.close()
        return self._kept.connection

    def _drop(self, message: str = "") -> str:
        """Let go of what does not answer. Why, in words; raises Lost where the line is gone."""
        kept, self._kept = self._kept, None
        if kept is None:
            return message
        try:
            return f"the connection to libvirt broke: {kept.way.explain(message).words}" if message else ""
        finally:
            kept.way.close()


def is_alive(connection: libvirt.virConnect) -> bool:
    """Whether an error was an answer: without the connection it was none."""
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


def _silent(_context: object, _error: object) -> None:
    """What the library would print is told by our answers and diagnostics."""
