"""A libvirt network's XML: what a spec can own of it, and how just that is changed.

Everything else in it is kept, whatever it is. Names and meanings are those of libvirt's
formatnetwork.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, ip_address
from typing import Final

from lxml import etree

from cxlstate.core.libvirt import Update
from cxlstate.formats import xml
from cxlstate.formats.xml import Element

ISOLATED: Final = "isolated"
"""How a network without `<forward>` is called, here and in virt-manager."""

_ORDER: Final = (
    *("name", "uuid", "metadata", "forward", "bridge", "mtu", "mac", "domain", "dns", "vlan", "bandwidth"),
    *("ip", "route", "virtualport", "portgroup"),
)
"""In which libvirt writes what a network has (virNetworkDefFormatBuf)."""

_IP_ORDER: Final = ("tftp", "dhcp")
_DHCP_ORDER: Final = ("range", "host", "bootp")

_CLASSES: Final = ((0x80, 8), (0xC0, 16), (0xE0, 24))
"""Highest first byte (exclusive) and prefix of an address without one (virNetworkIPDefPrefix)."""


@dataclass(frozen=True, slots=True)
class Host:
    """A `<host>` of `<dhcp>`. `mac` is in lower case; `more` and `inner` are what else stands in it."""

    mac: str | None
    ip: str | None
    name: str | None = None
    more: tuple[tuple[str, str], ...] = ()
    inner: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Range:
    """A `<range>` of `<dhcp>`: from `start` up to and including `end`.

    `more` and `inner` are what else stands in it, as the time of a lease. They make it no other range.
    """

    start: str
    end: str
    more: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    inner: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"

    def in_place_of(self, there: Sequence[Range]) -> Range:
        """With what else stands in the one that it replaces: one that it overlaps, else the first."""
        old = next(filter(self._overlaps, there), there[0] if there else self)
        return replace(self, more=old.more, inner=old.inner)

    def _overlaps(self, other: Range) -> bool:
        start, end, low, high = map(ip_address, (self.start, self.end, other.start, other.end))
        return start.version == low.version and int(start) <= int(high) and int(low) <= int(end)


@dataclass(frozen=True, slots=True)
class Definition:
    """What a network's XML says. Of several `<ip>`, the one with the address that is wished, else with DHCP.

    `parent` is the number of that `<ip>` for virNetworkUpdate; -1 where there is only one. `served` is the
    address on which libvirt's DHCP answers, if that is another one: it has one of a family alone. `routed` is
    whether there is any `<ip>`. `mac` is that of the bridge, which libvirt makes up where nobody wrote one.
    """

    address: IPv4Interface | None
    ranges: tuple[Range, ...]
    hosts: tuple[Host, ...]
    bridge: str | None
    forward: str
    domain: str | None
    parent: int = -1
    mac: str | None = None
    served: IPv4Interface | None = None
    routed: bool = True


@dataclass(frozen=True, slots=True)
class Fields:
    """What is wished of a definition; None: as it is."""

    address: IPv4Interface | None = None
    dhcp: Range | None = None
    bridge: str | None = None
    forward: str | None = None
    domain: str | None = None


@dataclass(frozen=True, slots=True)
class HostStep:
    """One change of the list of hosts: what becomes of the entry `at` (that many stand before it).

    `was` is that entry before; None of one that is added.
    """

    command: Update
    at: int
    host: Host
    was: Host | None = None


def parse(text: str, prefer: IPv4Interface | None = None) -> Definition:
    """What the XML says; of several `<ip>`, of the one of `prefer`. ValueError: it is no network's XML."""
    root = _root(text)
    ip, parent = _ip(root, prefer)
    dhcp = ip.find("dhcp") if ip is not None else None
    served = next((one for one in root.findall("ip") if _is_ipv4(one) and _has_dhcp(one)), ip)
    return Definition(
        address=_address(ip) if ip is not None else None,
        ranges=tuple(map(_range, dhcp.findall("range"))) if dhcp is not None else (),
        hosts=tuple(map(_host, dhcp.findall("host"))) if dhcp is not None else (),
        bridge=_attribute(root, "bridge", "name"),
        forward=_forward(root),
        domain=_attribute(root, "domain", "name"),
        parent=parent,
        mac=_attribute(root, "mac", "address"),
        served=None if served is None or served is ip else _address(served),
        routed=root.find("ip") is not None,
    )


def unreachable(text: str) -> tuple[str, ...]:
    """Gateways of static routes that are in no subnet of the network: libvirt refuses them.

    "unreachable static route gateway" (virNetworkDefParseXML).
    """
    root = _root(text)
    subnets = [_address(one).network for one in root.findall("ip") if _is_ipv4(one)]
    gateways = [
        one.get("gateway", "") for one in root.findall("route") if one.get("family", "ipv4") == "ipv4"
    ]
    return tuple(one for one in gateways if not any(IPv4Address(one) in subnet for subnet in subnets))


def without_reverse_zone(text: str) -> tuple[IPv4Interface, ...]:
    """Addresses whose names are not to be asked for elsewhere, though DNS has no zone of just that subnet.

    `localPtr`: "PTR domain for IPv4 network with prefix 20 cannot be automatically created"
    (networkDnsmasqConfLocalPTRs, virSocketAddrPTRDomain), when the network starts.
    """
    asked = [_address(one) for one in _root(text).findall("ip[@localPtr='yes']") if _is_ipv4(one)]
    return tuple(one for one in asked if one.network.prefixlen not in ZONES)


ZONES: Final = (8, 16, 24)
"""Prefixes for which DNS has a reverse zone: as many bits as labels have."""


def edit(text: str, wish: Fields, steps: Sequence[HostStep] = ()) -> str:
    """The XML with what is wished, and all else as it was."""
    root = _root(text)
    if wish.forward is not None:
        _set_forward(root, wish.forward)
    if wish.bridge is not None:
        xml.set_attribute(xml.child(root, "bridge", _ORDER), "name", wish.bridge)
    if wish.domain is not None:
        xml.set_attribute(xml.child(root, "domain", _ORDER), "name", wish.domain)
    ip, _ = _ip(root, wish.address)
    if wish.address is not None:
        if ip is None:  # beside one of IPv6, perhaps
            xml.place(root, ip := xml.element("ip"), _ORDER)
        _set_address(ip, wish.address)
    if ip is not None and (wish.dhcp or steps):
        dhcp = xml.child(ip, "dhcp", _IP_ORDER)
        if wish.dhcp:
            _set_range(dhcp, wish.dhcp)
        _set_hosts(dhcp, steps)
    return xml.serialise(root, text)


def new(name: str, wish: Fields, hosts: Sequence[Host]) -> str:
    """The XML of a network that is not there: NAT, and a bridge of libvirt's choice, unless wished."""
    root = etree.Element("network")
    etree.SubElement(root, "name").text = name
    etree.indent(root)
    steps = [HostStep(Update.ADD_LAST, at, host) for at, host in enumerate(hosts)]
    return edit(xml.plain(root), replace(wish, forward=wish.forward or "nat"), steps)


def host_xml(host: Host, command: Update) -> str:
    """The `<host>` for virNetworkUpdate; for a deletion, all of it that libvirt compares."""
    key = Host(host.mac, host.ip, host.name)
    return xml.plain(_host_element(key if command is Update.DELETE else host))


def range_xml(one: Range, command: Update = Update.ADD_LAST) -> str:
    """The `<range>` for virNetworkUpdate; for a deletion, all of it that libvirt compares."""
    return xml.plain(_range_element(Range(one.start, one.end) if command is Update.DELETE else one))


def normal_mac(text: str) -> str:
    """As libvirt compares addresses: in lower case, every byte with two digits (virMacAddrCompare)."""
    return ":".join(part.zfill(2) for part in text.lower().split(":"))


def _root(text: str) -> Element:
    root = xml.parse(text)
    if root.tag != "network":
        raise ValueError(f"not the XML of a network: <{root.tag!s}>")
    return root


def _attribute(root: Element, child: str, name: str) -> str | None:
    found = root.find(child)
    return None if found is None else found.get(name)


def _is_ipv4(ip: Element) -> bool:
    return ip.get("family", "ipv4") == "ipv4" and ip.get("address") is not None


def _has_dhcp(ip: Element) -> bool:
    return ip.find("dhcp/range") is not None or ip.find("dhcp/host") is not None


def _ip(root: Element, prefer: IPv4Interface | None) -> tuple[Element | None, int]:
    """Our `<ip>`, and its number where there are several (virNetworkIPDefByIndex)."""
    every = root.findall("ip")
    fitting = [one for one in every if _is_ipv4(one)]
    if not fitting:
        return None, -1
    preferred = [one for one in fitting if _address(one) == prefer] or list(filter(_has_dhcp, fitting))
    ours = (preferred or fitting)[0]
    return ours, every.index(ours) if len(every) > 1 else -1


def _address(ip: Element) -> IPv4Interface:
    address = ip.get("address", "")
    mask = ip.get("prefix") or ip.get("netmask")
    if mask is None:
        first = int(address.partition(".")[0])
        mask = str(next((prefix for below, prefix in _CLASSES if first < below), 32))
    return IPv4Interface(f"{address}/{mask}")


def _plain(address: str | None) -> str | None:
    """In the form in which equal addresses are equal texts."""
    return None if address is None else str(ip_address(address))


def _range(element: Element) -> Range:
    start, end = (_plain(element.get(word)) or "" for word in ("start", "end"))
    return Range(start, end, _more(element, "start", "end"), _inner(element))


def _inner(element: Element) -> tuple[str, ...]:
    """What stands in it, as it is for libvirt: without comments."""
    return tuple(xml.plain(child) for child in element if isinstance(child.tag, str))


def _more(element: Element, *words: str) -> tuple[tuple[str, str], ...]:
    return tuple((str(key), str(value)) for key, value in element.attrib.items() if key not in words)


def _range_element(one: Range) -> Element:
    element = etree.Element("range", {"start": one.start, "end": one.end} | dict(one.more))
    element.extend(map(xml.parse, one.inner))
    return element


def _host(element: Element) -> Host:
    mac = element.get("mac")
    return Host(
        mac=None if mac is None else normal_mac(mac),
        ip=_plain(element.get("ip")),
        name=element.get("name"),
        more=_more(element, "mac", "ip", "name"),
        inner=_inner(element),
    )


def _host_element(host: Host) -> Element:
    stated = (("mac", host.mac), ("name", host.name), ("ip", host.ip), *host.more)
    element = etree.Element("host", {key: value for key, value in stated if value is not None})
    element.extend(map(xml.parse, host.inner))
    return element


def _forward(root: Element) -> str:
    """`none` is what libvirt reads, and writes out as no `<forward>` (virNetworkForwardTypeFromString)."""
    found = root.find("forward")
    mode = "none" if found is None else found.get("mode", "nat")
    return ISOLATED if mode == "none" else mode


def _set_forward(root: Element, mode: str) -> None:
    """What another mode cannot have goes (networkValidate): ports of NAT, and the way out of `open`."""
    if mode == _forward(root):
        return
    if mode == ISOLATED:
        xml.take_out_all(root, "forward")
        return
    forward = xml.child(root, "forward", _ORDER)
    forward.set("mode", mode)
    if mode != "nat":
        xml.take_out_all(forward, "nat")
    if mode == "open":
        xml.take_out_all(forward, "interface")
        xml.set_attribute(forward, "dev", None)


def _set_address(ip: Element, address: IPv4Interface) -> None:
    """With the netmask where there is one: libvirt writes it as it was written."""
    if ip.get("address") is not None and _address(ip) == address:
        return
    ip.set("address", str(address.ip))
    if ip.get("netmask") is not None:
        ip.set("netmask", str(address.netmask))
    else:
        ip.set("prefix", str(address.network.prefixlen))


def _set_range(dhcp: Element, wanted: Range) -> None:
    found = dhcp.findall("range")
    new = wanted.in_place_of(list(map(_range, found)))
    kept = next((one for one in found if _range(one) == wanted), None)
    for one in found:
        if one is not kept:
            xml.take_out(one)
    if kept is None:
        xml.place(dhcp, _range_element(new), _DHCP_ORDER)


def _set_hosts(dhcp: Element, steps: Sequence[HostStep]) -> None:
    for step in steps:
        hosts = dhcp.findall("host")
        match step.command:
            case Update.ADD_LAST:
                xml.place(dhcp, _host_element(step.host), _DHCP_ORDER)
            case Update.DELETE:
                xml.take_out(hosts[step.at])
            case Update.MODIFY:
                new = _host_element(step.host)
                new.tail = hosts[step.at].tail
                dhcp.replace(hosts[step.at], new)
