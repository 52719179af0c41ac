"""A guest with a system in it, on a real libvirt: its address, its memory, and that it notices nothing.

The guest starts under emulation within emulation, which takes minutes.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import cli_of
from tests.e2e.test_foundation import PROVEN
from tests.e2e.vms import (
    ADDRESS,
    Spec,
    applied,
    confined_on_the_device,
    in_sync,
    journal,
    reservations_and_pins_change,
    virsh,
)
from tests.lab.guest import GUEST_COMMAND_LINE, Guest
from tests.lab.stages import Stage

SLOWEST = 10.0
"""Seconds for an answer of the guest, whose processor is emulated within an emulated one."""


def persistent_memory(guest):
    """Wait until it answers at its address, and see that it has its memory."""
    guest.wait()
    assert ADDRESS in guest.run("ip -4 -o address").stdout
    assert "Persistent Memory" in guest.run("cat /proc/iomem").stdout


def boot_id(guest):
    return guest.run("cat /proc/sys/kernel/random/boot_id").stdout


def guest_of(host):
    return Guest(host, "guest", ADDRESS)


def spec_in(folder):
    spec = Spec(folder / "lab.yaml")
    source = {"path": "/srv/images/guest.qcow2"}
    spec.data["images"]["guest"] |= {"source": source, "as": "overlay", "size": "4GiB"}
    system = {"kernel": "/srv/images/guest.vmlinuz", "initrd": "/srv/images/guest.initrd"}
    del spec.vm["shutdown_timeout"]  # it takes its time
    spec.vm["os"] = {**system, "cmdline": GUEST_COMMAND_LINE}
    return spec


def start(host):
    applied(cli_of(host), spec_in(host.workdir))
    persistent_memory(guest_of(host))


STARTED = Stage("nested-guest", start, after=PROVEN)


pytestmark = [
    pytest.mark.lab,
    pytest.mark.long,
    pytest.mark.timeout(5400),
    pytest.mark.stage(STARTED),
]


@pytest.fixture
def guest(host):
    return guest_of(host)


@pytest.fixture
def spec(tmp_path):
    return spec_in(tmp_path)


@pytest.mark.looks
def test_one_apply_and_the_guest_has_its_memory_and_its_address(host, guest):
    persistent_memory(guest)
    size = guest.run("cat /sys/bus/nd/devices/region0/size").stdout
    assert int(size) == (960 - 16) << 20
    confined_on_the_device(host)


@pytest.mark.looks
def test_a_second_apply_does_nothing(cli, host, spec):
    in_sync(cli, spec)
    before = journal(host)
    applied(cli, spec)
    assert journal(host) == before


def test_reservations_and_pins_change_under_a_guest_that_notices_nothing(cli, host, spec, guest):
    with guest.watched() as watch:
        reservations_and_pins_change(cli, host, spec)
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
