"""The way into a VM's guest, as the VM exports it: for VMs whose guest the spec describes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from hashlib import sha256

from cxlstate.core.answers import Answers
from cxlstate.core.guest import GuestAccess
from cxlstate.core.read import File, LibvirtAddresses, LibvirtDomain, Read
from cxlstate.formats import cloud_init, domain_xml, host_keys
from cxlstate.resources.vm.states import RUNS


def reads(name: str) -> tuple[Read, ...]:
    """What has to be asked, besides the domain itself, to know the way."""
    return (LibvirtAddresses(name), File(host_keys.path(name)))


def access(name: str, answers: Answers) -> GuestAccess:
    """The way, from the answers to `reads` and to the domain's own.

    What the guest agent says of addresses is not asked: with a host key that the agent says, too, a hostile
    guest could lead us to another machine, and be believed. Raises ReadFailed, and KeyError or ValueError
    where libvirt's answer is not understood.
    """
    parts = answers.files(LibvirtDomain(name))
    kept = answers.text_or_none(File(host_keys.path(name)))
    facts = dict(line.partition("=")[::2] for line in parts.get("facts", "").splitlines())
    xml = parts.get("active.xml") or parts.get("inactive.xml")
    addresses: list[str] = []
    if xml is not None:
        leased = [line.split(" ") for line in answers.text(LibvirtAddresses(name)).splitlines()]
        addresses += [address.partition("/")[0] for _, address in leased]
    return GuestAccess(
        running=facts.get("state") in RUNS,
        addresses=tuple(dict.fromkeys(addresses)),
        keys=host_keys.parse(kept or ""),
        kept=None if kept is None else sha256(kept.encode("utf-8", "surrogateescape")).hexdigest(),
        agent=xml is not None and domain_xml.has_agent_channel(xml),
        console=domain_xml.console_log(xml) if xml is not None else "",
        defined=xml is not None,
        first_boot=xml is not None and domain_xml.given(xml, cloud_init.seed(name)) is not None,
    )


def with_reserved(
    way: GuestAccess, macs: Collection[str], reserved: Iterable[tuple[str, str]]
) -> GuestAccess:
    """The way, by the addresses first that networks keep for these interfaces."""
    first = [address for mac, address in reserved if mac in macs]
    return replace(way, addresses=tuple(dict.fromkeys((*first, *way.addresses))))
