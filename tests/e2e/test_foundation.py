"""The main job on a real machine: a spec over SSH, through a reboot, proven; then drift, mended."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import SPEC, cli_of, written
from tests.lab.stages import Stage

pytestmark = pytest.mark.lab

DROP_IN = "/etc/default/grub.d/zz-cxlstate.cfg"
BY_HAND = "cat /etc/default/grub /etc/default/grub.d/10-firmware.cfg /etc/default/grub.d/50-site.cfg"

LIBVIRTD = "libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket"
EVERYTHING = (
    "find /etc /boot /root /usr/local /var/lib/dpkg /var/lib/apt /var/cache/apt -xdev "
    "-printf '%p %s %T@ %C@ %m %u\\n'; ls /var/lib"
)


def begin(host):
    """Applied without consent to a reboot."""
    host.run(f"{BY_HAND} >/root/by-hand")
    done = cli_of(host).run("apply", "--yes", written(host.workdir))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "pending reboot" in done.stdout


def reboot(host):
    """Applied with consent to it."""
    before = host.boot_id()
    done = cli_of(host).run("apply", "--yes", "--allow", "reboot-host", written(host.workdir))
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.boot_id() != before


PENDING = Stage("pending", begin)
PROVEN = Stage("proven", reboot, after=PENDING)


@pytest.mark.looks
def test_a_range_that_is_no_ram_of_this_host_is_refused(cli, tmp_path):
    spec = tmp_path / "runbook.yaml"
    beyond = SPEC.replace("size: 512MiB, start: 6GiB", "size: 2GiB, start: 320GiB")
    spec.write_text(beyond)
    done = cli.run("plan", spec)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "CXM" in done.stderr
    assert f"{spec}:" in done.stderr


@pytest.mark.looks
def test_a_reader_without_sudo_gets_the_reasons_and_never_a_wrong_plan(cli, tmp_path):
    spec = tmp_path / "reader.yaml"
    spec.write_text(SPEC.replace("ssh://lab", "ssh://lab-reader"))
    done = cli.run("plan", spec)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "unknown" in done.stdout
    statuses = cli.statuses("plan", spec)
    assert statuses["memmap"] == "unknown"
    assert statuses["grub"] != "change"


@pytest.mark.looks
def test_the_first_plan_exits_2_and_changes_nothing(cli, host, spec):
    before = host.run(EVERYTHING).stdout
    done = cli.run("plan", spec)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "memmap=512M!6G" in done.stdout
    assert "reboot-host" in done.stdout
    assert before == host.run(EVERYTHING).stdout


@pytest.mark.stage(PENDING)
@pytest.mark.looks
def test_applied_without_consent_to_reboot_all_else_is_done_and_that_is_pending(cli, host, spec):
    assert host.run(["dpkg-query", "-W", "-f=${db:Status-Abbrev}", "hello"]).stdout.startswith("ii")
    assert {"kvm", "libvirt"} <= set(host.run(["id", "-nG", "admin"]).stdout.split())
    assert "dummy " in host.run(["cat", "/proc/modules"]).stdout
    assert cli.statuses("plan", spec)["module.kmem"] == "blocked"  # it drives the memory until the reboot
    assert host.run(["cat", DROP_IN]).stdout
    assert cli.run("plan", spec).returncode == 3
    assert "pending" in cli.run("drift", spec).stdout


@pytest.mark.stage(PROVEN)
@pytest.mark.looks
def test_with_consent_it_rebooted_and_what_was_written_is_in_force(host):
    cmdline = host.run(["cat", "/proc/cmdline"]).stdout.split()
    for argument in ("memmap=512M!6G", "memmap=256M$7G", "modprobe.blacklist=kmem", "cxlstate.test=$HOME"):
        assert argument in cmdline
    assert "nomodeset" not in cmdline
    assert "memmap=1G%4G-1+0xefffffff" in cmdline  # the firmware's stand-in is not ours
    iomem = host.run(["cat", "/proc/iomem"]).stdout.lower()
    assert "180000000-19fffffff : persistent memory (legacy)" in iomem
    assert "1c0000000-1cfffffff : reserved" in iomem
    assert "kmem" not in host.run(["cat", "/proc/modules"]).stdout


@pytest.mark.stage(PROVEN)
@pytest.mark.looks
def test_every_boot_entry_has_the_arguments_recovery_included(host):
    config = host.run(["cat", "/boot/grub/grub.cfg"]).stdout
    lines = [line for line in config.splitlines() if "\tlinux\t" in line]
    assert len(lines) >= 3
    assert any("single" in line for line in lines)
    for line in lines:
        assert "modprobe.blacklist=kmem" in line
        assert r"memmap=256M\$7G" in line


@pytest.mark.stage(PROVEN)
@pytest.mark.looks
def test_then_it_is_in_sync_and_a_second_apply_runs_nothing(cli, host, spec):
    assert cli.run("plan", spec).returncode == 0
    journal = host.run(["cat", "/var/lib/cxlstate/journal.jsonl"]).stdout
    done = cli.run("apply", "--yes", spec)
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.run(["cat", "/var/lib/cxlstate/journal.jsonl"]).stdout == journal
    drift = cli.run("drift", spec)
    assert (drift.returncode, drift.stdout) == (0, "")


EDITS = {
    f"systemctl disable --now {LIBVIRTD}": "service.libvirtd",
    "gpasswd --delete admin kvm": "user.admin",
    f"sed -i s/kmem/kmen/ {DROP_IN}": "grub",
    "apt-get remove --yes hello": "package.hello",
    "rmmod dummy": "module.dummy",
}


@pytest.mark.stage(PROVEN)
@pytest.mark.looks
@pytest.mark.parametrize(
    "edits",
    [
        pytest.param(EDITS, id="all-at-once"),
        pytest.param({f"rm {DROP_IN}": "grub"}, id="rm-drop-in", marks=pytest.mark.long),
        *(
            pytest.param({edit: address}, id=address, marks=pytest.mark.long)
            for edit, address in EDITS.items()
        ),
    ],
)
def test_drift_by_hand_is_seen_named_and_mended(cli, host, spec, edits):
    host.run(" && ".join(edits))
    document = json.loads(cli.run("drift", "--json", spec).stdout)
    resources = document["machines"][0]["resources"]
    causes = {r["address"].partition("/")[2]: r["cause"] for r in resources if r["cause"]}
    assert {address: causes.get(address) for address in edits.values()} == dict.fromkeys(
        edits.values(), "drifted"
    )
    drift = cli.run("drift", spec)
    assert drift.returncode == 2, drift.stdout + drift.stderr
    for address in edits.values():
        assert f"{address}  drifted" in drift.stdout
    done = cli.run("apply", "--yes", spec)
    assert done.returncode == 0, done.stdout + done.stderr
    assert cli.run("plan", spec).returncode == 0


@pytest.mark.stage(PROVEN)
@pytest.mark.looks
def test_what_was_written_by_hand_is_as_it_was(host):
    host.run(f"{BY_HAND} | cmp - /root/by-hand")


@pytest.mark.stage(PROVEN)
@pytest.mark.long
def test_pending_edits_of_somebody_else_are_not_put_into_force_unasked(cli, host, spec, tmp_path):
    host.run("echo GRUB_TERMINAL=console >>/etc/default/grub")  # what no plan foresees
    changed = tmp_path / "lab.yaml"
    changed.write_text(spec.read_text().replace("args: [", "args: [cxlstate.more=1, "))
    drop_in = host.run(["cat", DROP_IN]).stdout
    done = cli.run("apply", "--yes", changed)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "CXE202" in done.stderr
    assert "terminal_input console" in done.stderr
    assert host.run(["cat", DROP_IN]).stdout == drop_in
    allowed = cli.run("apply", "--yes", "--allow", "foreign-boot=lab/grub", changed)
    assert allowed.returncode == 3, allowed.stdout + allowed.stderr
    assert "cxlstate.more=1" in host.run(["cat", "/boot/grub/grub.cfg"]).stdout
