"""Facts of nftables, of iptables, and of what libvirt makes there, as far as port forwards go."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Network

import pytest

from cxlstate.core.libvirt import StartNetwork, StopNetwork
from cxlstate.formats import filter_gate, forward_keeping
from cxlstate.formats.forward_table import Element, Table, parse, render
from cxlstate.machine.outcome import Result
from cxlstate.resources.forward import keepers
from tests.conformance.test_libvirt import install as install_libvirt
from tests.lab.stages import Stage

WEB = [
    Element(origin, "tcp", 8080, 8080, "192.168.122.110", address="192.0.2.1")
    for origin in ("outside", "host")
]
MOVED = Element("outside", "tcp", 80, 80, "192.168.122.110", 8081, "eno1")
RANGE = Element("guests", "udp", 9000, 9009, "192.168.122.111")
TOUCHING = frozenset(map(IPv4Network, ("10.0.2.0/24", "10.0.3.0/24", "192.168.122.0/24")))
TABLE = Table({"web": frozenset(WEB), "moved": frozenset([MOVED]), "r": frozenset([RANGE])}, TOUCHING)
OF_OURS = ("nft", "-j", "list", "table", "inet", "cxlstate")
REJECT = "-j REJECT --reject-with icmp-port-unreachable"
MASQUERADE = "-s 192.168.122.0/24 ! -d 192.168.122.0/24"
CHAINS = {
    "LIBVIRT_FWX": ["-i virbr0 -o virbr0 -j ACCEPT"],
    "LIBVIRT_FWI": [
        "-d 192.168.122.0/24 -o virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"-o virbr0 {REJECT}",
    ],
    "LIBVIRT_FWO": ["-s 192.168.122.0/24 -i virbr0 -j ACCEPT", f"-i virbr0 {REJECT}"],
    "LIBVIRT_INP": [
        f"-i virbr0 -p {protocol} -m {protocol} --dport {port} -j ACCEPT"
        for port in (53, 67)
        for protocol in ("udp", "tcp")
    ],
    "LIBVIRT_OUT": [
        f"-o virbr0 -p {protocol} -m {protocol} --dport {port} -j ACCEPT"
        for port in (53, 68)
        for protocol in ("udp", "tcp")
    ],
}
TRANSLATED = [
    "-s 192.168.122.0/24 -d 224.0.0.0/24 -j RETURN",
    "-s 192.168.122.0/24 -d 255.255.255.255/32 -j RETURN",
    f"{MASQUERADE} -p tcp -j MASQUERADE --to-ports 1024-65535",
    f"{MASQUERADE} -p udp -j MASQUERADE --to-ports 1024-65535",
    f"{MASQUERADE} -j MASQUERADE",
]
LINKS = ["-j LIBVIRT_FWX", "-j LIBVIRT_FWI", "-j LIBVIRT_FWO"]


def with_a_network(machine):
    """It is active, with its rules in iptables; nftables and our files are there."""
    install_libvirt(machine)
    if machine.ask(*OF_OURS).status == 127:
        assert machine.run("apt-get", "--yes", "install", "nftables").status == 0
    assert machine.perform(StartNetwork("default")).result is Result.DONE
    machine.write(forward_keeping.SCRIPT, forward_keeping.script())
    machine.write(forward_keeping.TABLE, render(TABLE))


pytestmark = pytest.mark.stage(Stage("forwards", with_a_network))


def saved(machine, table="filter"):
    """Chain → rules, without the words that name the chain."""
    found = filter_gate.tables(machine.ask("iptables-nft-save").text)[table]
    return {name: [re.sub(r"^-A \S+ ", "", rule) for rule in rules] for name, rules in found.items()}


def keep(machine, verb):
    return machine.run("sh", forward_keeping.SCRIPT, verb)


def gate(machine):
    return filter_gate.in_iptables(filter_gate.tables(machine.ask("iptables-nft-save").text)["filter"])


def test_the_table_is_listed_as_it_was_written_and_gone_when_it_is_deleted(machine):
    assert keep(machine, "load").status == 0
    assert parse(machine.ask(*OF_OURS).text) == TABLE
    assert keep(machine, "load").status == 0  # in the place of the one that is there
    assert parse(machine.ask(*OF_OURS).text) == TABLE
    assert keep(machine, "unload").status == 0
    answer = machine.ask(*OF_OURS)
    assert answer.status == 1
    assert answer.stderr.startswith("Error: No such file or directory\nlist table inet cxlstate\n")
    assert keep(machine, "unload").status == 0


@pytest.mark.long
def test_of_a_file_that_is_not_understood_nothing_is_done(machine):
    keep(machine, "load")
    machine.write(forward_keeping.TABLE, "delete table inet cxlstate\nno such statement\n")
    outcome = keep(machine, "load")
    assert outcome.status == 1
    assert "syntax error" in outcome.output
    assert parse(machine.ask(*OF_OURS).text) == TABLE
    machine.write(forward_keeping.TABLE, render(TABLE))
    keep(machine, "unload")


def test_chains_are_listed_with_their_hooks_those_of_iptables_too(machine):
    keep(machine, "load")
    listed = json.loads(machine.ask("nft", "-j", "list", "chains").text)["nftables"]
    chains = {tuple(one["chain"][key] for key in ("family", "table", "name")): one["chain"]
              for one in listed if "chain" in one}  # fmt: skip
    of = {key: chains["inet", "cxlstate", "tag"][key] for key in ("type", "hook", "prio", "policy")}
    assert of == {"type": "filter", "hook": "forward", "prio": -151, "policy": "accept"}
    assert "hook" not in chains["inet", "cxlstate", "outside"]
    assert chains["ip", "filter", "FORWARD"]["hook"] == "forward"
    assert "hook" not in chains["ip", "filter", "LIBVIRT_FWI"]
    keep(machine, "unload")


def test_libvirt_makes_its_chains_and_jumps_to_them_once(machine):
    chains = saved(machine)
    assert {name: rules for name, rules in chains.items() if name.startswith("LIBVIRT")} == CHAINS
    assert saved(machine, "nat")["LIBVIRT_PRT"] == TRANSLATED
    assert chains["FORWARD"] == LINKS
    machine.perform(StopNetwork("default"))
    assert not any(rules for name, rules in saved(machine).items() if name.startswith("LIBVIRT"))
    assert saved(machine)["FORWARD"] == LINKS
    machine.run("iptables-nft", "-A", "FORWARD", "-p", "tcp", "--dport", "99", "-j", "REJECT")
    machine.perform(StartNetwork("default"))
    assert saved(machine)["FORWARD"] == [*LINKS, f"-p tcp -m tcp --dport 99 {REJECT}"]
    machine.run("iptables-nft", "-D", "FORWARD", "4")
    assert {name: rules for name, rules in saved(machine).items() if name.startswith("LIBVIRT")} == CHAINS


def test_the_gate_is_put_ahead_once_and_taken_out_and_others_stay(machine):
    before = saved(machine)
    assert gate(machine) == "missing"
    for _ in range(2):
        assert keep(machine, "gate").status == 0
        assert gate(machine) is None
    machine.run("iptables-nft", "-I", "FORWARD", "-p", "tcp", "-j", "REJECT")
    assert gate(machine) == f"behind -p tcp {REJECT}"
    assert keep(machine, "gate").status == 0
    assert gate(machine) is None
    machine.run("iptables-nft", "-D", "FORWARD", "2")
    assert keep(machine, "ungate").status == 0
    assert saved(machine) == before
    assert keep(machine, "ungate").status == 0


def test_a_rule_that_is_not_there_is_not_deleted_and_a_chain_that_is_not_there_not_jumped_to(machine):
    before = saved(machine)
    assert machine.run("iptables-nft", "-D", "FORWARD", "-j", "DROP").status == 1
    assert machine.run("iptables-nft", "-A", "FORWARD", "-j", "NOSUCH").status != 0
    assert saved(machine) == before


@pytest.mark.long
def test_libvirt_runs_a_hook_that_was_there_when_it_looked(machine):
    keep(machine, "gate")
    machine.run("iptables-nft", "-D", "FORWARD", "1")
    machine.write(forward_keeping.HOOK, forward_keeping.hook(), 0o755)
    assert machine.run("systemctl", "reload", "libvirtd.service").status == 0
    machine.perform(StopNetwork("default"))
    assert gate(machine) == "missing"
    machine.perform(StartNetwork("default"))
    assert gate(machine) is None
    machine.remove(forward_keeping.HOOK)
    keep(machine, "ungate")


def test_the_kernel_forwards_once_it_is_told_to(machine):
    path = "/proc/sys/net/ipv4/ip_forward"
    assert machine.run("sysctl", "--write", "net.ipv4.ip_forward=0").output == "net.ipv4.ip_forward = 0\n"
    assert machine.text(path) == "0\n"
    assert keep(machine, "forwarding").status == 0
    assert machine.text(path) == "1\n"


@pytest.mark.long
def test_iptables_legacy_has_rules_of_its_own(machine):
    assert filter_gate.tables(machine.ask("iptables-legacy-save").text) == {}
    before = saved(machine)
    machine.run("iptables-legacy", "-A", "FORWARD", "-j", "DROP")
    assert machine.text("/proc/net/ip_tables_names").split() == ["filter"]
    assert keep(machine, "gate").status == 0
    tables = filter_gate.tables(machine.ask("iptables-legacy-save").text)
    assert filter_gate.in_iptables(tables["filter"]) is None
    keep(machine, "ungate")
    machine.run("iptables-legacy", "-F", "FORWARD")
    assert saved(machine) == before


@pytest.mark.long
@pytest.mark.changes
def test_the_unit_makes_it_again_at_boot_behind_libvirt(machine):
    machine.write(keepers.UNIT_FILE, keepers.content(keepers.UNIT_FILE))
    machine.run("systemctl", "daemon-reload")
    assert machine.run("systemctl", "enable", keepers.UNIT).status == 0
    machine.reboot()
    assert parse(machine.ask(*OF_OURS).text) == TABLE
    assert machine.text("/proc/sys/net/ipv4/ip_forward") == "1\n"
    machine.perform(StartNetwork("default"))
    assert gate(machine) == "missing"  # no hook
    assert machine.run("systemctl", "restart", "libvirtd.service").status == 0
    machine.run("systemctl", "start", keepers.UNIT)  # who waits for it
    assert gate(machine) is None
