"""One spec with a network, an image and a VM on the Soft Reserved device, and what is done with it.

`test_virtual_machines.py` has its guest without a system, `test_nested_guest.py` with one.
"""

from __future__ import annotations

import re

import yaml

from tests.e2e.conftest import AT_BOOT, HEAD

ADDRESS = "192.168.122.110"
MAC = "52:54:00:00:00:0a"
SPEC = f"""\
{HEAD}{AT_BOOT}\
  services:
    libvirtd: {{enabled: true, running: true}}
  dax:
    cxl0: {{range: {{start: 4GiB, size: 1GiB}}, align: 2MiB}}
images:
  guest:
    path: /var/lib/libvirt/images/guest.qcow2
    size: 1GiB
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
    shutdown_timeout: 10
"""


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


def applied(cli, spec, *more, exits=0):
    done = cli.run("apply", "--yes", *more, spec.write())
    assert done.returncode == exits, done.stdout + done.stderr
    return done


def in_sync(cli, spec):
    done = cli.run("plan", spec.write())
    assert done.returncode == 0, done.stdout + done.stderr


def virsh(host, *words, check=True):
    return host.run(["virsh", *words], check=check).stdout


def xml(host, *words):
    return virsh(host, *words) + virsh(host, *words, "--inactive")


def journal(host):
    return host.run(["cat", "/var/lib/cxlstate/journal.jsonl"]).stdout


def confined_on_the_device(host):
    """QEMU under its AppArmor profile, with the device open, by the stable link."""
    qemu = host.run(["cat", "/run/libvirt/qemu/guest.pid"]).stdout.strip()
    confined = host.run(["cat", f"/proc/{qemu}/attr/current"]).stdout
    assert re.search(r"libvirt-\S+ \(enforce\)", confined), confined
    assert host.run(f"ls -l /proc/{qemu}/map_files /proc/{qemu}/fd").stdout.count("/dev/dax")
    assert "/dev/cxlstate/cxl0" in virsh(host, "dumpxml", "guest")


def hosts(host, *words):
    found = re.findall(
        r"<host mac='([^']+)'(?: name='([^']+)')? ip='([^']+)'/>", virsh(host, "net-dumpxml", *words)
    )
    return {mac: (ip, name) for mac, name, ip in found}


def reserved(host):
    live, kept = hosts(host, "default"), hosts(host, "default", "--inactive")
    assert live == kept
    return live


def reservations_and_pins_change(cli, host, spec):
    """Added, changed, swapped, removed and pinned, each seen by virsh. One entry is somebody else's."""
    virsh(host, "net-update", "default", "add-last", "ip-dhcp-host",
          "<host mac='52:54:00:00:00:ff' ip='192.168.122.250'/>", "--live", "--config")  # fmt: skip
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
