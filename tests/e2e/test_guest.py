"""One spec from the host into its guest: from nothing to both in sync, and what happens to the guest then.

The guest starts under emulation within emulation, which takes minutes: all but one test are left to
`make lab-all`.
"""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.e2e.conftest import cli_of
from tests.e2e.vms import ADDRESS, MAC, Spec, applied, in_sync, virsh
from tests.lab.guest import GUEST_COMMAND_LINE, Guest
from tests.lab.stages import Stage

pytestmark = pytest.mark.lab

SYSTEM = {
    "kernel": "/srv/images/guest.vmlinuz",
    "initrd": "/srv/images/guest.initrd",
    "cmdline": GUEST_COMMAND_LINE,
}
INSIDE = {
    "connect": {"user": "admin"},
    "packages": ["hello"],
    "modules": {"dummy": "present"},
    "services": {"acpid": {"enabled": True, "running": True}},
    "users": {"admin": {"groups": ["daemon"]}},
}
FREED = 40
"""Seconds after which a lock is anybody's whose holder was killed or lost its machine: with some to spare."""
SLOW = pytest.mark.timeout(3600)
KEY = "cat /etc/ssh/ssh_host_ed25519_key.pub"
NEW_KEYS = "rm /etc/ssh/ssh_host_*; ssh-keygen -qA; systemctl restart ssh"
HOST_KEYS = "/var/lib/cxlstate/guests/guest/host_keys"


def spec_in(folder, **connect):
    """No NVDIMM: it would take a reboot of the host first, and `test_nested_guest.py` has one."""
    spec = Spec(folder / "lab.yaml")
    for section in ("grub", "memmap", "modules", "dax"):
        del spec.data["host"][section]
    image = {"source": {"path": "/srv/images/guest.qcow2"}, "as": "overlay", "size": "4GiB"}
    spec.data["images"]["guest"] |= image
    spec.data["networks"]["default"]["reservations"] = [{"mac": MAC, "ip": ADDRESS, "name": "guest"}]
    for word in ("nvdimm", "cpu", "numatune", "vcpupin", "shutdown_timeout"):
        del spec.vm[word]
    spec.vm.update({"os": SYSTEM, "guest": INSIDE | {"connect": connect or INSIDE["connect"]}})
    return spec


def guest_of(host):
    return Guest(host, "guest", ADDRESS)


def from_nothing(host):
    """Host, network, image, VM, and all that is in the guest: in one apply."""
    applied(cli_of(host), spec_in(host.workdir))


def start(host):
    """The VM runs and its guest answers; nothing is done in it."""
    spec = spec_in(host.workdir)
    del spec.vm["guest"]
    applied(cli_of(host), spec)
    guest_of(host).wait()


IN_SYNC = Stage("guest-in-sync", from_nothing)
ANSWERS = Stage("guest-answers", start)


@pytest.fixture
def guest(host):
    return guest_of(host)


@pytest.fixture
def spec(tmp_path):
    return spec_in(tmp_path)


def no_lock_is_left(host, guest):
    """Its file may be left, which nobody has locked, and no lease beside it."""
    free = "flock -n /run/cxlstate.lock true && ! [ -e /run/cxlstate.lock.lease ]"
    host.run(free)
    guest.run(free)


def drifted(cli, spec):
    done = cli.run("drift", spec.write())
    return done.returncode, done.stdout


# From nothing ------------------------------------------------------------------------------------------


@SLOW
@pytest.mark.stage(IN_SYNC)
def test_one_apply_from_nothing_and_what_is_undone_by_hand_inside_comes_back(cli, guest, spec):
    in_sync(cli, spec)
    assert drifted(cli, spec) == (0, "")
    guest.run("dpkg --purge hello && modprobe -r dummy")
    status, said = drifted(cli, spec)
    assert status == 2
    assert "lab/guest  package.hello  drifted" in said
    assert "lab/guest  module.dummy  drifted" in said
    by_agent = spec_in(spec.path.parent, via="agent")
    applied(cli, by_agent)
    assert "Hello, world" in guest.run("hello").stdout
    in_sync(cli, spec)


@SLOW
@pytest.mark.long
@pytest.mark.looks
def test_the_first_plan_is_whole(cli, spec):
    done = cli.run("plan", spec.write())
    assert done.returncode == 2, done.stdout + done.stderr
    assert "planned as if nothing were there" in done.stdout
    for word in ("package.hello", "module.dummy", "user.admin", "service.acpid"):
        assert word in done.stdout


# What happens to a guest -------------------------------------------------------------------------------


@SLOW
@pytest.mark.long
@pytest.mark.stage(IN_SYNC)
def test_a_guest_that_was_switched_off_is_told_started_and_waited_for(cli, host, guest, spec):
    guest.run("dpkg --purge hello; sync")
    virsh(host, "destroy", "guest")
    done = cli.run("plan", spec.write())
    assert done.returncode == 2, done.stdout + done.stderr
    assert "off: read once vm.guest runs" in done.stdout
    assert drifted(cli, spec)[0] == 2
    applied(cli, spec)
    guest.run("hello")
    in_sync(cli, spec)


@SLOW
@pytest.mark.long
@pytest.mark.stage(IN_SYNC)
def test_another_host_key_is_refused_until_the_hypervisor_confirms_it(cli, host, guest, spec):
    host.run(f"ssh {ADDRESS} {KEY} | install -D -m 600 /dev/stdin {HOST_KEYS}")
    guest.run(f"systemctl stop qemu-guest-agent; {NEW_KEYS}")
    done = cli.run("plan", spec.write())
    assert done.returncode == 1, done.stdout + done.stderr
    assert "error[CXC120] host key of lab/guest changed" in done.stderr
    host.run(["rm", HOST_KEYS])
    done = cli.run("plan", spec.path)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "host key of lab/guest is not known" in done.stdout
    host.run(f"ssh -o StrictHostKeyChecking=no {ADDRESS} systemctl start qemu-guest-agent")
    in_sync(cli, spec)


# Stopped in the middle ---------------------------------------------------------------------------------


def stopped_in_the_guest(cli, host, spec, how):
    """Begin an apply, and stop it once it works in the guest."""
    process = cli.start("apply", "--yes", spec.write())
    try:
        said = next((line for line in process.stdout if line.startswith("  guest:")), "")
        assert said, "it never came to the guest"
        how(process)
        process.communicate(timeout=900)
    finally:
        process.kill()
        process.wait()


def destroyed(host):
    return lambda _: virsh(host, "destroy", "guest")


def killed(_):
    return lambda process: process.send_signal(signal.SIGKILL)


def without_power(host):
    def cut(process):
        host.power_cut()
        process.kill()
        host.boot()

    return cut


@SLOW
@pytest.mark.long
@pytest.mark.stage(ANSWERS)
@pytest.mark.parametrize("via", ["ssh", "agent"])
@pytest.mark.parametrize("how", [destroyed, killed, without_power])
def test_stopped_in_the_middle_of_the_guest_the_next_apply_converges(cli, host, guest, tmp_path, how, via):
    spec = spec_in(tmp_path, **({"user": "admin"} if via == "ssh" else {"via": "agent"}))
    stopped_in_the_guest(cli, host, spec, how(host))
    if how is not destroyed:  # a guest that starts by itself is waited for by nobody
        guest.wait()
    time.sleep(FREED)
    applied(cli, spec)
    in_sync(cli, spec)
    no_lock_is_left(host, guest)
    journal = guest.run("cat /var/lib/cxlstate/journal.jsonl").stdout
    assert all(json.loads(line) for line in journal.splitlines())
    left = guest.run("find / -xdev -name '*.cxlstate*' 2>/dev/null", check=False).stdout
    assert left.split() == []
