"""nftables: tables of maps, sets and chains, as nft(8) is told them and lists them.

What is taken is the text that the product writes, and what somebody would type at a rule. What a rule does is
not modelled: it is listed by its comment. Texts and JSON as of nft 1.1.3; sources: src/json.c,
doc/libnftables-json.adoc.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from ipaddress import IPv4Network, collapse_addresses
from typing import Any

from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.netfilter import NftChain, NftSet, NftTable
from cxlstate.simulator.world import World

_META = {"version": "1.1.3", "release_name": "Commodore Bullmoose #4", "json_schema_version": 1}
_HOOK = re.compile(r"type (\w+) hook (\w+) priority (-?\d+);(?: policy (\w+);)?")
_ELEMENT = re.compile(r'(?P<key>.+?)(?: comment "(?P<comment>[^"]*)")?(?: : (?P<data>.+))?')
_COMMENT = re.compile(r'(?P<text>.*?) comment "(?P<comment>[^"]*)"')
_NAME = r"[A-Za-z0-9_]+"
_DENIED = "Operation not permitted (you must be root)\n"
_ABSENT = "No such file or directory"


class _Refused(Exception):
    """What nft says of a statement that it does not take."""


class Nftables:
    """The ruleset of one machine. Its own tables, and those in which iptables keeps its chains."""

    def __init__(self, world: World, text_of: Callable[[str], str]) -> None:
        self._world = world
        self._text_of = text_of
        self._tables = world.running.nftables

    def run(self, words: list[str]) -> Ended:
        """`nft [-a] [-j] WORD…`, `nft -f FILE`."""
        if not self._world.login.root:
            return Ended(1, stderr=_DENIED)
        match words:
            case ["-f", path]:
                return self._transaction(self._text_of(path))
            case ["-j", "list", "chains"]:
                return _document(self._all_chains())
            case ["-j", "list", "table", family, name]:
                return self._listed(family, name)
            case ["list", "table", family, name]:
                return self._there(words, name, found=f"{family} {name}" in self._tables)
            case [*options, "list", "chain", family, table, name] if set(options) <= {"-a"}:
                return self._chain(words, family, table, name)
            case ["flush" | "delete" | "insert" | "add" | "table", *_]:
                return self._transaction(" ".join(words))
        return unknown(("nft", *words))

    # Listing --------------------------------------------------------------------------------------------

    def _there(self, words: list[str], name: str, *, found: bool) -> Ended:
        return Ended() if found else Ended(1, stderr=_pointed(_ABSENT, " ".join(words), name))

    def _chain(self, words: list[str], family: str, table: str, name: str) -> Ended:
        chain = self._chain_of(family, table, name)
        if chain is None:
            return self._there(words, name, found=False)
        rules = enumerate(chain.rules, start=1)
        lines = [f"\t\t{rule}{f' # handle {number}' * ('-a' in words)}\n" for number, rule in rules]
        return Ended(stdout=f"table {family} {table} {{\n\tchain {name} {{\n{''.join(lines)}\t}}\n}}\n")

    def _chain_of(self, family: str, table: str, name: str) -> NftChain | None:
        own = self._tables.get(f"{family} {table}")
        if own is not None:
            return own.chains.get(name)
        theirs = self._world.running.iptables.get("nft", {}).get(table, {}) if family == "ip" else {}
        return NftChain() if name in theirs else None

    def _all_chains(self) -> Iterator[dict[str, Any]]:
        for table, chains in self._world.running.iptables.get("nft", {}).items():
            for name, chain in chains.items():
                shown: dict[str, Any] = {"family": "ip", "table": table, "name": name}
                if chain.policy:
                    kind = "nat" if table == "nat" else "filter"
                    shown |= {"type": kind, "hook": name.lower(), "prio": 0, "policy": chain.policy.lower()}
                yield {"chain": shown}
        for where, own in self._tables.items():
            for name, one in own.chains.items():
                yield _shown_chain(where, name, one)

    def _listed(self, family: str, name: str) -> Ended:
        where = f"{family} {name}"
        table = self._tables.get(where)
        if table is None:
            return self._there(["list", "table", family, name], name, found=False)
        return _document(_objects(where, table))

    # Changing -------------------------------------------------------------------------------------------

    def _transaction(self, text: str) -> Ended:
        """All of it, or nothing."""
        before, iptables = deepcopy(self._tables), deepcopy(self._world.running.iptables)
        lines = [line.strip() for line in text.splitlines()]
        try:
            self._take([line for line in lines if line and not line.startswith("#")], before)
        except _Refused as why:
            self._tables.clear()
            self._tables.update(before)
            self._world.running.iptables = iptables
            return Ended(1, stderr=f"{why}")
        return Ended()

    def _take(self, lines: list[str], before: dict[str, NftTable]) -> None:
        rest = iter(lines)
        for line in rest:
            match line.split():
                case ["table", family, name, "{"]:
                    _fill(self._made(family, name), rest)
                case ["table", family, name] | ["add", "table", family, name]:
                    self._made(family, name)
                case ["delete", "table", family, name]:
                    if self._tables.pop(f"{family} {name}", None) is None:
                        raise _Refused(_pointed(f"Could not process rule: {_ABSENT}", line, name))
                case ["flush", "ruleset"]:
                    self._tables.clear()
                    self._world.running.iptables.pop("nft", None)
                case ["delete", "rule", family, table, chain, "handle", number]:
                    gone = self._of(before, line, family, table, chain).rules[int(number) - 1]
                    self._of(self._tables, line, family, table, chain).rules.remove(gone)
                case [("insert" | "add") as verb, "rule", family, table, chain, *_]:
                    rules = self._of(self._tables, line, family, table, chain).rules
                    rule = line.split(maxsplit=5)[5]
                    rules.insert(0 if verb == "insert" else len(rules), rule)
                case _:
                    raise _Refused(_pointed("syntax error", line, line.split()[-1]))

    def _made(self, family: str, name: str) -> NftTable:
        return self._tables.setdefault(f"{family} {name}", NftTable())

    @staticmethod
    def _of(tables: dict[str, NftTable], line: str, family: str, table: str, chain: str) -> NftChain:
        found = tables.get(f"{family} {table}", NftTable()).chains.get(chain)
        if found is None:
            raise _Refused(_pointed(f"Could not process rule: {_ABSENT}", line, chain))
        return found


def _fill(table: NftTable, rest: Iterator[str]) -> None:
    """The block of a table, up to its last brace."""
    for line in rest:
        if line == "}":
            return
        match line.split():
            case ["map" | "set" as called, name, "{"]:
                table.sets[name] = _set(rest, is_map=called == "map")
            case ["chain", name, "{"]:
                chain = table.chains[name] = NftChain()
                for rule in rest:
                    if rule == "}":
                        break
                    if match := _HOOK.fullmatch(rule):
                        kind, hook, priority, policy = match.groups()
                        chain.type, chain.hook, chain.priority = kind, hook, int(priority)
                        chain.policy = policy or "accept"
                    else:
                        chain.rules.append(rule)
            case _:
                raise _Refused(_pointed("syntax error", line, line.split()[-1]))
    raise _Refused(_pointed("syntax error, unexpected end of file", "", ""))


def _set(rest: Iterator[str], *, is_map: bool) -> NftSet:
    made = NftSet("")
    for line in rest:
        match line.partition(" "):
            case ["}", "", ""]:
                return made
            case ["type", _, types]:
                made.type, _, made.data = types.partition(" : ")
            case ["flags", _, flags]:
                made.flags = flags.split(", ")
            case ["elements", _, "= {"]:
                for element in rest:
                    if element == "}":
                        break
                    made.elements.append(element.removesuffix(","))
            case _:
                raise _Refused(_pointed("syntax error", line, line.split()[-1]))
    if bool(made.data) is not is_map:
        raise _Refused(_pointed("syntax error", "", ""))
    return made


def _objects(where: str, table: NftTable) -> Iterator[dict[str, Any]]:
    """What `nft -j list table` shows, in its order."""
    family, name = where.split()
    yield {"table": {"family": family, "name": name}}
    for called, one in table.sets.items():
        shown: dict[str, Any] = {"family": family, "name": called, "table": name, "type": _types(one.type)}
        if one.data:
            shown["map"] = _types(one.data)
        if one.flags:
            shown["flags"] = one.flags
        if elements := [_element(text) for text in _merged(one)]:
            shown["elem"] = elements
        yield {"map" if one.data else "set": shown}
    for called, chain in table.chains.items():
        yield _shown_chain(where, called, chain)
    for called, chain in table.chains.items():
        for number, rule in enumerate(chain.rules, start=1):
            match = _COMMENT.fullmatch(rule)
            comment = {"comment": match["comment"]} if match else {}
            at = {"family": family, "table": name, "chain": called, "handle": number}
            yield {"rule": {**at, **comment, "expr": []}}


def _shown_chain(where: str, name: str, chain: NftChain) -> dict[str, Any]:
    family, table = where.split()
    shown: dict[str, Any] = {"family": family, "table": table, "name": name}
    if chain.hook:
        shown |= {"type": chain.type, "hook": chain.hook, "prio": chain.priority, "policy": chain.policy}
    return {"chain": shown}


def _merged(one: NftSet) -> list[str]:
    """Networks that touch are one interval, where it is not one of several values."""
    if one.type != "ipv4_addr" or "interval" not in one.flags:
        return one.elements
    return [str(each) for each in collapse_addresses(map(IPv4Network, one.elements))]


def _types(text: str) -> str | list[str]:
    types = text.split(" . ")
    return types if len(types) > 1 else types[0]


def _element(text: str) -> Any:
    match = _ELEMENT.fullmatch(text)
    if match is None:
        raise ValueError(text)
    key = _value(match["key"])
    if match["comment"] is not None:
        key = {"elem": {"val": key, "comment": match["comment"]}}
    return key if match["data"] is None else [key, _value(match["data"])]


def _value(text: str) -> Any:
    parts = [_part(part) for part in text.split(" . ")]
    return {"concat": parts} if len(parts) > 1 else parts[0]


def _part(text: str) -> Any:
    if text.isdecimal():
        return int(text)
    if match := re.fullmatch(r"(\d+)-(\d+)", text):
        return {"range": [int(match[1]), int(match[2])]}
    if match := re.fullmatch(r"([\d.]+)/(\d+)", text):
        return {"prefix": {"addr": match[1], "len": int(match[2])}}
    return text.strip('"')


def _document(objects: Iterator[dict[str, Any]]) -> Ended:
    return Ended(stdout=json.dumps({"nftables": [{"metainfo": _META}, *objects]}) + "\n")


def _pointed(why: str, line: str, at: str) -> str:
    return f"Error: {why}\n{line}\n{' ' * max(line.rfind(at), 0)}{'^' * len(at)}\n"
