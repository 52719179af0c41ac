"""`<dhcp>` of a network: virNetworkUpdate to the letter, and who gets which address.

Sources: libvirt 11.3 `virNetworkDefUpdateIPDHCPHost`, `virNetworkDefUpdateIPDHCPRange`,
`virNetworkIPDefByIndex`, `virNetworkDHCPHostDefParseXML`, `virSocketAddrGetRange`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from itertools import chain

from cxlstate.core.libvirt import Update, UpdateNetwork
from cxlstate.formats import xml
from cxlstate.formats.network_xml import Definition, normal_mac
from cxlstate.formats.xml import Element
from cxlstate.simulator.libvirt.refused import INTERNAL, INVALID, XML, Refused
from cxlstate.simulator.libvirt.text import reordered, under

_MAC = re.compile(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}")
_HOST, _RANGE = "host", "range"
_SECTIONS = {"ip-dhcp-host": _HOST, "ip-dhcp-range": _RANGE}


@dataclass(frozen=True, slots=True)
class _Entry:
    """What libvirt compares of a `<host>`."""

    mac: str | None
    name: str | None
    ip: IPv4Address | IPv6Address | None

    @classmethod
    def of(cls, one: Element) -> _Entry:
        mac, ip = one.get("mac"), one.get("ip")
        return cls(normal_mac(mac) if mac else None, one.get("name"), ip_address(ip) if ip else None)

    def shares(self, other: _Entry) -> bool:
        """Whether they have a MAC, an address or a name in common."""
        pairs = ((self.mac, other.mac), (self.ip, other.ip), (self.name, other.name))
        return any(mine is not None and mine == its for mine, its in pairs)

    def means(self, other: _Entry) -> bool:
        """Whether all that is given here is so there; an entry without a MAC is meant by any."""
        same_mac = self.mac is None or other.mac is None or self.mac == other.mac
        return same_mac and self.name in (None, other.name) and self.ip in (None, other.ip)


def update(root: Element, effect: UpdateNetwork) -> None:
    """Make one change. Raises Refused, and then nothing has changed."""
    network = root.findtext("name") or ""
    expected = _SECTIONS[effect.section]
    try:
        given = xml.parse(effect.xml)
    except ValueError as error:
        raise Refused(f"at line 1: {error}") from None
    if given.tag != expected:
        got = f"unexpected element <{given.tag!s}>, expecting <{expected}>"
        raise Refused(f"{got}, while updating network '{network}'", XML)
    ip = _ip(root, network, effect.parent)
    if expected == _HOST:
        _update_hosts(network, ip, given, effect.command)
    else:
        _update_ranges(network, ip, given, effect.command)
    tidy(ip)


def check(network: str, ip: Element) -> None:
    """All entries of a definition, each by itself. Raises Refused."""
    for one in ip.findall("dhcp/host"):
        _check_host(network, one, partial=False)
    for one in ip.findall("dhcp/range"):
        _check_range(network, ip, one)
    tidy(ip)


def tidy(ip: Element) -> None:
    """As libvirt writes it: not at all where it is empty."""
    dhcp = ip.find("dhcp")
    if dhcp is None:
        return
    for one in dhcp.findall(_HOST):
        reordered(one, "mac", "id", "name", "ip")
    if dhcp.find(_HOST) is None and dhcp.find(_RANGE) is None:
        ip.remove(dhcp)


def _ip(root: Element, network: str, number: int) -> Element:
    """The one with that number, or the one that is meant where none is given."""
    every = root.findall("ip")
    if number >= len(every):
        at = f"no <ip> element found at index {number} in network '{network}'"
        raise Refused(f"couldn't update dhcp host entry - {at}", INVALID)
    if number >= 0:
        return every[number]
    with_dhcp = (one for one in every if any(one.find(f"dhcp/{tag}") is not None for tag in (_HOST, _RANGE)))
    by_family = sorted(every, key=lambda one: one.get("family") == "ipv6")
    found = next(chain(with_dhcp, by_family), None)
    if found is None:
        none = f"no <ip> element found in network '{network}'"
        raise Refused(f"couldn't update dhcp host entry - {none}", INVALID)
    return found


def _update_hosts(network: str, ip: Element, given: Element, command: Update) -> None:
    _check_host(network, given, partial=command is Update.DELETE)
    entry = _Entry.of(given)
    if command is not Update.DELETE and entry.ip and entry.ip.version != address(ip).version:
        both = "must match the address family of the dhcp element's parent"
        raise Refused(f"the address family of a host entry IP {both}", INVALID)
    dhcp = under(ip, "dhcp")
    hosts = dhcp.findall(_HOST)
    mac, name = given.get("mac", "unknown"), given.get("name", "(null)")
    compare = entry.means if command is Update.DELETE else entry.shares
    found = _first(hosts, compare)
    match command:
        case Update.ADD_LAST:
            if found is not None:
                same = f"that matches \"<host mac='{mac}' name='{name}' ip='{entry.ip}'/>\""
                raise Refused(f"there is an existing dhcp host entry in network '{network}' {same}", INVALID)
            dhcp.append(given)
        case Update.MODIFY:
            if found is None:
                which = f"\"mac='{mac}'\" \"name='{name}'\" \"ip='{entry.ip}'\""
                why = f"couldn't locate an existing dhcp host entry with {which} in network '{network}'"
                raise Refused(why, INVALID)
            dhcp.replace(found, given)
        case Update.DELETE:
            if found is None:
                raise Refused(f"couldn't locate a matching dhcp host entry in network '{network}'", INVALID)
            dhcp.remove(found)


def _first(hosts: Iterable[Element], compare: Callable[[_Entry], bool]) -> Element | None:
    return next((one for one in hosts if compare(_Entry.of(one))), None)


def _update_ranges(network: str, ip: Element, given: Element, command: Update) -> None:
    if command is Update.MODIFY:
        why = "dhcp ranges cannot be modified, only added or deleted"
        raise Refused(why, "Operation not supported")
    _check_range(network, ip, given)
    dhcp = under(ip, "dhcp")
    ends = _ends(given)
    found = next((one for one in dhcp.findall(_RANGE) if _ends(one) == ends), None)
    if command is Update.ADD_LAST:
        if found is not None:
            entry = f"<range start='{ends[0]}' end='{ends[1]}'/>"
            why = f"there is an existing dhcp range entry in network '{network}' that matches \"{entry}\""
            raise Refused(why, INVALID)
        dhcp.append(given)
    elif found is None:
        raise Refused(f"couldn't locate a matching dhcp range entry in network '{network}'", INVALID)
    else:
        dhcp.remove(found)


def _check_host(network: str, one: Element, *, partial: bool) -> None:
    mac, name, ip = one.get("mac"), one.get("name"), one.get("ip")
    if mac is not None and not _MAC.fullmatch(mac):
        raise Refused(f"Cannot parse MAC address '{mac}' in network '{network}'", XML)
    if mac is not None and int(mac.partition(":")[0], 16) & 1:
        why = f"expected unicast mac address, found multicast '{mac}' in network '{network}'"
        raise Refused(why, XML)
    if name is not None and not name[:1].isalnum():
        raise Refused(f"Cannot use host name '{name}' in network '{network}'", XML)
    if ip is not None and not _is_address(ip):
        raise Refused(f"Invalid IP address in static host definition for network '{network}'", XML)
    if partial and not (mac or name or ip):
        what = "At least one of name, mac, or ip attribute must be specified for static host definition"
        raise Refused(f"{what} in network '{network}'", XML)
    if not partial and not (mac or name):
        needs = "must have mac or name attribute"
        raise Refused(f"Static host definition in IPv4 network '{network}' {needs}", XML)
    if not partial and not ip:
        raise Refused(f"Missing IP address in static host definition for network '{network}'", XML)


def _check_range(network: str, ip: Element, one: Element) -> None:
    for side in ("start", "end"):
        said = one.get(side)
        if said is None:
            raise Refused(f"Missing '{side}' attribute in dhcp range for network '{network}'", XML)
        if not _is_address(said):
            raise Refused(f"Cannot parse socket address '{said}'", INTERNAL)
    (start, end), net = _ends(one), address(ip).network
    if start.version != end.version or start not in net or end not in net:
        inside = f"is not entirely within network {ip.get('address')}/{net.prefixlen}"
        raise Refused(f"range {start} - {end} {inside}", INTERNAL)
    if int(start) > int(end):
        raise Refused(f"range {start} - {end} is reversed ", INTERNAL)


def _ends(one: Element) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    return ip_address(one.get("start", "")), ip_address(one.get("end", ""))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def address(ip: Element) -> IPv4Interface | IPv6Interface:
    """The bridge's own address, with its network."""
    text = ip.get("address", "")
    mask = ip.get("prefix") or ip.get("netmask")
    if mask is None:
        mask = "64" if ip.get("family") == "ipv6" else _class(text)
    return ip_interface(f"{text}/{mask}")


def _class(text: str) -> str:
    """The prefix of an IPv4 address that comes without one (`virSocketAddrGetIPPrefix`)."""
    first = int(text.partition(".")[0])
    return "8" if first < 128 else "16" if first < 192 else "24"  # noqa: PLR2004 -- classes A, B and C


def leases(network: Definition, macs: Iterable[str]) -> dict[str, str]:
    """Who has which address, with its prefix: what is reserved, else the first that is free in a range."""
    if network.address is None:
        return {}
    subnet = network.address.network
    reserved = {host.mac: IPv4Address(host.ip) for host in network.hosts if host.mac and host.ip}
    free = _free(network, {*reserved.values(), network.address.ip})
    found = {}
    for mac in macs:
        mine = reserved.get(mac) or next(free, None)
        if mine is not None and mine in subnet:
            found[mac] = f"{mine}/{subnet.prefixlen}"
    return found


def _free(network: Definition, taken: set[IPv4Address]) -> Iterator[IPv4Address]:
    for one in network.ranges:
        start, end = IPv4Address(one.start), IPv4Address(one.end)
        for number in range(int(start), int(end) + 1):
            if IPv4Address(number) not in taken:
                yield IPv4Address(number)
