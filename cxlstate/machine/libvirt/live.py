"""Changes of a domain that runs, and of nothing else: its definition is edited by itself."""

from __future__ import annotations

import time

import libvirt

from cxlstate.core.libvirt import DetachDisk, LinkInterface, PinDomain, PinOf, TuneNuma
from cxlstate.formats import domain_xml, xml
from cxlstate.machine.libvirt.masking import Refused
from cxlstate.machine.libvirt.performer import DONE, Session
from cxlstate.machine.libvirt.reading import cpu_set
from cxlstate.machine.outcome import Outcome

_LOOK_AGAIN = 0.5  # seconds


def pin(domain: libvirt.virDomain, effect: PinDomain, session: Session) -> Outcome:
    """A thread. Checked here, since libvirt passes over CPUs that the host does not have."""
    _count, online, _number = session.connection.getCPUMap()
    there = {number for number, on in enumerate(online) if on}
    if missing := effect.cpus - there:
        raise Refused(f"of the CPUs {cpu_set(effect.cpus)}, {cpu_set(missing)} is not there or not on")
    cpus = tuple(number in effect.cpus for number in range(len(online)))
    match effect.of:
        case PinOf.VCPU:
            domain.pinVcpuFlags(effect.number, cpus, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        case PinOf.EMULATOR:
            domain.pinEmulator(cpus, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        case PinOf.IOTHREAD:
            domain.pinIOThread(effect.number, cpus, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    return DONE


def tune(domain: libvirt.virDomain, effect: TuneNuma, _session: Session) -> Outcome:
    """The nodes of its memory."""
    nodeset = {libvirt.VIR_DOMAIN_NUMA_NODESET: cpu_set(effect.nodeset)}
    domain.setNumaParameters(nodeset, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    return DONE


def detach(domain: libvirt.virDomain, effect: DetachDisk, _session: Session) -> Outcome:
    """A disk. libvirt comes back before the guest has let go of it (qemuDomainWaitForDeviceRemoval)."""
    inactive = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    if domain.isPersistent() and (disk := domain_xml.given(inactive, effect.path)):
        domain.detachDeviceFlags(disk, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    if domain.isActive() and (disk := domain_xml.given(domain.XMLDesc(0), effect.path)):
        domain.detachDeviceFlags(disk, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        deadline = time.monotonic() + effect.timeout
        while domain.isActive() and domain_xml.given(domain.XMLDesc(0), effect.path):
            if time.monotonic() >= deadline:
                raise Refused(f"the guest has not let go of {effect.path} within {effect.timeout} s")
            time.sleep(_LOOK_AGAIN)
    return DONE


def link(domain: libvirt.virDomain, effect: LinkInterface, _session: Session) -> Outcome:
    """An interface. In its own words otherwise: libvirt compares the whole interface."""
    for interface in xml.parse(domain.XMLDesc(0)).iterfind("devices/interface"):
        mac = interface.find("mac")
        if mac is not None and mac.get("address", "").lower() == effect.mac.lower():
            xml.child(interface, "link", ("link",)).set("state", "up" if effect.up else "down")
            domain.updateDeviceFlags(xml.plain(interface), libvirt.VIR_DOMAIN_AFFECT_LIVE)
            return DONE
    raise Refused(f"none of its interfaces has the address {effect.mac}")
