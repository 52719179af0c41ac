"""What would keep forwards from working, or undo them, and what others do for the same ports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.formats.filter_gate import COMMENT, MARK, Rule, forwarding
from cxlstate.formats.forward_table import Element, Table
from cxlstate.resources.forward import keepers
from cxlstate.resources.forward.probe import FIREWALLD, Live

_SHOWN = 4


def problems(aim: Table, live: Live) -> Iterator[Diagnostic]:
    """All of it, told before anything is written."""
    yield from _firewalld(live)
    yield from _unit(live)
    yield from _dropping(live)
    for name, found in _others(aim, live).items():
        yield from _twice(name, [one for one in found if not one[1].dockers])
        yield from _published(name, [one for one in found if one[1].dockers])


def _firewalld(live: Live) -> Iterator[Diagnostic]:
    if live.strict:
        yield Diagnostic(
            "CXY301",
            "firewalld refuses forwards that it does not know",
            found=f"{live.strict} in {FIREWALLD.path}",
            expected="StrictForwardPorts=no",
            hint=f"sed -i s/^StrictForwardPorts=.*/StrictForwardPorts=no/ {FIREWALLD.path}, and reload it",
        )
    if live.flushes:
        back_end = f"sed -i s/^FirewallBackend=.*/FirewallBackend=nftables/ {FIREWALLD.path}, and restart it"
        direct = "write it as policies or rich rules: see firewall-cmd --permanent --direct --get-all-rules"
        yield Diagnostic(
            "CXY302",
            "firewalld takes our rule away at each reload",
            found=f"{live.flushes}: with that a reload flushes the tables of iptables",
            expected="FirewallBackend=nftables, and nothing in direct.xml",
            hint=back_end if live.flushes.endswith(FIREWALLD.path) else direct,
        )


def _unit(live: Live) -> Iterator[Diagnostic]:
    if live.unit.masked:
        yield Diagnostic(
            "CXY303",
            f"{keepers.UNIT} is masked",
            found="masked: forwards are lost at the next boot",
            expected="a unit that can be enabled",
            hint=f"systemctl unmask {keepers.UNIT}",
        )
    elif live.unit.failed:
        yield Diagnostic(
            "CXY304",
            f"{keepers.UNIT} failed at its last run",
            Severity.WARNING,
            found=live.unit.failed,
            expected="success",
            hint=f"journalctl -b -u {keepers.UNIT} says why",
        )


def _dropping(live: Live) -> Iterator[Diagnostic]:
    for chain in live.dropping:
        yield Diagnostic(
            "CXY305",
            f"chain {chain} drops what it does not accept",
            Severity.WARNING,
            found="policy drop, in a table of nftables that is not libvirt's",
            expected="a rule there that accepts forwarded connections by their mark",
            hint=f"nft insert rule {chain} ct mark and {MARK:#010x} == {MARK:#010x} accept comment {COMMENT}",
        )


def _others(aim: Table, live: Live) -> Mapping[str, list[tuple[str, Rule]]]:
    """Rules of others for the ports of a forward, with the variant of iptables, by the forward's name."""
    rules = [(variant, one) for variant, tables in live.saved.items() for one in forwarding(tables)]
    found: defaultdict[str, list[tuple[str, Rule]]] = defaultdict(list)
    ports = dict(_ports(aim)) if rules else {}
    for variant, one in rules:
        if name := ports.get((one.to, one.protocol, one.port)):
            found[name].append((variant, one))
    return found


def _ports(aim: Table) -> Iterator[tuple[tuple[str, str, int], str]]:
    """What a rule translates, and with an address what it accepts, by the forward that does so."""
    for name, one in ((name, one) for name, many in aim.forwards.items() for one in many):
        for port in range(one.first, one.last + 1):
            yield ("", one.protocol, port), name
            yield (one.to, one.protocol, _there(one, port)), name


def _there(one: Element, port: int) -> int:
    return one.to_port or port


def _twice(name: str, found: list[tuple[str, Rule]]) -> Iterator[Diagnostic]:
    if found:
        yield Diagnostic(
            "CXY306",
            f"rules made by hand do the same as forward {name}",
            Severity.WARNING,
            path=(name,),
            found=_listed(found),
            expected="no other rule for these ports",
            hint=" && ".join(f"{variant} {one.removed}" for variant, one in found[:_SHOWN]),
        )


def _published(name: str, found: list[tuple[str, Rule]]) -> Iterator[Diagnostic]:
    if found:
        yield Diagnostic(
            "CXY307",
            f"forward {name} takes a port that Docker publishes",
            Severity.WARNING,
            path=(name, "listen"),
            found=_listed(found),
            expected="a port that no container has",
            hint="the forward wins; publish the container on another port",
        )


def _listed(found: list[tuple[str, Rule]]) -> str:
    texts = [f"{variant} -t {one.table} {one.text}" for variant, one in found[:_SHOWN]]
    return "; ".join(texts) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
