"""Port forwards on a real kernel: packets of a client, of the host, of guests, through filters of others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from ipaddress import IPv4Network

import pytest

from cxlstate.formats.forward_table import ORIGINS, Element, Table, parse, render
from cxlstate.resources.forward import keepers
from tests.machine.forwarding import CLIENT, GUESTS, HOST_INSIDE, HOST_OUTSIDE, Host

pytestmark = pytest.mark.slow

# As libvirt makes them (iptablesSetupPrivateChains and iptablesForwardReject* in network/network_iptables.c).
IPTABLES = """
for c in FWX FWI FWO; do {0} -N LIBVIRT_$c; done
for c in FWO FWI FWX; do {0} -I FORWARD -j LIBVIRT_$c; done
{0} -A LIBVIRT_FWI -d 192.168.122.0/24 -o virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
{0} -A LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp-port-unreachable
{0} -A LIBVIRT_FWO -s 192.168.122.0/24 -i virbr0 -j ACCEPT
{0} -A LIBVIRT_FWO -i virbr0 -j REJECT --reject-with icmp-port-unreachable
{0} -A LIBVIRT_FWX -i virbr0 -o virbr0 -j ACCEPT
"""
# network/network_nftables.c
NFTABLES = """
nft -f - <<END
table ip libvirt_network {
 chain guest_output { ip saddr 192.168.122.0/24 iif virbr0 counter accept; iif virbr0 counter reject; }
 chain guest_input {
  oif virbr0 ip daddr 192.168.122.0/24 ct state established,related counter accept
  oif virbr0 counter reject
 }
 chain guest_cross { iif virbr0 oif virbr0 counter accept; }
 chain forward {
  type filter hook forward priority 0; policy accept;
  counter jump guest_cross; counter jump guest_input; counter jump guest_output;
 }
}
END
"""
# As dockerd 26 makes them when it starts, ahead of all others.
DOCKER = """
iptables-nft -P FORWARD DROP
for c in DOCKER DOCKER-USER DOCKER-ISOLATION-STAGE-1; do iptables-nft -N $c; done
iptables-nft -A DOCKER-USER -j RETURN
iptables-nft -A DOCKER-ISOLATION-STAGE-1 -j RETURN
iptables-nft -I FORWARD -i docker0 -o docker0 -j ACCEPT
iptables-nft -I FORWARD -o docker0 -j DOCKER
iptables-nft -I FORWARD -j DOCKER-ISOLATION-STAGE-1
iptables-nft -I FORWARD -j DOCKER-USER
"""
FILTERS = {
    "iptables-nft": IPTABLES.format("iptables-nft"),
    "iptables-legacy": IPTABLES.format("iptables-legacy"),
    "libvirt": NFTABLES,
}
REJECT = {
    "iptables-nft": ("iptables-nft -I FORWARD -p tcp -j REJECT", "behind -p tcp -j REJECT"),
    "iptables-legacy": ("iptables-legacy -I FORWARD -p tcp -j REJECT", "behind -p tcp -j REJECT"),
    "libvirt": ("nft insert rule ip libvirt_network forward tcp dport 8080 reject", "behind other rules"),
}
UNGATE = {
    "iptables-nft": "iptables-nft -D FORWARD 1",
    "iptables-legacy": "iptables-legacy -D FORWARD 1",
    "libvirt": "nft flush chain {0}; nft add rule {0} jump guest_input".format("ip libvirt_network forward"),
}
SPEC = """
apiVersion: cxlstate/v1
host:
  name: h
  connect: local
  forwards:
    web: {listen: {port: 8080, address: 198.51.100.1}, to: {address: 192.168.122.101}}
    many: {listen: {ports: 9000-9001, protocol: udp, interface: c0}, to: {address: 192.168.122.102}}
    moved:
      listen: {port: 7000, address: 198.51.100.1}
      to: {address: 192.168.122.102, port: 9001}
      from: [outside]
"""
NONE = "apiVersion: cxlstate/v1\nhost: {name: h, connect: local}\n"
REFUSED = "ConnectionRefusedError"
LIBVIRTD = """
ip link delete virbr0
for d in lib cache log; do
    mkdir -p /run/libvirt-$d /var/$d/libvirt
    mount --bind /run/libvirt-$d /var/$d/libvirt
done
mkdir -p /etc/libvirt
echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>/etc/passwd
echo 'libvirt-qemu:x:64055:' >>/etc/group
printf '%s\\n' 'security_driver = "none"' 'cgroup_controllers = []' 'namespaces = []' >/etc/libvirt/qemu.conf
printf '%s = "none"\\n' auth_unix_ro auth_unix_rw >/etc/libvirt/libvirtd.conf
setsid libvirtd --pid-file /run/libvirtd.pid >/run/libvirtd.log 2>&1 </dev/null &
for n in $(seq 100); do ! timeout 2 virsh uri >/dev/null 2>&1 || break; sleep 0.2; done
virsh uri
"""
OF_A_VM = """
apiVersion: cxlstate/v1
host:
  name: h
  connect: local
  forwards:
    web: {listen: {port: 8080, address: 198.51.100.1}, to: {vm: g1}}
networks:
  default:
    active: true
    address: 192.168.122.1/24
    reservations: [{mac: '52:54:00:00:00:01', ip: 192.168.122.101}]
vms:
  g1:
    state: shut-off
    memory: 64MiB
    vcpu: 1
    interfaces: [{mac: '52:54:00:00:00:01', network: default}]
"""


@pytest.fixture
def host(tmp_path):
    if subprocess.run(["unshare", "--mount", "--net", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespace can be made here")
    made = Host(tmp_path)
    yield made
    made.stop()


def plan(host: Host, verb: str, spec: str, *words: str) -> tuple[int, str]:
    file = host.folder / "spec.yaml"
    file.write_text(spec)
    return host.cxlstate(verb, *words, str(file))


def others(host: Host) -> str:
    """All rules but ours, without what counts packets."""
    saved = "".join(host.run(f"{name}-save") for name in ("iptables-nft", "iptables-legacy"))
    listed = host.run("nft", "-s", "list", "table", "ip", "libvirt_network", check=False)
    lines = [line for line in (saved + listed).splitlines() if "cxlstate" not in line and line[:1] != "#"]
    return re.sub(r"\[\d+:\d+\]", "", "\n".join(lines))


@pytest.mark.parametrize("filter_", FILTERS)
def test_a_forward_leads_through_what_refuses_it_and_is_kept_there(host, filter_):
    host.sh(FILTERS[filter_])
    before = others(host)
    assert host.client.connect(HOST_OUTSIDE, 8080) == REFUSED
    assert plan(host, "apply", SPEC, "--yes")[0] == 0
    assert plan(host, "plan", SPEC)[0] == 0
    assert host.client.connect(HOST_OUTSIDE, 8080) == f"g1 8080 {CLIENT}"
    assert host.client.connect(HOST_OUTSIDE, 9001, "udp") == f"g2 9001 {CLIENT}"
    assert host.client.connect(HOST_OUTSIDE, 7000) == f"g2 9001 {CLIENT}"
    assert host.connect(HOST_OUTSIDE, 8080) == f"g1 8080 {HOST_OUTSIDE}"
    assert host.connect(HOST_OUTSIDE, 7000) == REFUSED  # from: [outside]
    assert others(host) == before

    command, fault = REJECT[filter_]
    host.sh(command)
    assert host.client.connect(HOST_OUTSIDE, 8080) == REFUSED
    status, text = plan(host, "drift", SPEC)
    assert status == 2
    assert f"gate in {filter_}" in text
    assert fault in text
    assert plan(host, "apply", SPEC, "--yes")[0] == 0
    assert host.client.connect(HOST_OUTSIDE, 8080) == f"g1 8080 {CLIENT}"

    host.sh(UNGATE[filter_])
    assert host.client.connect(HOST_OUTSIDE, 8080) == REFUSED
    host.run(
        "/etc/libvirt/hooks/network.d/50-cxlstate", "default", "started", "begin", "-", text="<network/>"
    )
    assert host.client.connect(HOST_OUTSIDE, 8080) == f"g1 8080 {CLIENT}"
    host.sh("nft delete table inet cxlstate; sh /etc/cxlstate/forward boot")  # as after a reboot
    assert plan(host, "plan", SPEC)[0] == 0

    assert plan(host, "apply", NONE, "--yes")[0] == 0
    assert "cxlstate" not in host.run("nft", "list", "ruleset")
    assert "cxlstate" not in host.run("iptables-nft-save") + host.run("iptables-legacy-save")
    assert not any(host.run("sh", "-c", f"ls {path} 2>/dev/null || true") for path in keepers.FILES)
    assert host.run("ls", "/run/enabled") == ""


def test_what_was_done_is_undone_where_the_filter_cannot_be_written(host, monkeypatch):
    host.sh(FILTERS["iptables-nft"] + "echo 0 >/proc/sys/net/ipv4/ip_forward")
    broken = host.folder / "bin"
    broken.mkdir()
    (broken / "iptables-nft-restore").write_text("#!/bin/sh\ncat >/dev/null\nexit 4\n")
    (broken / "iptables-nft-restore").chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken}:{os.environ['PATH']}")
    before = others(host)
    status, text = plan(host, "apply", SPEC, "--yes")
    assert status == 1
    assert "error[CXE203]" in text
    assert host.run("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"
    assert host.run("nft", "list", "table", "inet", "cxlstate", check=False) == ""
    assert not any(host.run("sh", "-c", f"ls {path} 2>/dev/null || true") for path in keepers.FILES)
    assert others(host) == before


def test_dockers_chains_may_be_ahead_and_its_user_chain_flushed(host):
    host.sh(FILTERS["iptables-nft"])
    assert plan(host, "apply", SPEC, "--yes")[0] == 0
    host.sh(DOCKER)
    assert plan(host, "plan", SPEC)[0] == 0
    assert host.client.connect(HOST_OUTSIDE, 8080) == f"g1 8080 {CLIENT}"
    host.sh("iptables-nft -F DOCKER-USER")
    assert plan(host, "plan", SPEC)[0] == 0
    assert host.client.connect(HOST_OUTSIDE, 8080) == f"g1 8080 {CLIENT}"


def test_the_rules_of_the_runbook_are_told_and_left(host):
    host.sh(FILTERS["iptables-nft"])
    rule = "PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 192.168.122.101:8080"
    host.sh(
        f"iptables-nft -t nat -A {rule};"
        "iptables-nft -I FORWARD -d 192.168.122.101 -p tcp --dport 8080 -j ACCEPT"
    )
    before = others(host)
    status, text = plan(host, "apply", SPEC, "--yes")
    assert status == 0
    assert "CXY306" in text
    assert f"iptables-nft -t nat -D {rule}" in text
    assert others(host) == before


@pytest.mark.thorough
def test_the_guest_of_a_vm_with_libvirt_itself_and_its_hook(host, monkeypatch):
    if not shutil.which("libvirtd", path="/usr/sbin"):
        pytest.skip("a private libvirtd needs its package (tools/test-setup)")
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "qemu:///system")
    host.sh(LIBVIRTD)
    try:
        status, text = plan(host, "apply", OF_A_VM, "--yes")
        assert status == 0, text
        answers(host, f"g1 8080 {CLIENT}")
        host.sh("kill -HUP $(cat /run/libvirtd.pid); sleep 1")  # it looks for hooks
        host.sh("iptables -D FORWARD 1; virsh net-destroy default; virsh net-start default")
        status, text = plan(host, "plan", OF_A_VM)
        assert status == 0, text
        answers(host, f"g1 8080 {CLIENT}")
    finally:
        host.sh("virsh net-destroy default; kill $(cat /run/libvirtd.pid)")


def answers(host: Host, wanted: str) -> None:
    """Once the bridge forwards: for some seconds after it got a port it only learns."""
    host.sh("for name in g1 g2; do ip link set v$name master virbr0 up; done")
    for _ in range(20):
        if (got := host.client.connect(HOST_OUTSIDE, 8080)) == wanted:
            return
    assert got == wanted


@pytest.mark.parametrize("bridged", ["0", "1"])
def test_guests_reach_each_other_and_themselves_by_the_host(host, bridged):
    """Whether the filters see what a bridge forwards or not."""
    calls = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    host.sh(f"[ ! -e {calls} ] || echo {bridged} >{calls}; echo 1 >/proc/sys/net/ipv4/ip_forward")
    host.sh(FILTERS["iptables-nft"])
    if bridged == "1":
        host.sh("for port in /sys/class/net/virbr0/brif/*; do echo 1 >$port/hairpin_mode; done")
    elements = frozenset(Element(origin, "tcp", 8080, 8080, GUESTS["g1"]) for origin in ORIGINS)
    table = Table({"web": elements}, frozenset([IPv4Network("192.168.122.0/24")]))
    host.run("nft", "-f", "-", text=render(table))
    for name in GUESTS:
        assert host.guests[name].connect(HOST_OUTSIDE, 8080) == f"g1 8080 {HOST_INSIDE}"
    assert parse(host.run("nft", "-j", "list", "table", "inet", "cxlstate")) == table


def test_an_open_connection_ends_with_its_forward(host):
    host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward")
    kept = frozenset([Element("outside", "udp", 9000, 9000, GUESTS["g1"])])
    gone = frozenset([Element("outside", "udp", 9001, 9001, GUESTS["g1"])])
    host.run("nft", "-f", "-", text=render(Table({"kept": kept, "gone": gone})))
    assert host.client.connect(HOST_OUTSIDE, 9001, "udp") == f"g1 9001 {CLIENT}"
    host.run("nft", "-f", "-", text=render(Table({"kept": kept})))
    assert host.client.connect(HOST_OUTSIDE, 9000, "udp") == f"g1 9000 {CLIENT}"
    assert host.client.connect(HOST_OUTSIDE, 9001, "udp") == REFUSED


def test_a_thousand_forwards_load_at_once_and_read_back(host):
    forwards = {
        f"f{n}": frozenset(
            Element(origin, "tcp", 20000 + n, 20000 + n, f"192.168.122.{100 + n % 100}", 8000 + n // 100)
            for origin in ORIGINS
        )
        for n in range(1000)
    }
    table = Table(forwards, frozenset([IPv4Network("192.168.122.0/24"), IPv4Network("192.168.123.0/24")]))
    host.run("nft", "-f", "-", text=render(table))
    assert parse(host.run("nft", "-j", "list", "table", "inet", "cxlstate")) == table
    host.run("nft", "add", "element", "inet", "cxlstate", "targets", "{ 10.0.0.1 . tcp . 22 }")
    host.run("nft", "insert", "rule", "inet", "cxlstate", "output", "accept")
    read = parse(host.run("nft", "-j", "list", "table", "inet", "cxlstate"))
    assert set(read.strange) == {"set targets", "chain output"}
