"""A guest with a system in it, on a real libvirt: its address, its memory, and that it notices nothing.

One story in order. The guest starts under emulation within emulation, which takes minutes.
"""

from __future__ import annotations

import re

import pytest
import yaml

from tests.e2e.conftest import Cli
from tests.lab.build import ensure_image
from tests.lab.guest import GUEST_COMMAND_LINE, Guest
from tests.lab.host import LabHost

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(5400)]

SLOWEST = 10.0
"""Seconds for an answer of the guest, whose processor is emulated within an emulated one."""
ADDRESS = "192.168.122.110"
MAC = "52:54:00:00:00:0a"
SPEC = f"""\
apiVersion: cxlstate/v1
host:
  name: lab
  connect: ssh://lab
  services:
    libvirtd: {{enabled: true, running: true}}
  modules:
    kmem: absent
  dax:
    cxl0: {{range: {{start: 4GiB, size: 1GiB}}, align: 2MiB}}
images:
  guest:
    path: /var/lib/libvirt/images/guest.qcow2
    source: {{path: /srv/images/guest.qcow2}}
    as: overlay
    size: 4GiB
networks:
  default:
    active: true
    autostart: true
    reservations:
      - {{mac: '{MAC}', ip: {ADDRESS}, name: guest}}
      - {{mac: '52:54:00:00:00:0b', ip: 192.168.122.111, name: second}}
      - {{mac: '52:54:00:00:00:0c', ip: 192.168.122.112}}
vms:
  guest:
    state: running
    autostart: true
    memory: 768MiB
    vcpu: 1
    vcpupin: [1]
    numatune: {{mode: strict, nodeset: 0}}
    cpu: {{mode: host-passthrough, numa: [{{cpus: 0, memory: 768MiB}}]}}
    nvdimm:
      - dax: dax.cxl0
        size: 960MiB
        label: 16MiB
        alignsize: 2MiB
        pmem: true
        access: shared
        node: 0
        slot: 0
    disks:
      - {{target: vda, image: image.guest}}
    interfaces:
      - {{network: default, mac: '{MAC}', model: virtio}}
    os:
      kernel: /srv/images/guest.vmlinuz
      initrd: /srv/images/guest.initrd
      cmdline: {GUEST_COMMAND_LINE}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with LabHost.start(ensure_image(), tmp_path_factory.mktemp("machines")) as host:
        yield host


@pytest.fixture(scope="module")
def cli(host):
    return Cli(host.ssh_config)


@pytest.fixture(scope="module")
def guest(host):
    return Guest(host, "guest", ADDRESS)


class Spec:
    """The spec as data, written anew for each apply."""

    def __init__(self, path):
        self.path = path
        self.data = yaml.safe_load(SPEC)
        self.write()

    def write(self):
        self.path.write_text(yaml.safe_dump(self.data, sort_keys=False))
        return self.path

    @property
    def vm(self):
        return self.data["vms"]["guest"]

    @property
    def reservations(self):
        return self.data["networks"]["default"]["reservations"]


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return Spec(tmp_path_factory.mktemp("specs") / "lab.yaml")


def applied(cli, spec, *more, exits=0):
    done = cli.run("apply", "--yes", *more, spec.write())
    assert done.returncode == exits, done.stdout + done.stderr
    return done


def in_sync(cli, spec):
    done = cli.run("plan", spec.write())
    assert done.returncode == 0, done.stdout + done.stderr


def virsh(host, *words):
    return host.run(["virsh", *words]).stdout


def journal(host):
    return host.run(["cat", "/var/lib/cxlstate/journal.jsonl"]).stdout


def persistent_memory(guest):
    """Wait until it answers at its address, and see that it has its memory."""
    guest.wait()
    assert ADDRESS in guest.run("ip -4 -o address").stdout
    assert "Persistent Memory" in guest.run("cat /proc/iomem").stdout


def boot_id(guest):
    return guest.run("cat /proc/sys/kernel/random/boot_id").stdout


def test_one_apply_and_the_guest_has_its_memory_and_its_address(cli, host, spec, guest):
    applied(cli, spec, "--allow", "reboot-host")
    persistent_memory(guest)
    size = guest.run("cat /sys/bus/nd/devices/region0/size").stdout
    assert int(size) == (960 - 16) << 20
    qemu = host.run(["cat", "/run/libvirt/qemu/guest.pid"]).stdout.strip()
    confined = host.run(["cat", f"/proc/{qemu}/attr/current"]).stdout
    assert re.search(r"libvirt-\S+ \(enforce\)", confined), confined
    assert host.run(f"ls -l /proc/{qemu}/map_files /proc/{qemu}/fd").stdout.count("/dev/dax")
    assert "/dev/cxlstate/cxl0" in virsh(host, "dumpxml", "guest")


def test_a_second_apply_does_nothing(cli, host, spec):
    in_sync(cli, spec)
    before = journal(host)
    applied(cli, spec)
    assert journal(host) == before


def hosts(host, *words):
    found = re.findall(
        r"<host mac='([^']+)'(?: name='([^']+)')? ip='([^']+)'/>", virsh(host, "net-dumpxml", *words)
    )
    return {mac: (ip, name) for mac, name, ip in found}


def reserved(host):
    live, kept = hosts(host, "default"), hosts(host, "default", "--inactive")
    assert live == kept
    return live


def test_reservations_and_pins_change_under_a_guest_that_notices_nothing(cli, host, spec, guest):
    virsh(host, "net-update", "default", "add-last", "ip-dhcp-host",
          "<host mac='52:54:00:00:00:ff' ip='192.168.122.250'/>", "--live", "--config")  # fmt: skip
    with guest.watched() as watch:
        spec.reservations.append({"mac": "52:54:00:00:00:0d", "ip": "192.168.122.113", "name": "fourth"})
        applied(cli, spec)
        assert reserved(host)["52:54:00:00:00:0d"] == ("192.168.122.113", "fourth")
        spec.reservations[2]["ip"] = "192.168.122.114"
        applied(cli, spec)
        assert reserved(host)["52:54:00:00:00:0c"] == ("192.168.122.114", "")
        second, fourth = spec.reservations[1], spec.reservations[3]
        for word in ("ip", "name"):
            second[word], fourth[word] = fourth[word], second[word]
        applied(cli, spec)
        assert reserved(host)["52:54:00:00:00:0b"] == ("192.168.122.113", "fourth")
        assert reserved(host)["52:54:00:00:00:0d"] == ("192.168.122.111", "second")
        del spec.reservations[2]
        applied(cli, spec)
        assert "52:54:00:00:00:0c" not in reserved(host)
        spec.vm["vcpupin"] = [0]
        applied(cli, spec)
        assert re.search(r"^ 0 +0$", virsh(host, "vcpupin", "guest"), re.MULTILINE)
        assert re.search(r"^ 0 +0$", virsh(host, "vcpupin", "guest", "--config"), re.MULTILINE)
        assert "CPU Affinity:   y---" in virsh(host, "vcpuinfo", "guest")
        assert reserved(host)["52:54:00:00:00:ff"] == ("192.168.122.250", ""), "nobody's business of ours"
        in_sync(cli, spec)
    assert not watch.ended
    assert len(watch.answers) > 5
    print(f"{len(watch.answers)} answers, the slowest after {watch.longest:.1f} s")
    assert watch.longest < SLOWEST


def test_memory_and_alignment_are_had_by_asking_the_guest_to_shut_down(cli, host, spec, guest):
    spec.vm["memory"] = "832MiB"
    spec.vm["cpu"]["numa"][0]["memory"] = "832MiB"
    spec.vm["nvdimm"][0]["alignsize"] = "4MiB"
    boot = boot_id(guest)
    done = applied(cli, spec, exits=3)
    assert "pending restart" in done.stdout
    assert cli.statuses("plan", spec.path)["vm.guest"] == "pending-restart"
    assert boot_id(guest) == boot, "nobody restarted it"
    applied(cli, spec, "--allow", "restart-vm=lab/vm.guest")
    persistent_memory(guest)
    assert boot_id(guest) != boot
    assert "<alignsize unit='KiB'>4096</alignsize>" in virsh(host, "dumpxml", "guest")
    in_sync(cli, spec)


def test_the_hosts_reboot_brings_all_of_it_back(cli, host, spec, guest):
    host.reboot_and_wait()
    persistent_memory(guest)
    in_sync(cli, spec)
    assert host.run(["systemctl", "is-active", "cxlstate-restore.service"]).stdout.strip() == "active"
    assert "running" in virsh(host, "domstate", "guest")
