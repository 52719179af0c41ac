"""What there is of our table, of the rule in the filters of others, and of what keeps both."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from cxlstate.core.answers import Answers, ReadFailed, describe
from cxlstate.core.read import Command, Exists, File, PosixRead
from cxlstate.formats import filter_gate, forward_table
from cxlstate.formats import units as unit_times
from cxlstate.formats.forward_table import Table
from cxlstate.formats.inode import inode_of, stat
from cxlstate.resources.forward import keepers

# A table that is not there is status 1 and `No such file or directory`. None of these loads a table: nft(8),
# iptables-save without `-t` goes through the tables that there are (`do_output` in iptables/iptables-save.c).
TABLE: Final = Command(("nft", "-j", "list", "table", forward_table.FAMILY, forward_table.NAME))
LIBVIRTS: Final = Command(("nft", "-j", "list", "table", "ip", "libvirt_network"))
CHAINS: Final = Command(("nft", "-j", "list", "chains"))
SAVED: Final = {name: Command((f"{name}-save",)) for name in ("iptables-nft", "iptables-legacy")}
LEGACY_TABLES: Final = File("/proc/net/ip_tables_names")
FORWARDING: Final = File("/proc/sys/net/ipv4/ip_forward")
FIREWALLD: Final = File("/etc/firewalld/firewalld.conf")
DIRECT: Final = File("/etc/firewalld/direct.xml")
_PROPERTIES: Final = (
    *("Id", "LoadState", "ActiveState", "UnitFileState"),
    *("Result", "NeedDaemonReload", "StateChangeTimestamp"),
)
_DAEMONS: Final = ("libvirtd.service", "virtnetworkd.service")
_MANAGERS: Final = ("docker.service", "firewalld.service", "ufw.service")
UNITS: Final = Command(
    ("systemctl", "show", f"--property={','.join(_PROPERTIES)}"),
    (keepers.UNIT, *_DAEMONS, *_MANAGERS),
)
_FILES: Final[tuple[PosixRead, ...]] = (*(File(path) for path in keepers.FILES), stat(keepers.HOOK))
TRACES: Final = Exists(*keepers.FILES)
_TOOLS: Final[tuple[PosixRead, ...]] = (TABLE, LIBVIRTS, CHAINS, *SAVED.values(), UNITS)
READS: Final = (*_TOOLS, LEGACY_TABLES, FORWARDING, FIREWALLD, DIRECT, *_FILES)
T = TypeVar("T")
_RUNS: Final = ("active", "reloading")
_NOBODYS: Final = (("ip", "filter"), ("ip", "libvirt_network"), ("inet", "firewalld"))
"""Tables with a chain for what is forwarded that is looked at otherwise."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of nftables; with a hook it is asked about packets."""

    family: str
    table: str
    name: str
    hook: str | None = None
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """Our unit; `failed` is how its last run ended, if not well."""

    enabled: str = ""
    failed: str | None = None
    masked: bool = False
    needs_reload: bool = False


@dataclass(frozen=True, slots=True)
class Live:
    """`files` are our own, by path; None: not there. `gates` are the filters in use, each with its fault.

    `saved` are the rules of iptables by variant. `deaf` are the running daemons that looked for hooks before
    ours was there. `dropping` are chains of others that drop what nothing in them accepts. `strict` and
    `flushes` are what of firewalld's configuration undoes a forward.
    """

    table: Table | None = None
    files: Mapping[str, str | None] = field(default_factory=dict)
    executable: bool = False
    unit: Unit = Unit()
    deaf: tuple[str, ...] = ()
    forwarding: bool = False
    gates: Mapping[str, str | None] = field(default_factory=dict)
    saved: Mapping[str, Mapping[str, filter_gate.Chains]] = field(default_factory=dict)
    dropping: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()
    strict: str | None = None
    flushes: str | None = None


def parse(answers: Answers) -> Live:
    """Raises ReadFailed, also for what nft does not list in a way that is known."""
    chains = _understood(CHAINS, _chains, answers.text(CHAINS))
    units = dict(_blocks(answers.text(UNITS)))
    inode = inode_of(keepers.HOOK, answers)
    executable = inode is not None and inode.permissions & 0o111 == 0o111  # noqa: PLR2004  # x for all
    saved = {name: filter_gate.tables(text) for name, text in _saved(chains, answers)}
    gates = {
        name: filter_gate.in_iptables(tables["filter"])
        for name, tables in saved.items()
        if "filter" in tables
    }
    if (libvirts := _table(LIBVIRTS, answers)) is not None:
        gates["libvirt"] = _understood(LIBVIRTS, filter_gate.in_libvirts_table, libvirts)
    table = _table(TABLE, answers)
    runs = "firewalld.service" in _running(units, _MANAGERS)
    firewalld = (answers.text_or_none(FIREWALLD) or "") if runs else ""
    return Live(
        table=None if table is None else _understood(TABLE, forward_table.parse, table),
        files={path: answers.text_or_none(File(path)) for path in keepers.FILES},
        executable=executable,
        unit=_unit(units.get(keepers.UNIT, {})),
        deaf=tuple(_deaf(units, inode.changed if inode and executable else None)),
        forwarding=answers.text(FORWARDING).strip() == "1",
        gates=gates,
        saved=saved,
        dropping=tuple(_dropping(chains)),
        managers=tuple(name.removesuffix(".service") for name in _running(units, _MANAGERS)),
        strict=_set_to(firewalld, "StrictForwardPorts", "yes", "true"),
        flushes=_flushes(firewalld, answers.text_or_none(DIRECT) or "") if runs else None,
    )


def _understood(read: Command, parser: Callable[[str], T], text: str) -> T:
    """JSON of another form than that of any nft that is known is no evidence of anything."""
    try:
        return parser(text)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise ReadFailed(read, f"{describe(read)}: unknown form") from None


def _table(read: Command, answers: Answers) -> str | None:
    answer = answers.raw(read)
    absent = answer.status != 0 and answer.stderr.startswith("Error: No such file or directory")
    return None if absent else answers.text(read)


def _chains(text: str) -> list[Chain]:
    found = [one["chain"] for one in json.loads(text)["nftables"] if "chain" in one]
    return [
        Chain(one["family"], one["table"], one["name"], one.get("hook"), one.get("policy")) for one in found
    ]


def _saved(chains: list[Chain], answers: Answers) -> Iterator[tuple[str, str]]:
    """Of the variants of iptables that are in use. One that is not need not be installed."""
    native = [(one.family, one.table, one.name) for one in chains]
    names = (answers.text_or_none(LEGACY_TABLES) or "").split()
    in_use = {
        "iptables-nft": ("ip", "filter", filter_gate.CHAIN) in native,
        "iptables-legacy": "filter" in names,
    }
    for name, used in in_use.items():
        answer = answers.raw(SAVED[name])
        if used:
            text = answers.text(SAVED[name])
            if "filter" not in filter_gate.tables(text):
                raise ReadFailed(SAVED[name], f"{name}-save does not print the table filter")
            yield name, text
        elif answer.status == 0:
            yield name, answer.text


def _dropping(chains: list[Chain]) -> Iterator[str]:
    for one in chains:
        drops = one.hook == "forward" and one.policy == "drop" and one.family in ("ip", "inet")
        if drops and (one.family, one.table) not in _NOBODYS:
            yield f"{one.family} {one.table} {one.name}"


def _blocks(text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    for part in text.split("\n\n"):
        block = dict(line.partition("=")[::2] for line in part.splitlines() if "=" in line)
        if "Id" in block:
            yield block["Id"], block


def _unit(block: Mapping[str, str]) -> Unit:
    return Unit(
        enabled=block.get("UnitFileState", ""),
        failed=block.get("Result") if block.get("ActiveState") == "failed" else None,
        masked="masked" in block.get("LoadState", "") or "masked" in block.get("UnitFileState", ""),
        needs_reload=block.get("NeedDaemonReload") == "yes",
    )


def _running(units: Mapping[str, Mapping[str, str]], names: tuple[str, ...]) -> list[str]:
    return [name for name in names if units.get(name, {}).get("ActiveState") in _RUNS]


def _deaf(units: Mapping[str, Mapping[str, str]], written: int | None) -> Iterator[str]:
    """A daemon looks for hooks when it starts, and when it is reloaded (virHookInitialize).

    One that it could not run then is none to it.
    """
    for name in _running(units, _DAEMONS):
        try:
            since = unit_times.since(units[name].get("StateChangeTimestamp", ""))
        except ValueError:
            since = 0
        if not since:
            raise ReadFailed(UNITS, f"systemctl does not say since when {name} runs")
        if written is None or written > since:
            yield name


def _set_to(text: str, option: str, *values: str) -> str | None:
    """The line of firewalld.conf(5) that gives an option one of these values; the last line counts."""
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line.partition("=")[0].strip() == option]
    return found[-1] if found and found[-1].partition("=")[2].strip().lower() in values else None


def _flushes(text: str, direct: str) -> str | None:
    """Why a reload flushes the tables of iptables (`may_skip_flush_direct_backends`, firewalld `fw.py`)."""
    if backend := _set_to(text, "FirewallBackend", "iptables"):
        return f"{backend} in {FIREWALLD.path}"
    parts = ("rule", "chain", "passthrough")
    found = next((part for part in parts if re.search(rf"<{part}[\s/>]", direct)), None)
    return f"<{found}> in {DIRECT.path}" if found else None
