"""Effects on domains, each as its docstring in `core.libvirt` says. They raise Refused or libvirtError."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import libvirt

from cxlstate.core.effect import Effect
from cxlstate.core.libvirt import (
    AGAIN,
    AS_IT_RAN,
    AutostartDomain,
    DefineDomain,
    DetachDisk,
    DomainEffect,
    EditDomain,
    LinkInterface,
    PinDomain,
    RestoreDomain,
    StartDomain,
    StopDomain,
    TuneNuma,
    UndefineDomain,
)
from cxlstate.formats import domain_xml
from cxlstate.machine.libvirt import live
from cxlstate.machine.libvirt.connection import is_alive
from cxlstate.machine.libvirt.masking import Refused, masked, secrets_in
from cxlstate.machine.libvirt.performer import DONE, STALE, Performer, Session, definition
from cxlstate.machine.libvirt.reading import STATES, find_domain, if_supported
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.posix.transport import Before

STARTING = 1800
"""Seconds for a start: QEMU may touch all of a guest's memory before it answers."""

_KEEP_TPM = 64  # VIR_DOMAIN_UNDEFINE_KEEP_TPM, for which a library before libvirt 8.9 has no name
_PRESS_AGAIN = 10.0  # seconds: a guest that is booting misses the button
_LOOK_AGAIN = 0.5


def digest(text: str) -> str:
    """SHA-256 of a definition, as a plan has it from the answer that it was read in."""
    return sha256(text.encode()).hexdigest()


def _define(effect: DefineDomain, session: Session) -> Outcome:
    if find_domain(session.connection, effect.name) is not None:
        return STALE
    session.connection.defineXMLFlags(effect.xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    return DONE


def _edit(effect: EditDomain, session: Session) -> Outcome:
    """What stands in errors may be a piece of the XML, and so a password."""
    connection = session.connection
    domain = find_domain(connection, effect.name)
    if domain is None or not domain.isPersistent():
        return STALE
    seen: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    if digest(seen) != effect.expected:
        return STALE
    whole: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
    try:
        merged = domain_xml.merge(whole, effect.wish)
        connection.defineXMLFlags(merged, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    except (ValueError, libvirt.libvirtError) as error:
        if not is_alive(connection):
            raise
        raise Refused(masked(str(error), secrets_in(whole, seen))) from None
    return DONE


def _defined(domain: libvirt.virDomain) -> str:
    """The persistent definition, with its secrets."""
    text: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
    return text


def _restore(domain: libvirt.virDomain, effect: RestoreDomain, session: Session) -> Outcome:
    """What was defined stays where not even the definition that it ran with starts."""
    if domain.isActive():
        return DONE
    connection, now = session.connection, _defined(domain)
    old = _as_it_ran(now, effect, session)
    try:
        if old is not None:
            connection.defineXML(old)
        domain.create()
    except libvirt.libvirtError as error:
        if not is_alive(connection):
            raise
        if old is not None:
            connection.defineXML(now)
        raise Refused(masked(str(error), secrets_in(now) | secrets_in(old or now))) from None
    return Outcome(Result.DONE, output=AS_IT_RAN if old is not None else AGAIN)


def _as_it_ran(now: str, effect: RestoreDomain, session: Session) -> str | None:
    """The definition that it ran with; None where it has that."""
    ran = session.ran.get(effect.name)
    return None if ran is None else domain_xml.as_it_ran(now, ran)


def _undefine(domain: libvirt.virDomain, _effect: UndefineDomain, _session: Session) -> Outcome:
    if domain.isActive():
        raise Refused("it runs: undefined, it would be gone for good as soon as it is off")
    kept = {
        "a managed save image": if_supported(domain.hasManagedSaveImage, 0),
        "snapshots": if_supported(domain.snapshotNum, 0),
        "checkpoints": if_supported(domain.listAllCheckpoints, ()),
    }
    if found := [what for what, there in kept.items() if there]:
        raise Refused(f"it has {' and '.join(found)}, which would be lost with it")
    flags = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
    if "<tpm " in domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE):
        flags |= _KEEP_TPM
    domain.undefineFlags(flags)
    return DONE


def _start(domain: libvirt.virDomain, _effect: StartDomain, _session: Session) -> Outcome:
    if not domain.isActive():
        domain.create()
    return DONE


def _autostart(domain: libvirt.virDomain, effect: AutostartDomain, _session: Session) -> Outcome:
    domain.setAutostart(int(effect.on))
    return DONE


def _stop(domain: libvirt.virDomain, effect: StopDomain, session: Session) -> Outcome:
    if not domain.isActive():
        return DONE
    if not domain.isPersistent():
        raise Refused("it is transient: once off, it would be gone")
    session.ran[effect.name] = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
    complaint = _shut_down(domain, effect.timeout)
    if not domain.isActive():
        return DONE
    if not effect.power_off:
        state = STATES[domain.state()[0]]
        said = f"\n{complaint}" if complaint else ""
        told = f"the guest does not react to its power button: after {effect.timeout} s it is {state}{said}"
        return Outcome(Result.REFUSED, 1, told)
    _power_off(domain)
    return DONE


def _shut_down(domain: libvirt.virDomain, timeout: int) -> str:
    """Press the button until the guest is off or the time is up. What libvirt complained of last."""
    complaint = ""
    press = time.monotonic()
    deadline = press + timeout
    while True:
        if time.monotonic() >= press:
            complaint = _press_button(domain)
            press = time.monotonic() + _PRESS_AGAIN
        if not domain.isActive() or time.monotonic() >= deadline:
            return complaint
        time.sleep(_LOOK_AGAIN)


def _press_button(domain: libvirt.virDomain) -> str:
    """That it cannot be pressed is no end: the guest may go off by itself, as it does in between."""
    try:
        domain.shutdown()
    except libvirt.libvirtError as error:
        return str(error)
    return ""


def _power_off(domain: libvirt.virDomain) -> None:
    """First so that QEMU still writes what it holds (SIGTERM), then without."""
    try:
        domain.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_GRACEFUL)
    except libvirt.libvirtError:
        if domain.isActive():
            domain.destroy()


def _there(act: Callable[[libvirt.virDomain, Any, Session], Outcome]) -> Callable[[Any, Session], Outcome]:
    """On the domain, which has to be there."""

    def do(effect: DomainEffect, session: Session) -> Outcome:
        domain = find_domain(session.connection, effect.name)
        if domain is None:
            raise Refused(f"there is no domain {effect.name}")
        return act(domain, effect, session)

    return do


def _look(effect: DomainEffect, session: Session) -> Before:
    find_domain(session.connection, effect.name)
    return Before()


def _its_definition(effect: DomainEffect, session: Session) -> Before:
    domain = find_domain(session.connection, effect.name)
    return Before(definition(domain, libvirt.VIR_DOMAIN_XML_INACTIVE))


def _its_devices(effect: StartDomain, session: Session) -> Before:
    domain = find_domain(session.connection, effect.name)
    runs = domain is not None and domain.isActive()
    return Before() if runs else Before(devices=effect.devices)


def _what_comes_back(effect: RestoreDomain, session: Session) -> Before:
    domain = find_domain(session.connection, effect.name)
    if domain is None or domain.isActive():
        return Before()
    now = _defined(domain)
    comes = _as_it_ran(now, effect, session) or now
    xml = definition(domain, libvirt.VIR_DOMAIN_XML_INACTIVE)
    return Before(xml, devices=domain_xml.host_devices(comes))


def _starting(_: DomainEffect) -> int:
    return STARTING


def _detaching(effect: DetachDisk) -> int:
    return effect.timeout


def _shutting_down(effect: StopDomain) -> int:
    return effect.timeout


DOMAINS: dict[type[Effect], Performer] = {
    DefineDomain: Performer(_define, _look),
    EditDomain: Performer(_edit, _its_definition),
    UndefineDomain: Performer(_there(_undefine), _its_definition),
    StartDomain: Performer(_there(_start), _its_devices, _starting),
    RestoreDomain: Performer(_there(_restore), _what_comes_back, _starting),
    StopDomain: Performer(_there(_stop), _look, _shutting_down),
    AutostartDomain: Performer(_there(_autostart), _look),
    PinDomain: Performer(_there(live.pin), _look),
    TuneNuma: Performer(_there(live.tune), _look),
    LinkInterface: Performer(_there(live.link), _look),
    DetachDisk: Performer(_there(live.detach), _its_definition, _detaching),
}
