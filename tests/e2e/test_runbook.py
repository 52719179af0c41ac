"""The manual procedure as one spec, from a stock host and a cloud image: one apply, with its consents.

Kernel command line, modules, dax device, MTRR, boot unit, patched kernel source, network, image, VM with its
memory, port forward, first boot, and what is in the guest down to the device that its programs map; then
through a reboot of the host.

Two systems start under emulation, one within the other: many minutes.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.corpus import kernel
from tests.e2e import test_provision as provisioning
from tests.e2e.conftest import cli_of
from tests.e2e.test_nested_guest import spec_in as nested
from tests.e2e.test_nvdimm import MEMORY, REGION
from tests.e2e.test_provision import Client, bring, told
from tests.e2e.vms import applied, in_sync, journal, virsh
from tests.lab.build import ensure_image
from tests.lab.stages import Stage
from tests.tarballs import tarball

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(7200)]

CONSENTS = "reboot-host,destroy-data=lab/guest:namespace.cxl"
LONGEST = 5400
"""Seconds for an apply."""
SOURCE = "linux-source-6.12"
HMEM_C = f"/usr/src/{SOURCE}/drivers/dax/hmem/hmem.c"
OUTSIDE = """
ip netns add outside
ip link add voutside type veth peer name eth0 netns outside
ip -n outside address add 198.51.100.9/24 dev eth0
ip -n outside link set eth0 up
ip link set voutside up
ip address add 198.51.100.1/24 dev voutside
"""
GREETED = "bash -c 'exec 3<>/dev/tcp/198.51.100.1/8022; timeout 60 head -c 7 <&3'"
MAPPED = """\
import mmap, os
device = os.open("/dev/dax0.0", os.O_RDWR)
with mmap.mmap(device, 2 << 20) as memory:
    memory[:4] = b"kept"
    print(memory[:4].decode())
"""


def spec_in(folder):
    """The host as in the stories of its memory; the guest as in that of its first boot, with a namespace."""
    spec, provisioned = nested(folder), provisioning.spec_in(folder)
    host = spec.data["host"]
    host["mtrr"] = {"cxl0": {"cover": "dax.cxl0"}}
    host["packages"] = ["ndctl", "daxctl", "nftables", "iptables"]
    host["kernel"] = {"source": f"/usr/src/{SOURCE}", "patches": ["dax-hmem-align-4k"]}
    host["forwards"] = {
        "ssh": {"listen": {"port": 8022, "address": "198.51.100.1"}, "to": {"vm": "guest", "port": 22}}
    }
    spec.data["images"] = provisioned.data["images"]
    spec.vm["os"] = provisioned.vm["os"]
    del spec.vm["nvdimm"][0]["alignsize"]  # `align` stands once, at the device
    inside = provisioned.vm["guest"]
    spec.vm["guest"] = inside | {
        "packages": ["ndctl", "daxctl", *inside["packages"]],
        "modules": {"nd_pmem": "present", "dax_pmem": "present"},
        "namespaces": {"cxl": {"nvdimm": 0, "map": "mem"}},
    }
    return spec


def bring_source(host):
    """Files of Debian's kernel, where its package puts the tarball. There is no xz on this host."""
    there = kernel.tree(kernel.PACKAGES["Debian 13"])
    files = {f"{SOURCE}/{path}": text for path, text in there.items() if text is not None}
    content = tarball({f"{SOURCE}/Makefile": "VERSION = 6\n", **files}, "gz")
    subprocess.run(
        [*host.ssh.argv("root"), f"cat >/usr/src/{SOURCE}.tar.xz"], input=content, check=True, timeout=900
    )


def from_nothing(host):
    """One apply, from a stock host that somebody has brought a cloud image to."""
    bring(host)
    bring_source(host)
    (host.workdir / "key.pub").write_text(Path(f"{ensure_image().identity}.pub").read_text())
    cli, spec = cli_of(host), spec_in(host.workdir)
    begun = time.monotonic()
    done = cli.run("apply", "--yes", "--allow", CONSENTS, spec.write(), timeout=LONGEST)
    print(f"applied in {time.monotonic() - begun:.0f} s")
    print(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr


IN_SYNC = Stage("runbook-in-sync", from_nothing)


@pytest.fixture
def spec(host):
    return spec_in(host.workdir)


@pytest.fixture
def client(host, spec, tmp_path):
    found = Client(tmp_path, host)
    done = found.cxlstate("ssh-config", "--write", spec.write())
    assert done.returncode == 0, done.stdout + done.stderr
    return found


def the_device(client):
    """Of the guest: in the mode, size and alignment that follow from the spec, and mapped."""
    (found,) = json.loads(told(client, "sudo ndctl list -N"))
    assert (found["mode"], found["map"]) == ("devdax", "mem")
    assert (found["align"], found["size"]) == (2 << 20, REGION - MEMORY)
    sizes = told(client, f"cd /sys/bus/dax/devices/{found['chardev']} && cat align size").split()
    assert sizes == [str(2 << 20), str(REGION - MEMORY)]
    done = client.ssh(f"sudo python3 -c '{MAPPED}'")
    assert done.stdout == "kept\n", done.stderr


def forwarded(host):
    """The guest's sshd greets the host and somebody outside, at the host's address."""
    host.run(OUTSIDE)
    for asking in ("", "ip netns exec outside "):
        assert host.run(asking + GREETED).stdout == "SSH-2.0"


@pytest.mark.stage(IN_SYNC)
def test_one_apply_from_nothing_and_the_next_one_does_nothing(cli, host, spec, client):
    said = told(client, "id; hostname")
    assert f"({provisioning.USER})" in said
    assert said.endswith("cxl-vmx\n")
    the_device(client)
    assert "uncachable" in host.run(["cat", "/proc/mtrr"]).stdout
    assert "PAGE_SIZE, flags" in host.run(["cat", HMEM_C]).stdout
    forwarded(host)
    in_sync(cli, spec)
    before = journal(host)
    applied(cli, spec)
    assert journal(host) == before


@pytest.mark.stage(IN_SYNC)
def test_it_is_all_there_again_after_a_reboot_of_the_host(cli, host, spec, client):
    host.reboot_and_wait()
    in_time = time.monotonic() + 1200
    while client.ssh("true").returncode and time.monotonic() < in_time:
        time.sleep(5)
    assert "running" in virsh(host, "domstate", "guest")
    in_sync(cli, spec)
    the_device(client)
    forwarded(host)
