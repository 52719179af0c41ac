"""Effects on domains, each as its docstring in `core.libvirt` says. They raise Refused or libvirtError."""

from __future__ import annotations

import time
from hashlib import sha256

import libvirt

from cxlstate.core.libvirt import (
    AGAIN,
    AS_IT_RAN,
    AutostartDomain,
    DefineDomain,
    DomainEffect,
    EditDomain,
    RestoreDomain,
    StartDomain,
    StopDomain,
    UndefineDomain,
)
from cxlstate.formats import domain_xml
from cxlstate.machine.libvirt import live
from cxlstate.machine.libvirt.connection import is_alive
from cxlstate.machine.libvirt.masking import Refused, masked, secrets_in
from cxlstate.machine.libvirt.reading import STATES, find_domain, if_supported
from cxlstate.machine.outcome import Outcome, Result

DONE = Outcome(Result.DONE)
STALE = Outcome(Result.STALE)

_KEEP_TPM = 64  # VIR_DOMAIN_UNDEFINE_KEEP_TPM, for which a library before libvirt 8.9 has no name
_PRESS_AGAIN = 10.0  # seconds: a guest that is booting misses the button
_LOOK_AGAIN = 0.5


def tell(connection: libvirt.virConnect, effect: DomainEffect, ran: dict[str, str]) -> Outcome:
    """Do it. `ran` is what the domains that were shut down ran with, by name: it is added to, and used."""
    if isinstance(effect, DefineDomain):
        return _define(connection, effect)
    if isinstance(effect, EditDomain):
        return _edit(connection, effect)
    domain = find_domain(connection, effect.name)
    if domain is None:
        raise Refused(f"there is no domain {effect.name}")
    if isinstance(effect, StopDomain):
        return _stop(domain, effect, ran)
    if isinstance(effect, RestoreDomain):
        return _restore(connection, domain, ran.get(effect.name))
    match effect:
        case UndefineDomain():
            _undefine(domain)
        case StartDomain():
            if not domain.isActive():
                domain.create()
        case AutostartDomain(on=on):
            domain.setAutostart(int(on))
        case _:
            live.change(connection, domain, effect)
    return DONE


def digest(text: str) -> str:
    """SHA-256 of a definition, as a plan has it from the answer that it was read in."""
    return sha256(text.encode()).hexdigest()


def _define(connection: libvirt.virConnect, effect: DefineDomain) -> Outcome:
    if find_domain(connection, effect.name) is not None:
        return STALE
    connection.defineXMLFlags(effect.xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    return DONE


def _edit(connection: libvirt.virConnect, effect: EditDomain) -> Outcome:
    """What stands in errors may be a piece of the XML, and so a password."""
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


def defined(domain: libvirt.virDomain) -> str:
    """The persistent definition, with its secrets."""
    text: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
    return text


def _restore(connection: libvirt.virConnect, domain: libvirt.virDomain, ran: str | None) -> Outcome:
    """What was defined stays where not even the definition that it ran with starts."""
    if domain.isActive():
        return DONE
    now = defined(domain)
    old = domain_xml.as_it_ran(now, ran) if ran is not None else None
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


def _undefine(domain: libvirt.virDomain) -> None:
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


def _stop(domain: libvirt.virDomain, effect: StopDomain, ran: dict[str, str]) -> Outcome:
    if not domain.isActive():
        return DONE
    if not domain.isPersistent():
        raise Refused("it is transient: once off, it would be gone")
    ran[effect.name] = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
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
