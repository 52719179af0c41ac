"""The nftables table `inet cxlstate`, which translates addresses: text for `nft -f`, and what `nft -j` lists.

Nobody else writes to a table of this name, and it is replaced as a whole, in one transaction. Written is
text, since nft 1.0.6 crashes on the JSON of a map whose data are two values; read is JSON, which names those
data in one word there and in a list in 1.1.

A map for each origin, way of listening, and whether the port stays: however many forwards there are, a packet
is looked up a few times. What a forward lets through is marked, and the mark is what the filters of others
are asked to accept (`filter_gate`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, collapse_addresses
from itertools import groupby
from typing import Any, Final

from cxlstate.formats.filter_gate import MARK

FAMILY: Final = "inet"
NAME: Final = "cxlstate"
ORIGINS: Final = ("outside", "host", "guests")
"""Where a connection comes from."""

_FORMS: Final = (("interface", "address"), ("interface",), ("address",), ())
"""How a forward can listen, the narrowest first."""

_KEY: Final = {"interface": ("ifname", "iifname"), "address": ("ipv4_addr", "ip daddr")}
_SAME: Final = "same"
_MOVED: Final = "moved"
_HOOKS: Final = {
    "prerouting": ("nat", "prerouting", -101),  # before the DNAT of iptables, and of Docker, at -100
    "output": ("nat", "output", -101),
    "postrouting": ("nat", "postrouting", 99),
    "tag": ("filter", "forward", -151),
}
_OURS: Final = "meta nfproto ipv4 fib daddr type local"
_FIRST: Final = "ct direction original ip daddr . meta l4proto . th dport"
_MARKED: Final = f"ct mark & {MARK:#010x} == {MARK:#010x}"
_RULES: Final[Mapping[str, Mapping[str, str]]] = {
    "prerouting": {
        "guests": f"{_OURS} ip saddr @networks jump guests",
        "outside": f"{_OURS} ip saddr != @networks jump outside",
    },
    "output": {"host": f"{_OURS} ip daddr != 127.0.0.0/8 jump host"},
    "postrouting": {"hairpin": "ct status dnat ip saddr . ip daddr @hairpin masquerade"},
    "tag": {
        "let through": f"ct status dnat {_FIRST} @targets ct mark set ct mark | {MARK:#010x}",
        "forward is gone": f"meta l4proto {{ tcp, udp }} {_MARKED} {_FIRST} != @targets drop",
    },
}
"""The rules of the chains with a hook, each by the comment that it carries."""


@dataclass(frozen=True, order=True, slots=True)
class Element:
    """An element of a map: connections from an origin to some ports lead to an address.

    `to_port` 0: the port stays the same. An empty `interface` or `address`: any.
    """

    origin: str
    protocol: str
    first: int
    last: int
    to: str
    to_port: int = 0
    interface: str = ""
    address: str = ""

    @property
    def map(self) -> str:
        """The name of its map."""
        form = [word for word in _KEY if getattr(self, word)]
        return "_".join((self.origin, *(form or ["any"]), _MOVED if self.to_port else _SAME))

    @property
    def key(self) -> str:
        """As it stands in the text of the table."""
        ways = [f'"{self.interface}"'] if self.interface else []
        ways += [self.address] if self.address else []
        return " . ".join((*ways, self.protocol, _ports(self.first, self.last)))

    @property
    def data(self) -> str:
        """Where it leads, likewise."""
        return f"{self.to} . {self.to_port}" if self.to_port else self.to


@dataclass(frozen=True)
class Table:
    """What the table is made of: elements by the name of the forward that they belong to, and networks.

    `networks` are those of guests, none within another. `strange` is what of a table that was read is of no
    form that we write, or missing.
    """

    forwards: Mapping[str, frozenset[Element]] = field(default_factory=dict)
    networks: frozenset[IPv4Network] = frozenset()
    strange: tuple[str, ...] = ()

    @property
    def elements(self) -> Iterator[tuple[str, Element]]:
        """All of them, in the order of the text."""
        return iter(
            sorted(
                ((name, one) for name, many in self.forwards.items() for one in many),
                key=lambda each: (each[1].map, each[1], each[0]),
            )
        )

    @property
    def targets(self) -> frozenset[str]:
        """Where connections are let through to: no two overlap, which a set of intervals would refuse."""
        ports: defaultdict[tuple[str, str], set[tuple[int, int]]] = defaultdict(set)
        for _, one in self.elements:
            first, last = (one.to_port, one.to_port) if one.to_port else (one.first, one.last)
            ports[one.to, one.protocol].add((first, last))
        return frozenset(
            f"{to} . {protocol} . {_ports(*one)}"
            for (to, protocol), ranges in ports.items()
            for one in _merged(ranges)
        )

    @property
    def hairpins(self) -> frozenset[str]:
        """Networks in which the answer has to come back through the host."""
        return frozenset(f"{one} . {one}" for one in self.networks)


def render(table: Table) -> str:
    """The text for `nft -f`: whatever is there of the table goes in the same transaction."""
    head = f"table {FAMILY} {NAME}"
    lines = [
        "# Written by cxlstate. Edits are undone by the next apply.",
        *(head, f"delete {head}", f"{head} {{"),
    ]
    by_map = {name: list(many) for name, many in groupby(table.elements, key=lambda each: each[1].map)}
    for name, many in by_map.items():
        lines += _map(name, many)
    lines += _set("networks", "ipv4_addr", _joined(table.networks))
    lines += _set("hairpin", "ipv4_addr . ipv4_addr", table.hairpins)
    lines += _set("targets", "ipv4_addr . inet_proto . inet_service", table.targets)
    for chain, rules in _chains(by_map).items():
        lines += _chain(chain, rules)
    return "\n".join((*lines, "}", ""))


def parse(text: str) -> Table:
    """What `nft -j list table` says. An error of Python's own for JSON of another form."""
    return _read([(kind, one) for each in json.loads(text)["nftables"] for kind, one in each.items()])


def _read(objects: Iterable[tuple[str, Any]]) -> Table:
    forwards: defaultdict[str, set[Element]] = defaultdict(set)
    sets: dict[str, frozenset[str]] = {}
    chains: dict[str, list[str]] = {}
    strange = []
    for kind, one in objects:
        match kind:
            case "metainfo" | "table":
                pass
            case "map":
                for name, element in _elements(one):
                    forwards[name].add(element)
            case "set":
                sets[one["name"]] = frozenset(_key_text(each) for each in one.get("elem", ()))
            case "chain":
                chains[one["name"]] = []
                if (said := _hook(one)) != _HOOKS.get(one["name"]):
                    strange.append(f"chain {one['name']}: {said}")
            case "rule":
                chains[one["chain"]].append(str(one.get("comment", "")))
            case _:
                strange.append(kind)
    read = Table({name: frozenset(many) for name, many in forwards.items()}, _networks(sets))
    return replace(read, strange=(*strange, *_unlike(read, sets, chains)))


def _unlike(
    read: Table, sets: Mapping[str, frozenset[str]], chains: Mapping[str, list[str]]
) -> Iterator[str]:
    """What does not go with the forwards of a table that was read."""
    wanted = {one.map: True for _, one in read.elements}
    for chain, rules in _chains(wanted).items():
        if chains.get(chain) != list(rules):
            yield f"chain {chain}"
    yield from (f"chain {name}" for name in chains.keys() - _chains(wanted).keys())
    sets_of = {"targets": read.targets, "hairpin": read.hairpins, "networks": _joined(read.networks)}
    for name, elements in sets_of.items():
        if sets.get(name) != elements:
            yield f"set {name}"


def _chains(maps: Collection[str]) -> Mapping[str, Mapping[str, str]]:
    """Every chain with its rules by their comments."""
    origins = {origin: dict(_lookups(origin, maps)) for origin in ORIGINS}
    return {**origins, **_RULES}


def _lookups(origin: str, maps: Collection[str]) -> Iterator[tuple[str, str]]:
    """A rule for each map of an origin, the narrowest first."""
    for form in _FORMS:
        for kept in (_SAME, _MOVED):
            name = "_".join((origin, *(form or ("any",)), kept))
            if name in maps:
                ways = " . ".join((*(_KEY[word][1] for word in form), "meta l4proto", "th dport"))
                yield name, f"dnat ip to {ways} map @{name}"


def _map(name: str, many: Iterable[tuple[str, Element]]) -> Iterator[str]:
    many = list(many)
    ways = [kind for word, (kind, _) in _KEY.items() if getattr(many[0][1], word)]
    moved = bool(many[0][1].to_port)
    yield f" map {name} {{"
    yield f"  type {' . '.join((*ways, 'inet_proto', 'inet_service'))} : ipv4_addr{' . inet_service' * moved}"
    if not moved:
        yield "  flags interval"
    elements = [f'   {one.key} comment "{forward}" : {one.data}' for forward, one in many]
    yield from ("  elements = {", ",\n".join(elements), "  }", " }")


def _set(name: str, kind: str, elements: Iterable[str]) -> Iterator[str]:
    yield from (f" set {name} {{", f"  type {kind}", "  flags interval")
    if elements := sorted(elements):
        yield from ("  elements = {", ",\n".join(f"   {one}" for one in elements), "  }")
    yield " }"


def _chain(name: str, rules: Mapping[str, str]) -> Iterator[str]:
    yield f" chain {name} {{"
    if name in _HOOKS:
        kind, hook, priority = _HOOKS[name]
        yield f"  type {kind} hook {hook} priority {priority}; policy accept;"
    yield from (f'  {rule} comment "{comment}"' for comment, rule in rules.items())
    yield " }"


def _hook(chain: Mapping[str, Any]) -> tuple[str, str, int] | None:
    if "hook" not in chain:
        return None
    name = f"{chain['type']}{' drop' * (chain.get('policy') == 'drop')}"
    return name, chain["hook"], chain["prio"]


def _elements(one: Mapping[str, Any]) -> Iterator[tuple[str, Element]]:
    """A map of another name, or an element without a comment, is told as a forward without a name."""
    origin, _, way = one["name"].partition("_")
    words = [word for word in _KEY if word in way.split("_")]
    for key, data in one.get("elem", ()):
        element = key.get("elem", {"val": key}) if isinstance(key, dict) else {"val": key}
        values = dict(zip((*words, "protocol", "ports"), element["val"]["concat"], strict=True))
        ports = values.pop("ports")
        first, last = map(int, ports["range"] if isinstance(ports, dict) else (ports, ports))
        to, to_port = data["concat"] if isinstance(data, dict) else (data, 0)
        said = {word: str(value) for word, value in values.items()}
        found = Element(origin, first=first, last=last, to=str(to), to_port=int(to_port), **said)
        yield str(element.get("comment", "")), found


def _key_text(element: Any) -> str:
    """An element of a set, as we write it."""
    match element:
        case {"elem": {"val": value}} | {"concat": [value]}:
            return _key_text(value)
        case {"concat": values}:
            return " . ".join(map(_key_text, values))
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [first, last]}:
            return f"{first}-{last}"
        case _:
            return str(element)


def _networks(sets: Mapping[str, frozenset[str]]) -> frozenset[IPv4Network]:
    """From where they stand one by one. ValueError for what is no network: it was not written by us."""
    return frozenset(IPv4Network(one.partition(" . ")[0]) for one in sets.get("hairpin", ()))


def _joined(networks: Iterable[IPv4Network]) -> frozenset[str]:
    """As nft lists a set of intervals: those that touch are one."""
    return frozenset(map(str, collapse_addresses(networks)))


def apart(networks: Iterable[IPv4Network]) -> frozenset[IPv4Network]:
    """Without those within another: a set of pairs of intervals refuses what overlaps."""
    every = set(networks)
    return frozenset(one for one in every if not any(one != each and one.subnet_of(each) for each in every))


def _merged(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    first = last = -1
    for start, end in sorted(ranges):
        if start > last + 1 and first >= 0:
            yield first, last
        if first < 0 or start > last + 1:
            first, last = start, end
        last = max(last, end)
    yield first, last


def _ports(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
