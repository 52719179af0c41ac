"""What cannot be right with a network, now that the machine was seen."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.libvirt import Update
from cxlstate.core.path import Path
from cxlstate.formats import network_xml
from cxlstate.formats.network_xml import ISOLATED, Definition, Host, Range, host_xml
from cxlstate.resources.network.goal import ADDRESS, WORDS, Goal, Side, said
from cxlstate.resources.network.probe import in_the_way as held_by_others
from cxlstate.resources.network.spec import NetworkSpec, fitting, is_free, outside_words, widest
from cxlstate.resources.network.updates import InTheWay, in_the_way, not_to_be_told_apart

RESERVATIONS = "reservations"
_OURS = ("nat", "route", "open", ISOLATED)


def diagnose(goal: Goal) -> Iterator[Diagnostic]:
    """Every problem there is; `path` is relative to the resource."""
    if goal.spec.state == "absent":
        return
    if not goal.live.there:
        if goal.spec.address is None:
            yield _missing(goal)
        yield from held_by_others(goal.spec, goal.live)
        return
    config = goal.config
    if config is None:
        yield _transient(goal.name)
        return
    stated = [word for word in WORDS if said(goal.spec.fields, word)]
    stated += [RESERVATIONS] if goal.wishes.present else []
    if config.definition.forward not in _OURS and stated:
        yield from (_of_another_kind(config.definition, word) for word in stated)
        return
    if (goal.wishes.present or goal.spec.dhcp or goal.listed) and config.definition.served:
        yield _served_elsewhere(config.definition.served, goal.spec)
        return
    if (goal.starts or (goal.running and goal.running.structure)) and config.definition.forward in _OURS:
        yield from held_by_others(goal.spec, goal.live)
    yield from _addresses(goal.spec, config.definition)
    yield from _left_behind(goal, config)
    yield from _forwarding(goal, config)
    yield from _entries(goal)


def _addresses(spec: NetworkSpec, definition: Definition) -> Iterator[Diagnostic]:
    """Those of the spec within the network there is, and those that are there within that of the spec."""
    if spec.address is None:
        if definition.address is not None:
            for path, ip in spec.outside(definition.address):
                yield Diagnostic("CXN302", path=path, **outside_words(ip, definition.address))
        elif spec.dhcp or any(one.state == "present" for one in spec.reservations):
            yield _no_address(spec)
    elif spec.dhcp is None:
        for one in definition.ranges:
            if not _is_within(one, spec):
                yield _range_stays_behind(one, spec)


def _left_behind(goal: Goal, config: Side) -> Iterator[Diagnostic]:
    """Reservations that nobody declared, and that no guest of the network can have where it moves to."""
    address = goal.spec.address
    if address is None or ADDRESS not in config.off:
        return
    undeclared = (one for one in config.definition.hosts if one.ip and not goal.wishes.concern(one))
    lost = [one for one in undeclared if not is_free(IPv4Address(one.ip or ""), address)]
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        yield Diagnostic(
            "CXN314",
            "undeclared reservations stay behind when the network moves",
            Severity.WARNING,
            path=("address",),
            found=_entry(lost[0]) + more,
            expected=f"addresses in {address.network}, without {address.ip}",
            hint=f"declare each with another address: {{mac: '{lost[0].mac or 'MAC'}', ip: …}}",
        )


def _forwarding(goal: Goal, config: Side) -> Iterator[Diagnostic]:
    """What libvirt refuses of a definition that is written anew: a way out or a route without an address."""
    forward, xml = goal.spec.forward, goal.live.inactive_xml
    if forward not in (None, ISOLATED) and not goal.spec.address and not config.definition.routed:
        yield Diagnostic(
            "CXN303",
            "the network has no address, which forwarding needs",
            path=("forward",),
            found="no <ip>",
            expected="the host's address on it",
            hint=f"add address: {fitting(goal.spec)} (one that is free here)",
        )
    if xml is not None and ADDRESS in config.off:
        anew = network_xml.edit(xml, config.fields)
        yield from (_unreachable(goal.name, gateway) for gateway in network_xml.unreachable(anew))
        yield from map(_no_zone, network_xml.without_reverse_zone(anew))


def _is_within(one: Range, spec: NetworkSpec) -> bool:
    return spec.address is None or all(IPv4Address(ip) in spec.address.network for ip in (one.start, one.end))


def _entries(goal: Goal) -> Iterator[Diagnostic]:
    """The same entry may be in both definitions. What is to be restarted is not updated before."""
    sides: list[Side] = [side for side in (goal.config, None if goal.moves else goal.running) if side]
    ways = dict.fromkeys(way for side in sides for way in in_the_way(side.definition.hosts, goal.wishes))
    yield from (_held(goal, way) for way in ways)
    pairs = (pair for side in sides for pair in not_to_be_told_apart(side.definition.hosts, goal.wishes))
    yield from (_not_told_apart(goal, *pair) for pair in dict.fromkeys(pairs))


def _missing(goal: Goal) -> Diagnostic:
    return Diagnostic(
        "CXN304",
        f"the network {goal.name} does not exist, and its address is missing",
        found="no network of this name",
        expected="address: the host's address on it, with the prefix",
        hint=f"add address: {fitting(goal.spec)} (one that is free here), and, if wished, forward: nat",
    )


def _served_elsewhere(served: IPv4Interface, spec: NetworkSpec) -> Diagnostic:
    """virNetworkDefUpdateCheckMultiDHCP: one of several addresses can have it."""
    return Diagnostic(
        "CXN310",
        f"DHCP of the network answers on {served}",
        path=("address",),
        found=f"address: {spec.address}",
        expected=f"address: {served}",
        hint=f"leave out dhcp and reservations, or write address: {served} and those in {served.network}",
    )


def _unreachable(name: str, gateway: str) -> Diagnostic:
    return Diagnostic(
        "CXN311",
        f"no route of the network would lead to its gateway {gateway}",
        path=("address",),
        found=f"<route … gateway='{gateway}'/> in the definition",
        expected=f"an address with {gateway} in its subnet",
        hint=f"take the route out first: virsh net-dumpxml --inactive {name} >{name}.xml, remove its line, "
        f"and virsh net-define {name}.xml",
    )


def _no_zone(address: IPv4Interface) -> Diagnostic:
    zones = network_xml.ZONES
    prefix = next((zone for zone in zones if zone >= address.network.prefixlen), zones[-1])
    return Diagnostic(
        "CXN312",
        "the network would not start: its reverse zone needs a prefix of whole bytes",
        path=("address",),
        found=f"{address}, and localPtr='yes' in the definition",
        expected="a prefix of 8, 16 or 24",
        hint=f"write address: {address.ip}/{prefix}",
    )


def _transient(name: str) -> Diagnostic:
    return Diagnostic(
        "CXN305",
        f"the network {name} is transient: a stop removes it",
        found="a running network without a definition",
        expected="a network that is defined",
        hint=f"virsh net-dumpxml {name} >{name}.xml; virsh net-define {name}.xml",
    )


def _of_another_kind(definition: Definition, word: str) -> Diagnostic:
    return Diagnostic(
        "CXN307",
        "libvirt has no DHCP and no addresses on this network",
        path=(word,),
        found=f"forward mode {definition.forward}",
        expected=f"one of {', '.join(_OURS)}",
        hint=f"leave out {word}: "
        + (
            "the DHCP server that answers on the host's bridge reserves addresses"
            if word == RESERVATIONS
            else "its definition stays as it is; or declare a network of another name"
        ),
    )


def _no_address(spec: NetworkSpec) -> Diagnostic:
    return Diagnostic(
        "CXN303",
        "the network has no IPv4 address, which DHCP needs",
        path=("dhcp",) if spec.dhcp else (RESERVATIONS,),
        found="no <ip> with an IPv4 address",
        expected="the host's address on it",
        hint=f"add address: {fitting(spec)} (one that is free here)",
    )


def _range_stays_behind(one: Range, spec: NetworkSpec) -> Diagnostic:
    start, end = widest(spec.address) if spec.address else ("…", "…")
    return Diagnostic(
        "CXN306",
        "the current DHCP range is outside the new network",
        path=("address",),
        found=str(one),
        expected=f"a range in {spec.address.network if spec.address else ''}",
        hint=f"add dhcp: {{start: {start}, end: {end}}}",
    )


def _held(goal: Goal, way: InTheWay) -> Diagnostic:
    what = "address" if way.word == "ip" else "name"
    if way.host.mac:
        declare = f"{{mac: '{way.host.mac}', ip: …}}"
        hint = (
            f"declare it with another: {declare}; or take it away: {{mac: '{way.host.mac}', state: absent}}"
        )
    else:
        hint = f"{_taken_out(goal, way.host)} takes it away; or choose another {what}"
    return Diagnostic(
        "CXN301",
        f"an undeclared entry has the {what} of {way.mac}",
        path=_place(goal.spec, way.mac, way.word),
        found=_entry(way.host),
        expected=f"an {what} that is free" if what == "address" else "a name that is free",
        hint=hint,
    )


def _not_told_apart(goal: Goal, host: Host, other: Host) -> Diagnostic:
    return Diagnostic(
        "CXN308",
        "libvirt would delete another entry with the same address",
        path=_place(goal.spec, host.mac or "", "mac"),
        found=f"{_entry(host)}, and before it {_entry(other)}",
        expected="another address in the entry without a MAC address",
        hint=f"{_taken_out(goal, other)} takes that one away",
    )


def _taken_out(goal: Goal, host: Host) -> str:
    """The command that removes an entry without a MAC address wherever it stands."""
    sides = {"--config": goal.config, "--live": goal.running}
    there = [flag for flag, side in sides.items() if side and host in side.definition.hosts]
    command = f"delete ip-dhcp-host {shlex.quote(host_xml(host, Update.DELETE))} {' '.join(there)}"
    return f"virsh net-update {goal.name} {command}"


def _entry(host: Host) -> str:
    stated = (("mac", host.mac), ("name", host.name), ("ip", host.ip))
    return f"<host {' '.join(f'{key}={value!r}' for key, value in stated if value)}/>"


def _place(spec: NetworkSpec, mac: str, word: str) -> Path:
    for number, one in enumerate(spec.reservations):
        if one.mac == mac:
            return ("reservations", number, word)
    return ()
