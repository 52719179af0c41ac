"""The newest kernel, QEMU and libvirt: the whole of a host's memory and a VM on it, through a reboot, proven.

From Linux 7.0 on `/proc/iomem` has no `Soft Reserved`: a device is there by its own name, or by none.
"""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import cli_of
from tests.e2e.test_host_memory import in_force, in_sync
from tests.lab.stages import Stage

SPEC = """\
apiVersion: cxlstate/v1
host:
  name: newest
  connect: ssh://lab
  grub:
    args: [cxlstate.test=1]
  memmap:
    - {size: 512MiB, start: 6GiB, type: pmem}
    - {size: 256MiB, start: 7GiB, type: reserved}
  modules:
    kmem: absent
  dax:
    cxl0: {range: {start: 4GiB, size: 1GiB}, align: 2MiB}
  mtrr:
    cxl0: {cover: dax.cxl0}
images:
  guest: {path: /var/lib/libvirt/images/guest.qcow2, size: 1GiB}
vms:
  guest:
    state: running
    memory: 256MiB
    vcpu: 1
    cpu: {mode: host-passthrough, numa: [{cpus: 0, memory: 256MiB}]}
    nvdimm:
      - {dax: dax.cxl0, size: 960MiB, label: 16MiB, alignsize: 2MiB, pmem: true, access: shared, node: 0}
    disks:
      - {target: vda, image: image.guest}
"""


def written(folder):
    path = folder / "newest.yaml"
    path.write_text(SPEC)
    return path


def apply(host):
    release = host.run(["uname", "-r"]).stdout
    assert tuple(map(int, release.split(".")[:2])) >= (7, 0), release
    cli, spec, before = cli_of(host), written(host.workdir), host.boot_id()
    planned = cli.run("plan", spec)
    assert planned.returncode in (2, 3), planned.stdout + planned.stderr
    done = cli.run("apply", "--yes", "--allow", "reboot-host", spec)
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.boot_id() != before


NEWEST = Stage("newest-applied", apply, image="newest")
pytestmark = [pytest.mark.lab, pytest.mark.stage(NEWEST)]


@pytest.fixture
def spec(tmp_path):
    return written(tmp_path)


@pytest.mark.looks
def test_everything_is_in_force_and_a_second_apply_does_nothing(cli, host, spec):
    in_force(host)
    cmdline = host.run(["cat", "/proc/cmdline"]).stdout.split()
    assert {"memmap=512M!6G", "memmap=256M$7G", "modprobe.blacklist=kmem", "cxlstate.test=1"} <= set(cmdline)
    iomem = host.run(["cat", "/proc/iomem"]).stdout
    assert "Soft Reserved" not in iomem
    assert "System RAM (kmem)" not in iomem
    assert "180000000-19fffffff : Persistent Memory (legacy)" in iomem
    assert host.run(["virsh", "domstate", "guest"]).stdout.strip() == "running"
    in_sync(cli, spec)
    journal = host.run(["cat", "/var/lib/cxlstate/journal.jsonl"]).stdout
    again = cli.run("apply", "--yes", spec)
    assert again.returncode == 0, again.stdout + again.stderr
    assert host.run(["cat", "/var/lib/cxlstate/journal.jsonl"]).stdout == journal


@pytest.mark.looks
def test_show_sees_the_device_and_the_guest_on_it(cli, host, spec):
    done = cli.run("show", spec)
    assert done.returncode == 0, done.stdout + done.stderr
    for text in ("0x100000000", "/dev/cxlstate/cxl0", "uncachable", "uncached-minus", "state running"):
        assert text in done.stdout
    document = json.loads(cli.run("show", "--json", spec).stdout)
    assert document["machines"][0]["memory_map"]


@pytest.mark.long
def test_after_a_reboot_by_hand_the_memory_is_back(cli, host, spec):
    host.run(["virsh", "autostart", "guest"])
    host.run(["virsh", "destroy", "guest"])
    host.reboot_and_wait()
    in_force(host)
    assert cli.statuses("plan", spec)["mtrr.cxl0"] == "in-sync"
