"""Telling libvirt what to do, over a connection that may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import libvirt

from cxlstate.core.libvirt import (
    DefineDomain,
    DefineNetwork,
    DomainEffect,
    EditDomain,
    LibvirtEffect,
    RestoreDomain,
    StartDomain,
    StopDomain,
    StopNetwork,
    UndefineDomain,
    UndefineNetwork,
    UpdateNetwork,
)
from cxlstate.formats import domain_xml
from cxlstate.machine.libvirt import domains, networks
from cxlstate.machine.libvirt.connection import Broken, Connection, Unusable, is_alive
from cxlstate.machine.libvirt.fenced import Fence, Fenced
from cxlstate.machine.libvirt.masking import Refused, masked, secrets_in
from cxlstate.machine.libvirt.reading import find_domain, find_network
from cxlstate.machine.libvirt.way import Way
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.posix.transport import Before, Lost, Unclear

PATIENCE = 300
"""Seconds that libvirt may take for one effect, beyond what the effect itself waits for."""

STARTING = 1800
"""Seconds for a start: QEMU may touch all of a guest's memory before it answers."""


class LibvirtWriter:
    """Tells over a connection that may change things."""

    def __init__(self, way: Callable[[], Way]) -> None:
        self._connection = Connection(way, read_only=False)
        self._ran: dict[str, str] = {}

    def before(self, effect: LibvirtEffect) -> Before:
        """What is to be known before an effect. A connection that broke since the last one is made anew."""
        try:
            return self._connection.use(partial(before, effect=effect, ran=self._ran), PATIENCE)
        except (Unusable, Broken, libvirt.libvirtError) as refused:
            return Before(refused=str(refused))
        except TimeoutError:
            return Before(refused="libvirt does not answer")

    def perform(self, effect: LibvirtEffect, fence: Fence) -> Outcome:
        """Do it, once, with a look at the lock before each call that changes something.

        Raises Unclear where libvirt did not say how it ended, Lost, and what `fence` does.
        """
        patience = PATIENCE + _takes(effect)
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


def before(
    connection: libvirt.virConnect, effect: LibvirtEffect, ran: Mapping[str, str] = MappingProxyType({})
) -> Before:
    """Look at what an effect is about, so that a connection that broke is noticed before it is begun."""
    if not isinstance(effect, DomainEffect):
        network = find_network(connection, effect.name)
        changes = isinstance(effect, DefineNetwork | UpdateNetwork | StopNetwork | UndefineNetwork)
        return Before(_xml(network, libvirt.VIR_NETWORK_XML_INACTIVE) if changes else None)
    domain = find_domain(connection, effect.name)
    if isinstance(effect, EditDomain | UndefineDomain):
        return Before(_xml(domain, libvirt.VIR_DOMAIN_XML_INACTIVE))
    if isinstance(effect, StartDomain) and not (domain is not None and domain.isActive()):
        return Before(devices=effect.devices)
    if isinstance(effect, RestoreDomain) and domain is not None and not domain.isActive():
        now = domains.defined(domain)
        old = domain_xml.as_it_ran(now, ran[effect.name]) if effect.name in ran else None
        return Before(
            _xml(domain, libvirt.VIR_DOMAIN_XML_INACTIVE), devices=domain_xml.host_devices(old or now)
        )
    return Before()


def perform(
    connection: libvirt.virConnect, effect: LibvirtEffect, ran: dict[str, str] | None = None
) -> Outcome:
    """Do an effect. An error is raised only where the connection is gone. `ran` as for `domains.tell`."""
    given = effect.xml if isinstance(effect, DefineDomain) else ""
    try:
        if isinstance(effect, DomainEffect):
            return domains.tell(connection, effect, {} if ran is None else ran)
        return networks.tell(connection, effect)
    except Refused as refused:
        return Outcome(Result.FAILED, 1, str(refused))
    except ValueError as unspeakable:
        return Outcome(Result.FAILED, 1, masked(str(unspeakable), secrets_in(given)))
    except libvirt.libvirtError as error:
        if not is_alive(connection):
            raise
        return Outcome(Result.FAILED, 1, masked(str(error), secrets_in(given)))


def _xml(one: libvirt.virDomain | libvirt.virNetwork | None, inactive: int) -> str | None:
    """The persistent definition, or else that of something transient. Never with secrets."""
    if one is None:
        return None
    text: str = one.XMLDesc(inactive if one.isPersistent() else 0)
    return text


def _takes(effect: LibvirtEffect) -> int:
    match effect:
        case StartDomain() | RestoreDomain():
            return STARTING
        case StopDomain(timeout=timeout):
            return timeout
    return 0
