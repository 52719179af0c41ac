"""Rules between port forwards and the VMs and networks that they lead to."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Final

from cxlstate.core.connect import Connect, Ssh, Through
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.path import Path
from cxlstate.core.reconciler import Resource
from cxlstate.formats.forward_table import ORIGINS
from cxlstate.resources.forward.spec import ForwardsSpec, Listen
from cxlstate.resources.network.spec import NetworkSpec
from cxlstate.resources.vm.spec import VmSpec
from cxlstate.rules.words import Resources, Rule, TreeRule, of
from cxlstate.spec.tree import Tree

SSH: Final = 22
OUTSIDE: Final = ORIGINS[0]


def the_vm_is_declared(resources: Resources) -> Iterator[Diagnostic]:
    """CXY401: a forward leads to a VM that the spec wants."""
    vms = {me.name: me.spec for me in of(resources, VmSpec)}
    known = [name for name, spec in vms.items() if spec.state != "absent"]
    for me, path, vm in _led_to(resources):
        if vm not in known:
            near = get_close_matches(vm, known, n=1)
            yield Diagnostic(
                "CXY401",
                f"forward {path[-3]} leads to {vm}, which is {'absent' if vm in vms else 'not declared'}",
                path=path,
                address=me.address,
                found=vm,
                expected=f"one of {', '.join(known)}" if known else "a VM below `vms`",
                hint=f"did you mean {near[0]}?" if near else "declare it below vms, or write to.address",
            )


def the_vm_has_an_address(resources: Resources) -> Iterator[Diagnostic]:
    """CXY402: a network reserves an address for it, so that the forward leads to it after each boot."""
    networks = [one.spec for one in of(resources, NetworkSpec) if one.spec.state == "present"]
    reserved = {each.mac for one in networks for each in one.reservations if each.state == "present"}
    vms = {me.name: me.spec for me in of(resources, VmSpec) if me.spec.state != "absent"}
    for me, path, vm in _led_to(resources):
        if vm not in vms:
            continue
        interfaces = [one for one in vms[vm].interfaces or () if one.state == "present"]
        if not any(one.mac in reserved for one in interfaces):
            mac = interfaces[0].mac if interfaces else "its MAC address"
            network = next((one.network for one in interfaces if one.network), "default")
            yield Diagnostic(
                "CXY402",
                f"no network reserves an address for {vm}",
                path=path,
                address=me.address,
                found=f"{vm} with {', '.join(one.mac for one in interfaces) or 'no interface'}",
                expected=f"a reservation for it below networks.{network}",
                hint=f"add to networks.{network}.reservations: {{mac: '{mac}', ip: ADDRESS}}"
                if interfaces
                else f"write vms.{vm}.interfaces, and reserve an address for the MAC address there",
            )


def a_forward_is_bounded(resources: Resources) -> Iterator[Diagnostic]:
    """CXY403: it listens on an interface or an address, and not on all that the host has."""
    for me in of(resources, ForwardsSpec):
        for name, one in me.spec.present.items():
            if one.listen.interface is None and one.listen.address is None:
                yield Diagnostic(
                    "CXY403",
                    f"forward {name} listens on every address of the host",
                    Severity.WARNING,
                    path=(*me.path, name, "listen"),
                    address=me.address,
                    found="neither interface nor address",
                    expected="where clients come in",
                    hint="write interface: eno1, or address: an address of the host",
                )


def the_way_in_stays(tree: Tree) -> Iterator[Diagnostic]:
    """CXY404: no forward takes the port of the host's own SSH, by which it is administered."""
    way = tree.host.connect
    ports = {SSH} | ({way.port} if isinstance(way, Ssh) and way.port else set())
    for me in of(tree.host.resources, ForwardsSpec):
        for name, one in me.spec.present.items():
            first, last = one.listen.range
            taken = sorted(port for port in ports if first <= port <= last)
            closes = _closes(way, one.listen)
            if taken and one.listen.protocol == "tcp" and OUTSIDE in one.sources and closes is not False:
                yield Diagnostic(
                    "CXY404",
                    f"forward {name} takes the port of the host's own SSH",
                    Severity.ERROR if closes else Severity.WARNING,
                    path=(*me.path, name, "listen", "ports" if one.listen.ports else "port"),
                    address=me.address,
                    found=f"tcp {taken[0]}{_bound(one.listen)}",
                    expected="a port, or an address of the host, that nobody administers it by",
                    hint="write another port, such as 2222: connections to the host would end in the guest",
                )


def _closes(way: Connect | Through, listen: Listen) -> bool | None:
    """Whether it takes connections to where we reach the host. None: that cannot be told from here."""
    if listen.address is None:
        return None if listen.interface else True
    try:
        at = ip_address(way.host) if isinstance(way, Ssh) else None
    except ValueError:  # a name, or an alias of the SSH configuration
        at = None
    return None if at is None else at == listen.address


def _bound(listen: Listen) -> str:
    interface = f" on {listen.interface}" if listen.interface else ""
    return f"{interface} at {listen.address}" if listen.address else interface


def _led_to(resources: Resources) -> Iterator[tuple[Resource[ForwardsSpec], Path, str]]:
    for me in of(resources, ForwardsSpec):
        for name, one in me.spec.present.items():
            if one.to.vm is not None:
                yield me, (*me.path, name, "to", "vm"), one.to.vm


RULES: Final[tuple[Rule, ...]] = (the_vm_is_declared, the_vm_has_an_address, a_forward_is_bounded)
BETWEEN: Final[tuple[TreeRule, ...]] = (the_way_in_stays,)
