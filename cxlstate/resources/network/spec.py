"""What may be said of a network: whether it runs, what it is, and who gets which address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, check, problem, readable
from cxlstate.core.path import Path
from cxlstate.formats.network_xml import Fields, Range

_NAME: Final = "[A-Za-z0-9_][A-Za-z0-9_.+-]{0,62}"
_MAC: Final = "[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}"
_BRIDGE: Final = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}"  # IFNAMSIZ of the kernel is 16
_LABEL: Final = "[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
_DOTTED: Final = rf"{_LABEL}(\.{_LABEL})*"
_DOMAIN_LABEL: Final = "[A-Za-z0-9][A-Za-z0-9-]{0,62}"  # dnsName of libvirt's schema has no _
_DOMAIN: Final = rf"{_DOMAIN_LABEL}(\.{_DOMAIN_LABEL})*"
_DOTTED_QUAD: Final = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"
_LONGEST_NAME: Final = 253

_NO_NAME: Final = re.compile(r"[0-9]+[wdhmsWDHMS]?|ignore|infinite")
"""Words in which dnsmasq sees a lease time or an order (dhcp-host in its manual)."""

_UNIQUE: Final = {"mac": "MAC address", "ip": "address", "name": "name"}
"""What no two reservations may share."""

_MAX_PREFIX: Final = 30
_MAX_RANGE: Final = 65535  # virSocketAddrGetRange


def _name(text: str) -> str:
    """It is the name of a file below /etc/cxlstate/networks."""
    if not re.fullmatch(_NAME, text):
        raise problem(
            "CXN201",
            "invalid network name",
            found=text[:80],
            expected="letters, digits, _ . + and -, at most 63 of them, a letter, digit or _ first",
            hint="virsh net-list --all shows the names there are",
        )
    return text


def _ip(value: object) -> IPv4Address:
    try:
        if isinstance(value, str) and re.fullmatch(_DOTTED_QUAD, value):
            return IPv4Address(value)
    except ValueError:
        pass
    raise problem(
        "CXN202", "invalid IPv4 address", found=str(value)[:80], expected="an address such as 192.168.122.110"
    )


def _interface(value: object) -> IPv4Interface:
    """The host's own address, and how far the network reaches."""
    expected = "an address of a host with its prefix, at most /30, such as 192.168.122.1/24"
    text = str(value)
    hint = None
    try:
        if isinstance(value, str) and re.fullmatch(rf"{_DOTTED_QUAD}/[0-9]{{1,2}}", text):
            found = IPv4Interface(value)
            if _is_usable(found):
                if _is_host(found.ip, found.network):
                    return found
                first = found.network.network_address + 1
                hint = f"write {first}/{found.network.prefixlen}"
        elif isinstance(value, str):
            found = IPv4Interface(value)
            hint = f"write {found.ip}/{24 if '/' not in text else found.network.prefixlen}"
    except ValueError:
        pass
    raise problem("CXN203", "invalid network address", found=text[:80], expected=expected, hint=hint)


def _is_usable(found: IPv4Interface) -> bool:
    ip = found.ip
    special = ip.is_multicast or ip.is_loopback or ip.is_unspecified or ip.is_reserved
    return not special and 0 < found.network.prefixlen <= _MAX_PREFIX


def _is_host(ip: IPv4Address, network: IPv4Network) -> bool:
    return ip in network and ip not in (network.network_address, network.broadcast_address)


def _mac(text: str) -> str:
    if not re.fullmatch(_MAC, text):
        dashed = re.fullmatch(_MAC, text.replace("-", ":"))
        raise problem(
            "CXN204",
            "invalid MAC address",
            found=text[:80],
            expected="six bytes in hex, such as 52:54:00:fc:10:bd",
            hint=f"write {text.replace('-', ':').lower()}" if dashed else None,
        )
    if int(text[:2], 16) & 1:
        raise problem(
            "CXN204",
            "multicast addresses cannot be reserved",
            found=text,
            expected="a unicast MAC address: an even first byte",
            hint="KVM guests have addresses that begin with 52:54:00",
        )
    return text.lower()


def _host_name(text: str) -> str:
    if not re.fullmatch(_DOTTED, text) or len(text) > _LONGEST_NAME or _NO_NAME.fullmatch(text):
        mistaken = _NO_NAME.fullmatch(text)
        raise problem(
            "CXN205",
            "invalid host name",
            found=text[:80],
            expected="letters, digits, - and _, a letter or digit first",
            hint="dnsmasq takes this word for a lease time or an order" if mistaken else None,
        )
    return text


def _bridge(text: str) -> str:
    if not re.fullmatch(_BRIDGE, text):
        raise problem(
            "CXN206",
            "invalid bridge name",
            found=text[:80],
            expected="the name of a network interface: at most 15 letters, digits, _ . and -",
            hint="leave it out, and libvirt takes the next free virbrN",
        )
    return text


def _domain(text: str) -> str:
    if not re.fullmatch(_DOMAIN, text) or len(text) > _LONGEST_NAME:
        raise problem(
            "CXN207",
            "invalid DNS domain",
            found=text[:80],
            expected="names of letters, digits and - with dots between them, such as vms.example.org",
        )
    return text


def _text(pattern: str, description: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "pattern": f"^{pattern}$", "description": description, "examples": list(examples)}
    )


NetworkName = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})
]
Ip = Annotated[
    IPv4Address,
    PlainValidator(_ip),
    PlainSerializer(str, return_type=str),
    _text(_DOTTED_QUAD, "An IPv4 address", "192.168.122.110"),
]
Interface = Annotated[
    IPv4Interface,
    PlainValidator(_interface),
    PlainSerializer(str, return_type=str),
    _text(f"{_DOTTED_QUAD}/[0-9]{{1,2}}", "An IPv4 address with its prefix", "192.168.122.1/24"),
]
Mac = Annotated[str, AfterValidator(_mac), _text(_MAC, "A MAC address", "52:54:00:fc:10:bd")]
HostName = Annotated[str, AfterValidator(_host_name), _text(_DOTTED, "A host name", "cxl_vmx")]
Bridge = Annotated[str, AfterValidator(_bridge), _text(_BRIDGE, "A bridge's name", "virbr0")]
Domain = Annotated[str, AfterValidator(_domain), _text(_DOMAIN, "A DNS domain", "vms.example.org")]


class Dhcp(Model):
    """The addresses that are given to whoever asks."""

    start: Ip
    """The first one."""

    end: Ip
    """The last one."""

    @check
    def _is_a_range(self) -> Iterator[Diagnostic]:
        if not 0 <= int(self.end) - int(self.start) < _MAX_RANGE:
            yield Diagnostic(
                "CXN208",
                "invalid range of addresses",
                path=("end",),
                found=f"{self.start}-{self.end}",
                expected=f"an end that is not before the start, and at most {_MAX_RANGE} addresses",
            )


class Reservation(Model):
    """Which address the guest with this MAC address gets."""

    mac: Mac
    """The MAC address of the guest's interface."""

    ip: Ip | None = None
    """The address it gets. Needed, unless `state` is `absent`."""

    name: HostName | None = None
    """The name that DNS knows it by. As it is, unless written."""

    state: Literal["present", "absent"] = "present"
    """`absent`: there is none for this MAC address."""

    @check
    def _has_an_address(self) -> Iterator[Diagnostic]:
        if self.state == "present" and self.ip is None:
            yield Diagnostic(
                "CXN209",
                "the reservation has no address",
                found=self.mac,
                expected="ip: the address that is reserved",
                hint="write state: absent, if it has to go",
            )

    def reserved(self, word: str) -> str | None:
        """The MAC address, or what is reserved for it, as no other reservation may have it."""
        if word == "mac":
            return self.mac
        value = getattr(self, word) if self.state == "present" else None
        return None if value is None else str(value).lower()


class NetworkSpec(Model):
    """A network by its name. What is not written stays as it is."""

    state: Literal["present", "absent"] = "present"
    """`absent`: stopped and undefined."""

    active: bool | None = None
    """Whether it runs now."""

    autostart: bool | None = None
    """Whether libvirt starts it with the host."""

    address: Interface | None = None
    """The host's address on it, with the prefix. With it, a missing network is made."""

    dhcp: Dhcp | None = None
    """What DHCP gives out, besides the reservations."""

    bridge: Bridge | None = None
    """The network interface of the host that it is."""

    forward: Literal["nat", "route", "open", "isolated"] | None = None
    """How guests get out: `nat`, `route`, `open` (no firewall rules of libvirt), or not at all."""

    domain: Domain | None = None
    """The DNS domain of the guests."""

    reservations: Annotated[tuple[Reservation, ...], Field(strict=False)] = ()
    """Addresses that stay with a MAC address. What others have reserved is kept."""

    @check
    def _range_is_within(self) -> Iterator[Diagnostic]:
        if self.address:
            yield from (_outside(*one, self.address) for one in self._ends_outside(self.address))

    @check
    def _reservations_are_within(self) -> Iterator[Diagnostic]:
        if self.address:
            yield from (_outside(*one, self.address) for one in self._reserved_outside(self.address))

    @check
    def _nothing_is_reserved_twice(self) -> Iterator[Diagnostic]:
        words = [(number, word) for number in range(len(self.reservations)) for word in _UNIQUE]
        first: dict[tuple[str, str], int] = {}
        for index, value in readable(words, lambda one: self.reservations[one[0]].reserved(one[1])):
            number, word = words[index]
            if value is not None and first.setdefault((word, value), number) != number:
                yield _same(("reservations", number, word), value, first[word, value])

    def outside(self, address: IPv4Interface) -> Iterator[tuple[Path, IPv4Address]]:
        """What is written and can be nobody's address on such a network, with its place."""
        yield from self._ends_outside(address)
        yield from self._reserved_outside(address)

    def _ends_outside(self, address: IPv4Interface) -> Iterator[tuple[Path, IPv4Address]]:
        ends = ("start", "end") if self.dhcp else ()
        for number, ip in readable(ends, lambda end: getattr(self.dhcp, end)):
            if not _is_host(ip, address.network):
                yield ("dhcp", ends[number]), ip

    def _reserved_outside(self, address: IPv4Interface) -> Iterator[tuple[Path, IPv4Address]]:
        for number, ip in readable(self.reservations, lambda one: one.state == "present" and one.ip):
            if ip and not is_free(ip, address):
                yield ("reservations", number, "ip"), ip

    @property
    def fields(self) -> Fields:
        """What is wished of the definition."""
        dhcp = Range(str(self.dhcp.start), str(self.dhcp.end)) if self.dhcp else None
        return Fields(self.address, dhcp, self.bridge, self.forward, self.domain)


def is_free(ip: IPv4Address, address: IPv4Interface) -> bool:
    """Whether a guest can have it on a network where the host has that address."""
    return _is_host(ip, address.network) and ip != address.ip


def _outside(path: Path, ip: IPv4Address, address: IPv4Interface) -> Diagnostic:
    return Diagnostic("CXN210", path=path, **outside_words(ip, address))


def outside_words(ip: IPv4Address, address: IPv4Interface) -> dict[str, Any]:
    """The words for an address that no guest can have."""
    network = address.network
    own = " (the host's own)" if ip == address.ip else ""
    first, last = network.network_address + 1, network.broadcast_address - 1
    if address.ip in (first, last):
        between = f"{first + (address.ip == first)} to {last - (address.ip == last)}"
    else:
        between = f"{first} to {address.ip - 1}, or {address.ip + 1} to {last}"
    return {
        "message": f"no guest can have this address on {network}",
        "found": f"{ip}{own}",
        "expected": between,
    }


def fitting(spec: NetworkSpec) -> IPv4Interface:
    """An address of the host with which all that the spec says of the network is within it."""
    ips = [one.ip for one in spec.reservations if one.state == "present" and one.ip is not None]
    wished = {*ips, *((spec.dhcp.start, spec.dhcp.end) if spec.dhcp else ())}
    first = min(wished, default=IPv4Address("192.168.122.2"))
    for prefix in range(24, 0, -1):
        network = IPv4Network((first, prefix), strict=False)
        free = next(one for one in network.hosts() if one not in wished)
        if all(_is_host(ip, network) for ip in wished):
            break
    return IPv4Interface((free, prefix))


def widest(address: IPv4Interface) -> tuple[IPv4Address, IPv4Address]:
    """The first and last address that can be given out beside the host's own, at most what libvirt takes."""
    network = address.network
    start, end = network.network_address + 1, network.broadcast_address - 1
    low, high = (start, address.ip - 1), (address.ip + 1, end)
    start, end = max(low, high, key=lambda one: int(one[1]) - int(one[0]))
    return start, min(end, start + _MAX_RANGE - 1)


def _same(path: Path, value: str, before: int) -> Diagnostic:
    what = _UNIQUE[str(path[-1])]
    return Diagnostic(
        "CXN211",
        f"two reservations have the same {what}",
        path=path,
        found=f"{value}, as in reservations[{before}]",
        expected=f"another {what} in each",
    )
