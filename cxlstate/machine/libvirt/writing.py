"""Telling libvirt what to do, over a connection that may."""

from __future__ import annotations

import threading
from collections.abc import Callable

import libvirt

from cxlstate.core.effect import Effect
from cxlstate.core.libvirt import DefineDomain, LibvirtEffect
from cxlstate.machine.libvirt.connection import Broken, Connection, Unusable, is_alive
from cxlstate.machine.libvirt.domains import DOMAINS
from cxlstate.machine.libvirt.fenced import Fence, Fenced
from cxlstate.machine.libvirt.masking import Refused, masked, secrets_in
from cxlstate.machine.libvirt.networks import NETWORKS
from cxlstate.machine.libvirt.performer import Performer, Session
from cxlstate.machine.libvirt.way import Way
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.performing import find_performer, performer
from cxlstate.machine.posix.transport import Before, Lost, Unclear

PATIENCE = 300
"""Seconds that libvirt may take for one effect, beyond what the effect itself waits for."""

LIBVIRT: dict[type[Effect], Performer] = {**DOMAINS, **NETWORKS}
"""Who tells libvirt what: `machine/posix/performers.py` hands every `LibvirtEffect` to it."""


class LibvirtWriter:
    """Tells over a connection that may change things."""

    def __init__(self, way: Callable[[], Way]) -> None:
        self._connection = Connection(way, read_only=False)
        self._ran: dict[str, str] = {}

    def performs(self, effect: type[Effect]) -> bool:
        """Whether it is in the table. Nothing is opened for it."""
        return find_performer(LIBVIRT, effect) is not None

    def before(self, effect: LibvirtEffect) -> Before:
        """What is to be known before an effect. A connection that broke since the last one is made anew."""

        def look(connection: libvirt.virConnect) -> Before:
            return performer(LIBVIRT, type(effect)).before(effect, Session(connection, self._ran))

        try:
            return self._connection.use(look, PATIENCE)
        except (Unusable, Broken, libvirt.libvirtError) as refused:
            return Before(refused=str(refused))
        except TimeoutError:
            return Before(refused="libvirt does not answer")

    def perform(self, effect: LibvirtEffect, fence: Fence) -> Outcome:
        """Do it, once, with a look at the lock before each call that changes something.

        Raises Unclear where libvirt did not say how it ended, Lost, and what `fence` does.
        """
        patience = PATIENCE + performer(LIBVIRT, type(effect)).takes(effect)
        given_up = threading.Event()

        def look() -> None:
            if given_up.is_set():  # a thread that nobody waits for any more
                raise Lost("it was given up")
            fence()

        def act(connection: libvirt.virConnect) -> Outcome:
            return perform(Fenced(connection, look), effect, self._ran)

        try:
            return self._connection.use(act, patience, again=False)
        except Unusable as nowhere:
            return Outcome(Result.FAILED, 1, str(nowhere))
        except Broken as broken:
            raise Unclear(str(broken)) from broken
        except TimeoutError as late:
            raise Unclear(f"libvirt did not answer within {patience} s") from late
        finally:
            given_up.set()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def perform(
    connection: libvirt.virConnect, effect: LibvirtEffect, ran: dict[str, str] | None = None
) -> Outcome:
    """Do an effect. An error is raised only where the connection is gone. `ran` as in `Session`."""
    given = effect.xml if isinstance(effect, DefineDomain) else ""
    try:
        return performer(LIBVIRT, type(effect)).do(effect, Session(connection, {} if ran is None else ran))
    except Refused as refused:
        return Outcome(Result.FAILED, 1, str(refused))
    except ValueError as unspeakable:
        return Outcome(Result.FAILED, 1, masked(str(unspeakable), secrets_in(given)))
    except libvirt.libvirtError as error:
        if not is_alive(connection):
            raise
        return Outcome(Result.FAILED, 1, masked(str(error), secrets_in(given)))
