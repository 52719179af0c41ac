"""The rules of a network of libvirt with iptables: chains of its own, and jumps to them ahead of others.

Sources: libvirt 11.3 src/network/network_iptables.c (`iptablesSetupPrivateChains`), bridge_driver_linux.c;
looked at on Debian 13. Of its way with nftables nothing is here.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface

from cxlstate.formats.xml import Element
from cxlstate.simulator.libvirt import dhcp
from cxlstate.simulator.netfilter import IptChain
from cxlstate.simulator.world import World

_VARIANT = "nft"
# Table → chain of libvirt's → the chain that leads to it, in the order in which the jumps are inserted.
_LINKS = {
    "filter": {
        "LIBVIRT_INP": "INPUT",
        "LIBVIRT_OUT": "OUTPUT",
        "LIBVIRT_FWO": "FORWARD",
        "LIBVIRT_FWI": "FORWARD",
        "LIBVIRT_FWX": "FORWARD",
    },
    "nat": {"LIBVIRT_PRT": "POSTROUTING"},
    "mangle": {"LIBVIRT_PRT": "POSTROUTING"},
}
_REJECT = "-j REJECT --reject-with icmp-port-unreachable"
_FILTERED = ("nat", "route", None)

Rule = tuple[str, str, str]
"""Table, chain, text."""


class Firewall:
    """Of one machine."""

    def __init__(self, world: World) -> None:
        self._running = world.running

    def link(self) -> None:
        """The chains and the jumps to them, as far as they are missing: once a start of the daemon."""
        for table, links in _LINKS.items():
            chains = self._running.iptables.setdefault(_VARIANT, {}).setdefault(table, {})
            for name, leading in links.items():
                chains.setdefault(name, IptChain())
                jumps = chains.setdefault(leading, IptChain("ACCEPT")).rules
                if f"-j {name}" not in jumps:
                    jumps.insert(0, f"-j {name}")

    def add(self, network: Element) -> None:
        """The rules of a network, ahead of those of others."""
        mode = _mode(network)
        if mode in (*_FILTERED, "open"):
            self._running.ip_forward = self._running.ip_forward or mode is not None
        if mode not in _FILTERED:
            return
        if "LIBVIRT_FWI" not in self._running.iptables.get(_VARIANT, {}).get("filter", {}):
            self.link()
        for table, chain, rule in reversed(list(_rules(network))):
            self._running.iptables[_VARIANT][table][chain].rules.insert(0, rule)

    def remove(self, network: Element) -> None:
        """Take them away again; chains and jumps stay."""
        for table, chain, rule in _rules(network) if _mode(network) in _FILTERED else ():
            rules = self._running.iptables.get(_VARIANT, {}).get(table, {}).get(chain, IptChain()).rules
            if rule in rules:
                rules.remove(rule)


def _mode(network: Element) -> str | None:
    forward = network.find("forward")
    return None if forward is None else forward.get("mode")


def _rules(network: Element) -> Iterator[Rule]:
    """As iptables-save prints them, in its order."""
    found = network.find("bridge")
    bridge, mode = "" if found is None else found.get("name", ""), _mode(network)
    addresses = [dhcp.address(ip) for ip in network.findall("ip")]
    subnets = [str(one.network) for one in addresses if isinstance(one, IPv4Interface)]
    for subnet in subnets if mode else ():
        established = " -m conntrack --ctstate RELATED,ESTABLISHED" if mode == "nat" else ""
        yield "filter", "LIBVIRT_FWI", f"-d {subnet} -o {bridge}{established} -j ACCEPT"
        yield "filter", "LIBVIRT_FWO", f"-s {subnet} -i {bridge} -j ACCEPT"
    yield "filter", "LIBVIRT_FWI", f"-o {bridge} {_REJECT}"
    yield "filter", "LIBVIRT_FWO", f"-i {bridge} {_REJECT}"
    yield "filter", "LIBVIRT_FWX", f"-i {bridge} -o {bridge} -j ACCEPT"
    for chain, side, last in (("LIBVIRT_INP", "-i", 67), ("LIBVIRT_OUT", "-o", 68)):
        for port in (53, last):
            for protocol in ("udp", "tcp"):
                yield "filter", chain, f"{side} {bridge} -p {protocol} -m {protocol} --dport {port} -j ACCEPT"
    for subnet in subnets if mode == "nat" else ():
        yield "nat", "LIBVIRT_PRT", f"-s {subnet} -d 224.0.0.0/24 -j RETURN"
        yield "nat", "LIBVIRT_PRT", f"-s {subnet} -d 255.255.255.255/32 -j RETURN"
        for protocol in ("tcp", "udp"):
            end = f"-p {protocol} -j MASQUERADE --to-ports 1024-65535"
            yield "nat", "LIBVIRT_PRT", f"-s {subnet} ! -d {subnet} {end}"
        yield "nat", "LIBVIRT_PRT", f"-s {subnet} ! -d {subnet} -j MASQUERADE"
    if network.find("ip/dhcp") is not None:
        fill = "-j CHECKSUM --checksum-fill"
        yield "mangle", "LIBVIRT_PRT", f"-o {bridge} -p udp -m udp --dport 68 {fill}"
