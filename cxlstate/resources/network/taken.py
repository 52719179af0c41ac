"""What others of the host have that a network is to have: the name of its bridge, or its addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import count
from typing import Final

from cxlstate.core.answers import Answers
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.read import File

ROUTES: Final = File("/proc/net/route")
"""`IFACE DESTINATION GATEWAY FLAGS REFCNT USE METRIC MASK …` (fib_route_seq_show in net/ipv4/fib_trie.c)."""

_ROUTE: Final = re.compile(r"^(\S+)\t([0-9A-F]{8})\t([0-9A-F]{8})\t(?:\w+\t){4}([0-9A-F]{8})\t", re.MULTILINE)


_SELDOM: Final = 10
"""A number that libvirt has given to no network that is down: it counts from 0."""


@dataclass(frozen=True, slots=True)
class Route:
    """Addresses that the host reaches by an interface, without a gateway if `direct`."""

    interface: str
    network: IPv4Network
    direct: bool


def routes(answers: Answers) -> tuple[Route, ...]:
    """Those of the main table without the default ones. Raises ReadFailed."""
    every = (_route(*fields) for fields in _ROUTE.findall(answers.text_or_none(ROUTES) or ""))
    return tuple(one for one in every if one.network.prefixlen)


def _route(interface: str, to: str, gateway: str, mask: str) -> Route:
    """Each number as it lies in the memory of a little-endian machine."""
    bits = int(mask, 16).bit_count()
    network = IPv4Network((_address(to), bits), strict=False)
    return Route(interface, network, direct=int(gateway, 16) == 0)


def _address(text: str) -> IPv4Address:
    return IPv4Address(bytes.fromhex(text)[::-1])


def problems(
    bridge: str | None,
    address: IPv4Interface | None,
    interfaces: frozenset[str],
    found: tuple[Route, ...],
    *,
    new: bool,
) -> Iterator[Diagnostic]:
    """Of what a network is to start with. What is there may be another network's, and go in this apply."""
    if bridge and bridge in interfaces:
        free = next(name for number in count(_SELDOM) if (name := f"virbr{number}") not in interfaces)
        choose = "leave out bridge: libvirt chooses one that is free" if new else f"write bridge: {free}"
        yield Diagnostic(
            "CXN313",
            f"the host has another interface {bridge}",
            Severity.WARNING,
            path=("bridge",),
            found=f"/sys/class/net/{bridge}, which is not of this network",
            expected="a name that no interface has",
            hint=choose
            + (f"; or, if it is left behind: ip link delete {bridge}" if _of_libvirt(bridge) else ""),
        )
    if address and (route := _in_the_way(address, found)):
        yield Diagnostic(
            "CXN313",
            f"the host reaches addresses of the network by {route.interface}",
            Severity.WARNING,
            path=("address",),
            found=f"a route to {route.network} by {route.interface}",
            expected=f"no other route into {address.network}",
            hint=f"write address: {_free(found)} (one that is free here)",
        )


def _in_the_way(address: IPv4Interface, found: tuple[Route, ...]) -> Route | None:
    """Of the very same subnet: libvirt refuses it (networkCheckRouteCollision).

    Neighbours of the host in a part of it, or around it, would be cut off.
    """
    direct = (one for one in found if one.direct and one.network.overlaps(address.network))
    return next((one for one in found if one.network == address.network), next(direct, None))


def _free(found: tuple[Route, ...]) -> IPv4Interface:
    """Beside that of the network default, which may be down."""
    every = (IPv4Interface(f"192.168.{number}.1/24") for number in range(123, 255))
    return next((one for one in every if not _in_the_way(one, found)), IPv4Interface("10.122.122.1/24"))


def _of_libvirt(bridge: str) -> bool:
    """Whether nobody else makes bridges of such a name: another one may carry the host's own connection."""
    return bridge.startswith("virbr")
