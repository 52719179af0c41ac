"""What may be said of port forwards: where the host listens, where that leads, and for whom."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    RootModel,
    WithJsonSchema,
)

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, Refused, check, problem, readable, written
from cxlstate.formats.forward_table import ORIGINS

_NAME: Final = "[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_INTERFACE: Final = "[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,14}"  # IFNAMSIZ of the kernel is 16
_DOTTED: Final = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"
_PORTS: Final = r"([0-9]{1,5})-([0-9]{1,5})"
_LAST: Final = 65535

MAX_MOVED: Final = 1024
"""A range that keeps its numbers is one element of a map, one that does not is an element a port."""


def _name(text: str) -> str:
    """It is the comment of an element of a map of nftables."""
    if not re.fullmatch(_NAME, text):
        raise problem(
            "CXY201",
            "invalid name of a forward",
            found=text[:80],
            expected="letters, digits, _ . and -, at most 63 of them, a letter or digit first",
        )
    return text


def _address(value: object) -> IPv4Address:
    try:
        found = IPv4Address(value) if isinstance(value, str) and re.fullmatch(_DOTTED, value) else None
    except ValueError:
        found = None
    if found is None or found.is_multicast or found.is_loopback or found.is_unspecified or found.is_reserved:
        raise problem(
            "CXY202",
            "not the IPv4 address of an interface",
            found=str(value)[:80],
            expected="an address such as 192.0.2.1",
            hint="leave it out to listen on every address of the host" if value == "0.0.0.0" else None,  # noqa: S104  # it is refused
        )
    return found


def _interface(text: str) -> str:
    if not re.fullmatch(_INTERFACE, text):
        raise problem(
            "CXY203",
            "invalid name of a network interface",
            found=text[:80],
            expected="at most 15 letters, digits, _ . @ : and -",
            hint="`ip -brief link` shows the names there are",
        )
    return text


def _ports(value: object) -> tuple[int, int]:
    match = re.fullmatch(_PORTS, value) if isinstance(value, str) else None
    if match is None or not 0 < int(match[1]) < int(match[2]) <= _LAST:
        raise problem(
            "CXY204",
            "not a range of ports",
            found=str(value)[:80],
            expected=f"the first and the last, 1 to {_LAST}, such as 9000-9009",
            hint=f"write `port: {value}` for a single one" if isinstance(value, int) else None,
        )
    return int(match[1]), int(match[2])


def _origins(value: object) -> tuple[str, ...]:
    if (
        not isinstance(value, list | tuple)
        or not value
        or not set(map(str, value)) <= set(ORIGINS)
        or len(set(value)) < len(value)
    ):
        local = isinstance(value, list) and "localhost" in value
        raise problem(
            "CXY205",
            "not a list of who may use the forward",
            found=str(value)[:80],
            expected=f"some of {', '.join(ORIGINS)}",
            hint="127.0.0.1 cannot lead to a guest: that would open what listens there to all guests; "
            "`cxlstate explain CXY205`"
            if local
            else None,
        )
    return tuple(origin for origin in ORIGINS if origin in value)


def _text(pattern: str, description: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "pattern": f"^{pattern}$", "description": description, "examples": list(examples)}
    )


ForwardName = Annotated[str, AfterValidator(_name), _text(_NAME, "A name of your own", "web")]
Address = Annotated[
    IPv4Address,
    PlainValidator(_address),
    PlainSerializer(str, return_type=str),
    _text(_DOTTED, "An IPv4 address", "192.0.2.1"),
]
Interface = Annotated[str, AfterValidator(_interface), _text(_INTERFACE, "A network interface", "eno1")]
Port = Annotated[int, Field(ge=1, le=_LAST)]
Ports = Annotated[
    tuple[int, int],
    PlainValidator(_ports),
    PlainSerializer(lambda ports: f"{ports[0]}-{ports[1]}", return_type=str),
    _text(_PORTS, "The first and the last port", "9000-9009"),
]
Origins = Annotated[
    tuple[str, ...],
    PlainValidator(_origins),
    PlainSerializer(list, return_type=list[str]),
    WithJsonSchema({"type": "array", "items": {"enum": list(ORIGINS)}, "minItems": 1, "uniqueItems": True}),
]


class Listen(Model):
    """What is forwarded: connections to these ports of the host."""

    port: Port | None = Field(default=None, examples=[8080])
    """The port."""

    ports: Ports | None = Field(default=None, examples=["9000-9009"])
    """Or a range of them."""

    protocol: Literal["tcp", "udp"] = "tcp"
    """TCP or UDP."""

    interface: Interface | None = None
    """Only what comes in by this interface."""

    address: Address | None = None
    """Only what is for this address of the host."""

    @check
    def _ports_are_named_once(self) -> Iterator[Diagnostic]:
        ways = written(self, "port", "ports")
        if len(ways) != 1:
            yield Diagnostic(
                "CXY206",
                "`port` and `ports` exclude each other" if ways else "`port` or `ports` is required",
                path=("ports",) if ways else (),
                found="both" if ways else "neither",
                expected="port: 8080, or ports: 9000-9009",
            )

    @property
    def range(self) -> tuple[int, int]:
        """The first and the last port."""
        if self.ports is not None:
            return self.ports
        if self.port is None:
            raise Refused("port")
        return self.port, self.port


class To(Model):
    """Where it leads."""

    vm: Annotated[str | None, Field(min_length=1)] = Field(default=None, examples=["cxl_vmx"])
    """A VM of this spec, at the address that a network reserves for it."""

    address: Address | None = None
    """Or an address."""

    port: Port | None = None
    """The port there, of a range the first. The same as on the host unless written."""

    @check
    def _is_one_place(self) -> Iterator[Diagnostic]:
        ways = written(self, "vm", "address")
        if len(ways) != 1:
            yield Diagnostic(
                "CXY207",
                "`vm` and `address` exclude each other" if ways else "`vm` or `address` is required",
                path=("address",) if ways else (),
                found="both" if ways else "neither",
                expected="vm: NAME, or address: 192.168.122.110",
            )


class Forward(Model):
    """A port of the host, or a range of them, that leads to a guest."""

    model_config = ConfigDict(populate_by_name=False)

    listen: Listen
    """What is forwarded."""

    to: To
    """Where it leads."""

    origins: Origins | None = Field(default=None, alias="from", examples=[["outside"]])
    """Whose connections: those from `outside`, of the `host` itself, of `guests` (the one that it leads to
    included). All of them, unless written; with an interface and no address, those from outside alone."""

    state: Literal["present", "absent"] = "present"
    """`absent`: there is no such forward."""

    @property
    def wanted(self) -> bool:
        """Whether it is to be there."""
        return self.state == "present"

    @property
    def sources(self) -> tuple[str, ...]:
        """Whose connections, in effect."""
        if self.origins is not None:
            return self.origins
        return ORIGINS[:1] if self.listen.interface and not self.listen.address else ORIGINS

    @property
    def moved(self) -> bool:
        """Whether the port there is another than on the host."""
        return self.to.port not in (None, self.listen.range[0])

    @check
    def _an_interface_is_for_outside(self) -> Iterator[Diagnostic]:
        inner = [origin for origin in self.origins or () if origin != ORIGINS[0]]
        if self.wanted and inner and self.listen.interface and not self.listen.address:
            yield Diagnostic(
                "CXY208",
                f"connections of {' and '.join(inner)} never come in by {self.listen.interface}",
                path=("from",),
                found=f"interface: {self.listen.interface}, and no address",
                expected="from: [outside], or an address of the host to listen on",
                hint=f"write listen.address: the address of {self.listen.interface} that they connect to",
            )

    @check
    def _ports_there_exist(self) -> Iterator[Diagnostic]:
        first, last = self.listen.range
        if self.to.port is not None and self.to.port + last - first > _LAST:
            yield Diagnostic(
                "CXY209",
                "the range does not fit there",
                path=("to", "port"),
                found=f"{last - first + 1} ports from {self.to.port} on",
                expected=f"a first port of at most {_LAST - last + first}",
            )

    @check
    def _a_range_that_moves_is_short(self) -> Iterator[Diagnostic]:
        first, last = self.listen.range
        if self.moved and last - first >= MAX_MOVED:
            yield Diagnostic(
                "CXY210",
                "too many ports to renumber",
                path=("to", "port"),
                found=f"{last - first + 1} ports",
                expected=f"at most {MAX_MOVED}, or the same numbers there",
                hint="leave `to.port` out",
            )

    def clashes(self, other: Forward) -> bool:
        """Whether a connection to the same port could be meant by both.

        The interface counts for what comes from outside alone.
        """
        one, two = self.listen, other.listen
        common = set(self.sources) & set(other.sources)
        if one.interface and two.interface and one.interface != two.interface:
            common -= {ORIGINS[0]}
        return bool(common) and not (one.address and two.address and one.address != two.address)


class ForwardsSpec(RootModel[Mapping[ForwardName, Forward]]):
    """Port forwards to guests, by name. They stand in a table of their own, and no other rule is touched."""

    model_config = ConfigDict(frozen=True, strict=True)

    @property
    def present(self) -> dict[str, Forward]:
        """Those that are to be there."""
        return {name: one for name, one in self.root.items() if one.wanted}

    @check
    def _are_apart(self) -> Iterator[Diagnostic]:
        """Of a thousand each is compared with its neighbours only."""
        forwards = list(self.root.items())
        ranges = readable(forwards, lambda one: (one[1].wanted, one[1].listen.protocol, *one[1].listen.range))
        before: list[tuple[str, int, int]] = []
        for index, (wanted, of, first, last) in sorted(ranges, key=lambda one: one[1]):
            if wanted:
                before = [one for one in before if one[0] == of and one[1] >= first]
                for _, _, other in before:
                    yield from _clash(*forwards[min(index, other)], *forwards[max(index, other)])
                before.append((of, last, index))


def _clash(before: str, one: Forward, name: str, other: Forward) -> Iterator[Diagnostic]:
    with suppress(Refused):
        if one.clashes(other):
            yield Diagnostic(
                "CXY211",
                f"{before} and {name} forward the same port",
                path=(name, "listen", "ports" if other.listen.ports else "port"),
                found=_told(other.listen),
                expected=f"ports, an address or an interface apart from {before}: {_told(one.listen)}",
            )


def _told(listen: Listen) -> str:
    first, last = listen.range
    ports = str(first) if first == last else f"{first}-{last}"
    address = f" for {listen.address}" if listen.address else ""
    return f"{listen.protocol} {ports}{address}{f' on {listen.interface}' if listen.interface else ''}"
