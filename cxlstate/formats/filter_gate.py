"""The one rule that lets what forwards have marked through a filter of others, and where it stands there.

In iptables, legacy or nf_tables, it is in `FORWARD`, written by iptables itself: a native rule in `ip filter`
makes iptables refuse the table. In libvirt's own table of nftables it is at the head of `forward`: to accept
in a base chain of one's own does not overrule what a later one rejects.

Position is state. Behind a jump to libvirt's chains, or behind what rejects or drops, the rule does nothing.
Docker puts its own chains ahead at each start, which refuse nothing but traffic of its bridges.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

MARK: Final = 0x08000000
COMMENT: Final = "cxlstate"
CHAIN: Final = "FORWARD"

_MARKED: Final = f"-m connmark --mark {MARK:#x}/{MARK:#x}"
GATE: Final = f"-A {CHAIN} {_MARKED} -m comment --comment {COMMENT} -j ACCEPT"
"""As iptables-save prints it."""

_LIBVIRT: Final = "LIBVIRT_FW"
_DOCKER: Final = "DOCKER"
_DOCKERS_BRIDGE: Final = re.compile(r"-[io] (docker\d|br-)")
_TARGET: Final = re.compile(r" -[jg] (\S+)")
_REFUSES: Final = ("DROP", "REJECT")
_TRANSLATES: Final = re.compile(r" -p (?P<protocol>tcp|udp) .*--dport (?P<port>\d+) .*-j DNAT ")
_ACCEPTS: Final = re.compile(
    r" -d (?P<to>[\d.]+)(/32)? .*-p (?P<protocol>tcp|udp) .*--dport (?P<port>\d+) .*-j ACCEPT$"
)

Chains = Mapping[str, Sequence[str]]
"""The rules of each chain, as iptables-save prints them."""


def tables(saved: str) -> dict[str, dict[str, list[str]]]:
    """Table → chain → rules of what iptables-save prints."""
    found: dict[str, dict[str, list[str]]] = {}
    chains: dict[str, list[str]] = {}
    for line in saved.splitlines():
        if line.startswith("*"):
            chains = found.setdefault(line[1:], {})
        elif line.startswith(":"):
            chains[line[1:].split()[0]] = []
        elif line.startswith("-A "):
            chains.setdefault(line.split()[1], []).append(line)
    return found


def in_iptables(chains: Chains) -> str | None:
    """What is wrong with the gate in `FORWARD`: None where it is there once and nothing before it refuses."""
    rules = chains.get(CHAIN, [])
    found = [number for number, rule in enumerate(rules) if _is_gate(rule)]
    if not found:
        return "missing"
    seen: set[str] = set()
    ahead = next((rule for rule in rules[: found[0]] if _stops(rule, chains, seen)), None)
    if ahead is not None:
        return f"behind {ahead.removeprefix(f'-A {CHAIN} ')}"
    return "there twice" if len(found) > 1 else None


def in_libvirts_table(listed: str) -> str | None:
    """The same of `forward` in `table ip libvirt_network`, as `nft -j` lists it.

    An error of Python's own for JSON of another form.
    """
    rules = [one["rule"] for one in json.loads(listed)["nftables"] if "rule" in one]
    comments = [rule.get("comment") for rule in rules if rule["chain"] == "forward"]
    if COMMENT not in comments:
        return "missing"
    if comments[0] != COMMENT:
        return "behind other rules"
    return "there twice" if comments.count(COMMENT) > 1 else None


def _is_gate(rule: str) -> bool:
    """With or without quotes around the comment; a zero may lead the mark."""
    return rule.replace(f'"{COMMENT}"', COMMENT) == GATE


def _stops(rule: str, chains: Chains, seen: set[str]) -> bool:
    """Whether a rule may keep a marked connection from what is behind it.

    A chain in `seen` was looked at: chains that jump to each other twice have more ways than can be walked.
    """
    match = _TARGET.search(rule)
    target = match[1] if match else ""
    if _DOCKERS_BRIDGE.search(rule) or target.startswith(_DOCKER) or target in seen:
        return False
    if target in _REFUSES or target.startswith(_LIBVIRT):
        return True
    seen.add(target)
    return any(_stops(one, chains, seen) for one in chains.get(target, ()))


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of others that does for a port what a forward does, as iptables-save prints it.

    `to` is the address that it accepts in `FORWARD`; empty: it translates.
    """

    table: str
    text: str
    protocol: str
    port: int
    to: str = ""

    @property
    def dockers(self) -> bool:
        """Whether it publishes a port of a container."""
        return self.text.startswith(f"-A {_DOCKER}")

    @property
    def removed(self) -> str:
        """The arguments of iptables that delete it."""
        return f"-t {self.table} -D {self.text.removeprefix('-A ')}"


def forwarding(tables: Mapping[str, Chains]) -> Iterator[Rule]:
    """Rules that translate the address of one port, or accept what is forwarded to one port of an address."""
    for text in (text for rules in tables.get("nat", {}).values() for text in rules):
        if match := _TRANSLATES.search(text):
            yield Rule("nat", text, match["protocol"], int(match["port"]))
    for text in tables.get("filter", {}).get(CHAIN, ()):
        if match := _ACCEPTS.search(text):
            yield Rule("filter", text, match["protocol"], int(match["port"]), match["to"])
