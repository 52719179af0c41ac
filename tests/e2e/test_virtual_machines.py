"""Virtual machines on a real libvirt: made, changed while they run, restarted, and there after a boot.

AppArmor is enforced on the emulated host. The guest has no system, which would take minutes to start;
`test_nested_guest.py` has one that does. What takes long by itself is left to `make lab-all`.
"""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

from tests.e2e.conftest import cli_of
from tests.e2e.test_foundation import PROVEN
from tests.e2e.vms import (
    Spec,
    applied,
    confined_on_the_device,
    in_sync,
    journal,
    reservations_and_pins_change,
    virsh,
    xml,
)
from tests.lab.stages import Stage

pytestmark = pytest.mark.lab

# What nobody told us about. The elements that libvirt keeps, of as many sorts as it takes here.
OTHERS = """\
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <metadata>
    <own:note xmlns:own='https://example.org/own'><!-- by hand --><own:by at='night'>them</own:by></own:note>
  </metadata>
  <memory unit='MiB'>64</memory>
  <vcpu>2</vcpu>
  <cputune><shares>512</shares><vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='1' cpuset='2-3'/></cputune>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/><target dev='sda' bus='sata'/><readonly/></disk>
    <hostdev mode='subsystem' type='usb' managed='no'><source startupPolicy='optional'>
      <vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>
    <vsock model='virtio'><cid auto='yes'/></vsock>
    <watchdog model='i6300esb' action='none'/>
    <panic model='isa'/>
  </devices>
  <qemu:commandline><qemu:env name='NOBODY' value='knows'/></qemu:commandline>
</domain>
"""
NETWORK = """\
<network>
  <name>others</name>
  <bridge name='virbr77'/>
  <ip address='10.77.0.1' netmask='255.255.255.0'>
    <dhcp><range start='10.77.0.10' end='10.77.0.99'/><host mac='52:54:00:77:00:01' ip='10.77.0.50'/></dhcp>
  </ip>
</network>
"""


@pytest.fixture
def spec(tmp_path):
    return Spec(tmp_path / "lab.yaml")


def run(host):
    """From nothing to a guest that runs."""
    applied(cli_of(host), Spec(host.workdir / "lab.yaml"))


def add_others(host):
    """What somebody else has there."""
    for name in ("others", "managed"):
        host.run(["virsh", "define", "/dev/stdin"], input=OTHERS.format(name=name))
    host.run(["virsh", "net-define", "/dev/stdin"], input=NETWORK)
    virsh(host, "net-start", "others")


RUNS = Stage("vm-runs", run, after=PROVEN)
AMONG_OTHERS = Stage("vm-among-others", add_others, after=RUNS)


# From nothing to a guest -------------------------------------------------------------------------------


@pytest.mark.looks
def test_the_first_plan_is_whole_and_changes_nothing(cli, host, spec):
    before = virsh(host, "list", "--all") + virsh(host, "net-list", "--all")
    done = cli.run("plan", "-v", spec.path)
    assert done.returncode == 2, done.stdout + done.stderr
    for word in (
        "vm.guest",
        "network.default",
        "image.guest",
        "virsh define",
        "virsh start guest",
        "dax.cxl0",
    ):
        assert word in done.stdout
    assert virsh(host, "list", "--all") + virsh(host, "net-list", "--all") == before


@pytest.mark.stage(RUNS)
@pytest.mark.looks
def test_one_apply_and_the_guest_runs_confined_on_the_device(host):
    confined_on_the_device(host)


@pytest.mark.stage(RUNS)
@pytest.mark.looks
def test_a_second_apply_does_nothing(cli, host, spec):
    in_sync(cli, spec)
    before = journal(host)
    applied(cli, spec)
    assert journal(host) == before


@pytest.mark.stage(RUNS)
@pytest.mark.looks
def test_show_tells_where_it_runs(cli, host, spec):
    done = cli.run("show", spec.path)
    line = next(line for line in done.stdout.splitlines() if "vm.guest" in line)
    for fact in ("state running", "CPUs 1 of node 0", "960MiB from /dev/cxlstate/cxl0"):
        assert fact in line, line


# While it runs -----------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.stage(RUNS)
def test_reservations_and_pins_change_while_it_runs(cli, host, spec):
    before = virsh(host, "domid", "guest")
    reservations_and_pins_change(cli, host, spec)
    assert virsh(host, "domid", "guest") == before


@pytest.mark.stage(RUNS)
@pytest.mark.long
def test_a_change_that_takes_the_network_down_waits_and_the_guest_is_plugged_in_again(cli, host, spec):
    before = virsh(host, "domid", "guest")
    tap = re.findall(r"\bvnet[0-9]+\b", virsh(host, "domiflist", "guest"))[0]
    assert f": {tap}: " in host.run("ip -o link show master virbr0").stdout
    spec.data["networks"]["default"]["domain"] = "lab.test"
    applied(cli, spec, exits=3)
    assert "lab.test" in virsh(host, "net-dumpxml", "default", "--inactive")
    assert "lab.test" not in virsh(host, "net-dumpxml", "default")
    applied(cli, spec, "--allow", "network-blip=lab/network.default")
    assert "lab.test" in virsh(host, "net-dumpxml", "default")
    assert f": {tap}: " in host.run("ip -o link show master virbr0").stdout
    assert virsh(host, "domid", "guest") == before
    in_sync(cli, spec)


@pytest.mark.long
@pytest.mark.stage(AMONG_OTHERS)
def test_what_is_not_in_the_spec_stays_to_the_byte_through_twenty_applies(cli, host, spec):
    spec.data["vms"]["managed"] = {"vcpupin": [0, 1]}

    def undeclared():
        rest = re.sub(r"<vcpupin [^>]*/>", "", virsh(host, "dumpxml", "managed"))
        return xml(host, "dumpxml", "others"), xml(host, "net-dumpxml", "others"), rest

    before = undeclared()
    for turn in range(20):
        spec.data["vms"]["managed"]["vcpupin"] = [turn % 4, f"{turn % 3}-3"]
        spec.reservations[-1]["ip"] = f"192.168.122.{200 + turn}"
        applied(cli, spec)
    assert undeclared() == before
    assert "cpuset='3'" in virsh(host, "dumpxml", "managed")


# What takes a restart ----------------------------------------------------------------------------------


@pytest.mark.stage(RUNS)
@pytest.mark.long
def test_memory_and_alignment_wait_for_a_restart_and_are_restarted_with_consent(cli, host, spec):
    """It has no system that follows, so that its power has to be cut: with consent to that, too."""
    spec.vm["memory"] = "832MiB"
    spec.vm["cpu"]["numa"][0]["memory"] = "832MiB"
    spec.vm["nvdimm"][0]["alignsize"] = "4MiB"
    before = virsh(host, "domid", "guest")
    done = applied(cli, spec, exits=3)
    assert "pending restart" in done.stdout
    assert cli.statuses("plan", spec.path)["vm.guest"] == "pending-restart"
    assert virsh(host, "domid", "guest") == before, "nobody restarted it"
    applied(cli, spec, "--allow", "restart-vm=lab/vm.guest,power-off-vm=lab/vm.guest")
    assert virsh(host, "domid", "guest") != before
    assert "<alignsize unit='KiB'>4096</alignsize>" in virsh(host, "dumpxml", "guest")
    in_sync(cli, spec)


@pytest.mark.long
@pytest.mark.stage(RUNS)
def test_a_guest_that_ignores_the_power_button_is_left_running(cli, host, spec):
    deaf = {"state": "running", "memory": "64MiB", "vcpu": 1, "shutdown_timeout": 15}
    spec.data["vms"]["deaf"] = deaf
    applied(cli, spec)
    began = virsh(host, "domid", "deaf")
    deaf["memory"] = "96MiB"
    done = applied(cli, spec, "--allow", "restart-vm", exits=4)
    assert "CXE207" in done.stdout + done.stderr
    assert virsh(host, "domid", "deaf") == began, "it was not touched"
    assert "running" in virsh(host, "domstate", "deaf")
    applied(cli, spec, "--allow", "restart-vm=lab/vm.deaf,power-off-vm=lab/vm.deaf")
    assert virsh(host, "domid", "deaf") != began
    in_sync(cli, spec)
    spec.data["vms"]["deaf"] = {"state": "absent"}
    applied(cli, spec, exits=4)
    applied(cli, spec, "--allow", "power-off-vm,destroy-data=lab/vm.deaf")
    assert "deaf" not in virsh(host, "list", "--all")


# What goes wrong ---------------------------------------------------------------------------------------


@pytest.mark.stage(RUNS)
@pytest.mark.long
def test_a_device_that_is_not_ready_starts_no_guest(cli, host, spec):
    """Without the check QEMU would make a plain file of the name, and the guest would lose what it writes."""
    virsh(host, "destroy", "guest")
    host.run(["rm", "/dev/cxlstate/cxl0"])
    done = cli.run("apply", "--yes", "--target", "vm.guest", spec.write())
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.run(["readlink", "-f", "/dev/cxlstate/cxl0"]).stdout.startswith("/dev/dax")
    assert "running" in virsh(host, "domstate", "guest")


@pytest.mark.stage(RUNS)
@pytest.mark.long
def test_without_the_daemon_nothing_is_guessed(cli, host, spec):
    host.run("systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service")
    try:
        found = cli.statuses("plan", spec.path)
        assert found["vm.guest"] in ("blocked", "unknown")
        assert found["network.default"] in ("blocked", "unknown")
    finally:
        host.run("systemctl start libvirtd.socket libvirtd-ro.socket")
    in_sync(cli, spec)


MADE = {
    "networks": {
        "calls": {
            "active": True,
            "autostart": True,
            "address": "10.78.0.1/24",
            "dhcp": {"start": "10.78.0.10", "end": "10.78.0.99"},
            "reservations": [{"mac": "52:54:00:78:00:01", "ip": "10.78.0.50"}],
        }
    },
    "vms": {
        "calls": {"state": "running", "autostart": True, "memory": "64MiB", "vcpu": 1, "shutdown_timeout": 1}
    },
}
CHANGED = {
    "networks": {
        "calls": {
            "reservations": [
                {"mac": "52:54:00:78:00:01", "ip": "10.78.0.51"},
                {"mac": "52:54:00:78:00:02", "ip": "10.78.0.50"},
            ]
        }
    },
    "vms": {"calls": {"state": "running", "memory": "96MiB", "vcpupin": [2], "shutdown_timeout": 1}},
}


@pytest.mark.long
@pytest.mark.stage(AMONG_OTHERS)
@pytest.mark.timeout(3600)
def test_the_daemon_is_killed_at_each_call_and_the_next_apply_converges(cli, host, spec, tmp_path):
    """Both ways round, so that each call has something to do each time."""
    path = tmp_path / "calls.yaml"
    base = {word: spec.data[word] for word in ("apiVersion", "host")}
    virsh(host, "suspend", "guest")  # without a system it keeps a whole processor busy
    theirs = xml(host, "dumpxml", "others"), xml(host, "net-dumpxml", "others"), xml(host, "dumpxml", "guest")

    def converges(wish):
        path.write_text(yaml.safe_dump({**base, **wish}))
        done = cli.run("apply", "--yes", "--allow", "restart-vm,power-off-vm,network-blip", path)
        assert done.returncode == 0, done.stdout + done.stderr

    told = []
    for wish, back in ((MADE, None), (CHANGED, MADE)):
        for number in range(1, 30):
            if back:
                converges(back)
            else:
                forget(host)
            path.write_text(yaml.safe_dump({**base, **wish}))
            said = cli.module("tests.e2e.kill_libvirtd", path, number, host.ssh_config)
            told.append(said)
            print(said)
            converges(wish)
            if "killed" not in said:
                break
    assert sum("killed" in said for said in told) >= 10
    assert theirs == (
        xml(host, "dumpxml", "others"),
        xml(host, "net-dumpxml", "others"),
        xml(host, "dumpxml", "guest"),
    )


def forget(host):
    """By hand, whatever there is of it."""
    for words in (
        ("destroy", "calls"),
        ("undefine", "calls"),
        ("net-destroy", "calls"),
        ("net-undefine", "calls"),
    ):
        virsh(host, *words, check=False)
    host.run(["rm", "-f", "/etc/cxlstate/networks/calls"])


@pytest.mark.long
@pytest.mark.stage(RUNS)
def test_after_a_power_cut_all_of_it_comes_back(cli, host, spec):
    """A reboot waits for guests that cannot be shut down; test_nested_guest.py has one that can."""
    host.run(["sync"])
    host.power_cut()
    host.boot()
    host.run(["virsh", "list"], timeout=300)  # it starts guests before it answers
    in_sync(cli, spec)
    assert host.run(["systemctl", "is-active", "cxlstate-restore.service"]).stdout.strip() == "active"
    assert shlex.split(virsh(host, "domstate", "guest")) == ["running"]
