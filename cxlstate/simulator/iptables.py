"""iptables: tables of chains of rules, in the kernel's old tables (legacy) or in those of nftables (nft).

The two know nothing of each other. Of the ways to write a rule those are taken that iptables-save prints,
and a few that people type. Texts as of iptables 1.8.11; sources: iptables-save.c and iptables-restore.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from copy import deepcopy

from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.netfilter import IptChain
from cxlstate.simulator.world import World

Tables = dict[str, dict[str, IptChain]]

VARIANTS = ("nft", "legacy")
BUILT_IN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
}
_TARGETS = ("ACCEPT", "DROP", "REJECT", "RETURN", "DNAT", "SNAT", "MASQUERADE", "CHECKSUM", "LOG")
_NO_RULE = "Bad rule (does a matching rule exist in that chain?)."
_NO_CHAIN = "No chain/target/match by that name."
_DENIED = "Fatal: can't open lock file /run/xtables.lock: Permission denied"


class _Refused(Exception):
    """Why a line was not taken."""


class Iptables:
    """One of the two; `given` is what is on standard input."""

    def __init__(self, world: World, variant: str, given: str) -> None:
        self._world = world
        self._variant = variant
        self._given = given

    def programs(self) -> dict[str, Callable[[list[str]], Ended]]:
        """By name."""
        name = f"iptables-{self._variant}"
        return {name: self._command, f"{name}-save": self._save, f"{name}-restore": self._restore}

    @property
    def _tables(self) -> Tables:
        return self._world.running.iptables.setdefault(self._variant, {})

    def _save(self, words: list[str]) -> Ended:
        """`iptables-save [-t TABLE]`, of the tables that there are."""
        if not self._world.login.root:
            return Ended(4, stderr=f"{_DENIED}\n")
        match words:
            case []:
                wanted = set(BUILT_IN)
            case ["-t", table]:
                wanted = {table}
            case _:
                return unknown((f"iptables-{self._variant}-save", *words))
        there = self._world.running.iptables.get(self._variant, {})
        return Ended(
            stdout="".join(_saved(name, there[name]) for name in BUILT_IN if name in there.keys() & wanted)
        )

    def _restore(self, words: list[str]) -> Ended:
        """`iptables-restore --noflush [--wait N]`: all of it, or nothing."""
        match words:
            case ["--noflush"] | ["--noflush", "--wait", _]:
                pass
            case _:
                return unknown((f"iptables-{self._variant}-restore", *words))
        before, table = deepcopy(self._tables), ""
        for number, line in enumerate(self._given.splitlines(), start=1):
            try:
                table = self._take(line, table)
            except _Refused as why:
                self._world.running.iptables[self._variant] = before
                said = f"iptables-{self._variant}-restore: line {number} failed: {why}\n"
                return Ended(1, stderr=said)
        return Ended()

    def _take(self, line: str, table: str) -> str:
        """One line; the table that the next one is about."""
        if line.startswith("*"):
            return line[1:]
        if line and line[0] not in "#:" and line != "COMMIT":
            self._change(table, line.split())
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            self._tables.setdefault(table, {})[name] = IptChain("" if policy == "-" else policy)
        return table

    def _command(self, words: list[str]) -> Ended:
        """`iptables [-t TABLE] -A|-I|-D|-N|-X|-F|-P …`."""
        table = "filter"
        if words[:1] == ["-t"]:
            table, words = words[1], words[2:]
        if words[:1] == ["-w"]:
            words = words[1:]
        if not self._world.login.root:
            return Ended(4, stderr=f"{_DENIED}\n")
        try:
            self._change(table, words)
        except _Refused as why:
            return Ended(1, stderr=f"iptables: {why}\n")
        return Ended()

    def _change(self, table: str, words: Sequence[str]) -> None:
        chains = self._tables.setdefault(table, {})
        match list(words):
            case ["-N", name] if name not in chains:
                chains[name] = IptChain()
            case ["-X", name] if name in chains and not chains[name].policy:
                del chains[name]
            case ["-P", name, policy]:
                self._chain(table, name).policy = policy
            case ["-F", name]:
                self._chain(table, name).rules.clear()
            case [("-A" | "-I" | "-D") as verb, name, *rule]:
                self._change_rule(verb, self._chain(table, name).rules, rule, chains)
            case _:
                raise _Refused(_NO_CHAIN)

    def _change_rule(
        self, verb: str, rules: list[str], words: list[str], chains: dict[str, IptChain]
    ) -> None:
        """A rule by its text, or with `-I` and `-D` by its number."""
        number = int(words.pop(0)) if verb != "-A" and words[:1] and words[0].isdecimal() else 1
        if verb == "-D" and not words:
            if number > len(rules):
                raise _Refused("Index of deletion too big.")
            del rules[number - 1]
            return
        rule = self._rule(chains, words)
        if verb != "-D":
            rules.insert(len(rules) if verb == "-A" else number - 1, rule)
        elif rule in rules:
            rules.remove(rule)
        else:
            raise _Refused(_NO_RULE)

    def _chain(self, table: str, name: str) -> IptChain:
        chains = self._tables[table]
        if name in BUILT_IN.get(table, ()):
            return chains.setdefault(name, IptChain("ACCEPT"))
        if name not in chains:
            raise _Refused(_NO_CHAIN)
        return chains[name]

    @staticmethod
    def _rule(chains: dict[str, IptChain], words: Sequence[str]) -> str:
        """As iptables-save prints it."""
        text = " ".join(words)
        target = re.search(r"(?:^| )-j (\S+)", text)
        if target and target[1] not in (*_TARGETS, *chains):
            raise _Refused(_NO_CHAIN)
        return _printed(text)


def _printed(text: str) -> str:
    text = re.sub(r"\b0x0+(?=[0-9a-f])", "0x", text)
    text = re.sub(r'--comment "(\S+)"', r"--comment \1", text)
    text = re.sub(r"(?<=-[ds] )([\d.]+)(?=$| )", r"\1/32", text)
    text = re.sub(r"-p (tcp|udp)(?= --[ds]port)", r"-p \1 -m \1", text)
    return re.sub(r"-j REJECT$", "-j REJECT --reject-with icmp-port-unreachable", text)


def _saved(table: str, chains: dict[str, IptChain]) -> str:
    own = [name for name in chains if name not in BUILT_IN[table]]
    every = [*BUILT_IN[table], *sorted(own)]
    of = {name: chains.get(name, IptChain("ACCEPT")) for name in every}
    lines = [f":{name} {chain.policy or '-'} [0:0]\n" for name, chain in of.items()]
    rules = [f"-A {name} {rule}\n" for name, chain in of.items() for rule in chain.rules]
    return "".join((f"*{table}\n", *lines, *rules, "COMMIT\n"))
