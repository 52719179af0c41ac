"""Port forwards on a real host with libvirt, systemd and Docker's chains, and what others do to them.

A network namespace on libvirt's bridge, with the address that is reserved for the VM, stands for its guest:
the packets are the same. Another one is a client outside.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import HEAD, cli_of
from tests.lab.stages import Stage

SPEC = f"""\
{HEAD}\
  forwards:
    web: {{listen: {{port: 8080, address: 198.51.100.1}}, to: {{vm: guest, port: 80}}}}
networks:
  default:
    active: true
    autostart: true
    address: 192.168.122.1/24
    reservations: [{{mac: '52:54:00:00:00:0a', ip: 192.168.122.110}}]
vms:
  guest:
    state: shut-off
    memory: 64MiB
    vcpu: 1
    interfaces: [{{network: default, mac: '52:54:00:00:00:0a'}}]
"""
PEERS = """
peer() {
    ip netns add "$1"
    ip link add "v$1" type veth peer name eth0 netns "$1"
    ip -n "$1" link set lo up
    ip -n "$1" address add "$2/24" dev eth0
    ip -n "$1" link set eth0 up
    ip -n "$1" route add default via "$3"
}
peer outside 198.51.100.9 198.51.100.1
ip link set voutside up
ip address add 198.51.100.1/24 dev voutside
peer g1 192.168.122.110 192.168.122.1
peer g2 192.168.122.111 192.168.122.1
mkdir -p /run/served
echo g1 >/run/served/who
systemd-run --quiet --unit=served ip netns exec g1 python3 -m http.server --directory /run/served 80
"""
PLUGGED = "for name in g1 g2; do ip link set v$name master virbr0 up; done"
ASKED = """
for from in '' 'ip netns exec outside' 'ip netns exec g2'; do
    for turn in $(seq 20); do
        [ "$($from curl -s -m 2 http://198.51.100.1:8080/who)" != g1 ] || continue 2
        sleep 1
    done
    echo "no answer: ${from:-host}"
    exit 1
done
"""
# As in the listing of the runbook, by a dockerd that starts when all else is there.
DOCKER = """
for chain in DOCKER DOCKER-USER DOCKER-ISOLATION-STAGE-1; do iptables -N $chain; done
iptables -A DOCKER-USER -j RETURN
iptables -A DOCKER-ISOLATION-STAGE-1 -j RETURN
iptables -P FORWARD DROP
iptables -I FORWARD -i docker0 -o docker0 -j ACCEPT
iptables -I FORWARD -i docker0 ! -o docker0 -j ACCEPT
iptables -I FORWARD -o docker0 -j DOCKER
iptables -I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -I FORWARD -j DOCKER-ISOLATION-STAGE-1
iptables -I FORWARD -j DOCKER-USER
iptables -A FORWARD -o br-ebf3efdace98 -j DOCKER
iptables -A FORWARD -i br-ebf3efdace98 ! -o br-ebf3efdace98 -j ACCEPT
iptables -t nat -N DOCKER
iptables -t nat -I PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -I OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -I POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
"""
OTHER_ORDER = """
for jump in DOCKER-USER DOCKER-ISOLATION-STAGE-1; do
    iptables -D FORWARD -j $jump
    iptables -I FORWARD -j $jump
done
"""
BY_HAND = """
iptables -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 192.168.122.110:80
iptables -I FORWARD -d 192.168.122.110 -p tcp --dport 80 -j ACCEPT
"""
REFUSED = "iptables -I FORWARD -p tcp --dport 80 -j REJECT"
IN_NFTABLES = "nft insert rule ip libvirt_network forward tcp dport 80 reject"
NFTABLES = """
echo 'firewall_backend = "nftables"' >>/etc/libvirt/network.conf
systemctl restart libvirtd
"""
# Until the unit that libvirtd pulls in has ended once more: while it runs, it is no more active than before.
LIBVIRT_AGAIN = """
ended() { systemctl show --value --property=ExecMainExitTimestampMonotonic cxlstate-forward; }
was=$(ended)
systemctl restart libvirtd
for turn in $(seq 120); do
    now=$(ended)
    [ "$now" = "$was" ] || [ "$now" = 0 ] || exit 0
    sleep 1
done
exit 1
"""
RULES = "iptables-save | sed 's/\\[[0-9:]*\\]//; /^#/d'"


def written(folder):
    path = folder / "forwards.yaml"
    path.write_text(SPEC)
    return path


def apply(host):
    """In force; then the peers come."""
    done = cli_of(host).run("apply", "--yes", written(host.workdir))
    assert done.returncode == 0, done.stdout + done.stderr
    host.run(PEERS)
    host.run(PLUGGED)


def apply_with_nftables(host):
    host.run(NFTABLES)
    apply(host)


APPLIED = Stage("forwards-applied", apply)
NEWEST = Stage("forwards-newest", apply_with_nftables, image="newest")
long = pytest.mark.long
pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]


@pytest.fixture
def spec(tmp_path):
    return written(tmp_path)


def in_sync(cli, spec):
    done = cli.run("plan", spec)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rebooted(host):
    """With the peers again, which no boot makes."""
    host.reboot_and_wait()
    host.run("systemctl is-system-running --wait || true")
    host.run(PEERS)
    host.run(PLUGGED)


def kept(cli, host, spec):
    """It is as it was, and answers."""
    in_sync(cli, spec)
    answers(host)


def answers(host):
    """From outside, from the host and from another guest."""
    host.run(ASKED)


def is_mended(cli, host, spec, command, said):
    """What somebody put ahead of our rule is named, refuses, and is behind it after an apply."""
    host.run(command)
    drift = cli.run("drift", spec)
    assert drift.returncode == 2, drift.stdout + drift.stderr
    assert said in drift.stdout
    done = cli.run("apply", "--yes", spec)
    assert done.returncode == 0, done.stdout + done.stderr
    answers(host)


@pytest.mark.stage(APPLIED)
def test_a_guest_answers_everybody_again_after_its_network_was_stopped_and_a_rule_put_ahead(cli, host, spec):
    in_sync(cli, spec)
    answers(host)
    host.run("iptables -D FORWARD 1; virsh net-destroy default; virsh net-start default")
    host.run(PLUGGED)
    in_sync(cli, spec)
    is_mended(cli, host, spec, REFUSED, "behind -p tcp -m tcp --dport 80 -j REJECT")


@long
@pytest.mark.stage(APPLIED)
def test_it_survives_a_restart_of_libvirt_and_a_reboot(cli, host, spec):
    host.run("iptables -F FORWARD")
    host.run(LIBVIRT_AGAIN)
    kept(cli, host, spec)
    rebooted(host)
    kept(cli, host, spec)


@long
@pytest.mark.stage(APPLIED)
def test_dockers_chains_come_go_and_change_their_order(cli, host, spec):
    for command in (DOCKER, "iptables -F DOCKER-USER", OTHER_ORDER):
        host.run(command)
        in_sync(cli, spec)
        answers(host)


@long
@pytest.mark.stage(APPLIED)
def test_the_rules_of_the_runbook_are_told_as_the_same_and_left(cli, host, spec):
    host.run(BY_HAND)
    before = host.run(RULES).stdout
    said = in_sync(cli, spec)
    assert "CXY306" in said
    assert "iptables-nft -t nat -D PREROUTING -p tcp -m tcp --dport 8080 -j DNAT" in said
    done = cli.run("apply", "--yes", spec)
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.run(RULES).stdout == before
    answers(host)


@long
@pytest.mark.stage(NEWEST)
def test_with_the_newest_libvirt_and_its_own_nftables(cli, host, spec):
    assert "libvirt_network" in host.run("nft list tables").stdout
    in_sync(cli, spec)
    answers(host)
    is_mended(cli, host, spec, IN_NFTABLES, "gate in libvirt")
    host.run("virsh net-destroy default; virsh net-start default")
    host.run(PLUGGED)
    in_sync(cli, spec)
    answers(host)
    host.run(LIBVIRT_AGAIN)
    kept(cli, host, spec)
    rebooted(host)
    kept(cli, host, spec)
