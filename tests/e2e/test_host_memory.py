"""Host memory on a real machine: a dax device made uncachable, restored at every boot, proven.

The emulated host's Soft Reserved GiB stands for CXL memory.
"""

from __future__ import annotations

import json
import shlex

import pytest

from tests.e2e.conftest import AT_BOOT, HEAD, Cli, cli_of
from tests.e2e.test_foundation import PROVEN
from tests.lab.build import ensure_image
from tests.lab.host import LabHost
from tests.lab.stages import Stage

pytestmark = pytest.mark.lab

SPEC = f"""\
{HEAD}{AT_BOOT}\
  dax:
    cxl0:
      range: {{start: 4GiB, size: 1GiB}}
      align: 2MiB
  mtrr:
    cxl0:
      cover: dax.cxl0
"""

RUNBOOK = """\
    runbook:
      range: {start: 0x5080000000, size: 96GiB}
"""
RUNBOOK_COVER = """\
    runbook:
      cover: dax.runbook
      within: {start: 320GiB, end: 448GiB}
"""

UNBIND, BIND = (
    f"basename /sys/bus/dax/devices/* > /sys/bus/dax/drivers/device_dax/{word}" for word in ("unbind", "bind")
)
LINE = "base=0x100000000 ( 4096MB), size= 1024MB, count=1: uncachable"
PAT = "cat /sys/kernel/debug/x86/pat_memtype_list"
RECORD = "[mem 0x0000000100000000-0x0000000140000000]"
UNIT = "cxlstate-restore.service"

VM = """\
<domain type='qemu'>
  <name>holder</name>
  <maxMemory slots='2' unit='MiB'>2048</maxMemory>
  <memory unit='MiB'>1152</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <cpu><numa><cell id='0' cpus='0' memory='128' unit='MiB'/></numa></cpu>
  <devices>
    <memory model='nvdimm' access='shared'>
      <source><path>/dev/cxlstate/cxl0</path><alignsize unit='KiB'>2048</alignsize><pmem/></source>
      <target><size unit='MiB'>1024</size><node>0</node><label><size unit='KiB'>2048</size></label></target>
    </memory>
  </devices>
</domain>
"""

# Opens and maps the device the way any program may, until it is ended.
HOLD = (
    "import mmap, os, time; f = os.open('/dev/cxlstate/cxl0', os.O_RDWR); "
    "m = mmap.mmap(f, 2 << 20, mmap.MAP_SHARED); open('/root/held', 'w').write(str(os.getpid())); "
    "time.sleep(3600)"
)


@pytest.fixture
def spec(tmp_path):
    return written(tmp_path, SPEC)


def written(folder, text):
    path = folder / "lab.yaml"
    path.write_text(text)
    return path


def mtrr(host):
    return host.run(["cat", "/proc/mtrr"]).stdout


def recorded(host, record=RECORD):
    return [line.split("] ")[1] for line in host.run(PAT).stdout.splitlines() if record in line]


def in_force(host):
    assert mtrr(host).count(LINE) == 1
    assert recorded(host) == ["uncached-minus"]
    assert host.run(["readlink", "-f", "/dev/cxlstate/cxl0"]).stdout.startswith("/dev/dax")


def in_sync(cli, spec):
    done = cli.run("plan", spec)
    assert done.returncode == 0, done.stdout + done.stderr


def applied(cli, spec, *more, exits=0):
    done = cli.run("apply", "--yes", *more, spec)
    assert done.returncode == exits, done.stdout + done.stderr
    return done


def apply(host):
    """The one reboot that it needs is behind it: kmem is kept out."""
    applied(cli_of(host), written(host.workdir, SPEC))
    in_force(host)


def hold(host):
    """A VM has the device, which is bound in the wrong order."""
    host.run(["tee", "/root/holder.xml"], input=VM)
    host.run("virsh define /root/holder.xml")
    wrong_order(host)
    host.run("virsh start holder", timeout=300)


APPLIED = Stage("applied", apply, after=PROVEN)
HELD = Stage("held", hold, after=APPLIED)


@pytest.mark.looks
def test_the_first_plan_is_whole_and_changes_nothing(cli, host, spec):
    before = mtrr(host)
    done = cli.run("plan", spec)
    assert done.returncode in (2, 3), done.stdout + done.stderr
    assert "mtrr.cxl0" in done.stdout
    assert "uncachable" in done.stdout
    assert mtrr(host) == before
    assert host.run("ls /etc/cxlstate /dev/cxlstate", check=False).stdout == ""


@pytest.mark.long
def test_one_apply_through_a_reboot_and_all_of_it_is_in_force(cli, host, spec):
    applied(cli, spec, "--allow", "reboot-host")
    in_force(host)
    in_sync(cli, spec)


@pytest.mark.stage(APPLIED)
@pytest.mark.looks
def test_a_second_apply_writes_no_register_again(cli, host, spec):
    in_sync(cli, spec)
    journal = host.run(["cat", "/var/lib/cxlstate/journal.jsonl"]).stdout
    applied(cli, spec)
    assert mtrr(host).count(LINE) == 1
    assert host.run(["cat", "/var/lib/cxlstate/journal.jsonl"]).stdout == journal


@pytest.mark.stage(APPLIED)
@pytest.mark.looks
def test_show_has_the_memory_map_and_has_read_the_device(cli, spec):
    done = cli.run("show", spec)
    assert done.returncode == 0, done.stdout + done.stderr
    for text in (
        "0x100000000",
        "/dev/cxlstate/cxl0",
        "uncachable",
        "uncached-minus",
        "Soft Reserved",
        "System RAM",
    ):
        assert text in done.stdout
    document = json.loads(cli.run("show", "--json", spec).stdout)
    assert document["machines"][0]["memory_map"]


def before_libvirt_answers(host):
    stamps = host.run(
        f"for u in {UNIT} libvirtd.socket libvirtd-ro.socket; do "
        "systemctl show --value --property=ActiveEnterTimestampMonotonic $u; done"
    ).stdout.split()
    restored, *sockets = map(int, stamps)
    assert restored
    assert all(restored <= socket for socket in sockets)
    assert "ordering cycle" not in host.run(["journalctl", "--boot", "--no-pager"]).stdout


@pytest.mark.long
@pytest.mark.stage(APPLIED)
def test_after_a_reboot_by_hand_everything_is_back_before_libvirt_answers(cli, host, spec):
    host.reboot_and_wait()
    in_force(host)
    before_libvirt_answers(host)
    in_sync(cli, spec)


@pytest.mark.stage(APPLIED)
@pytest.mark.parametrize(
    ("by_hand", "address"),
    [
        pytest.param("rm /etc/cxlstate/restore", "boot", marks=pytest.mark.long),
        ("sed -i s/uncachable/write-back/ /etc/cxlstate/restore", "boot"),
        pytest.param(f"systemctl disable {UNIT}", "boot", marks=pytest.mark.long),
        pytest.param(f"sed -i s/^Before=.*// /etc/systemd/system/{UNIT}", "boot", marks=pytest.mark.long),
        pytest.param("rm /dev/cxlstate/cxl0", "dax.cxl0", marks=pytest.mark.long),
        pytest.param(UNBIND, "dax.cxl0", marks=pytest.mark.long),
    ],
)
@pytest.mark.looks
def test_drift_by_hand_is_seen_named_and_mended(cli, host, spec, by_hand, address):
    host.run(by_hand)
    drift = cli.run("drift", spec)
    assert drift.returncode == 2, drift.stdout + drift.stderr
    assert f"  {address}  drifted" in drift.stdout
    applied(cli, spec)
    in_force(host)
    in_sync(cli, spec)


@pytest.mark.long
@pytest.mark.stage(APPLIED)
def test_a_register_taken_away_by_hand_comes_back_in_the_right_order(cli, host, spec):
    index = next(line[3:5] for line in mtrr(host).splitlines() if LINE in line)
    host.run(f"echo disable={int(index)} > /proc/mtrr")
    drift = cli.run("drift", spec)
    assert "mtrr.cxl0  drifted" in drift.stdout
    applied(cli, spec)
    in_force(host)


def wrong_order(host):
    """As by hand: the device is enabled first, and the register written after."""
    index = next(line[3:5] for line in mtrr(host).splitlines() if LINE in line)
    host.run(
        f"{UNBIND}; echo disable={int(index)} > /proc/mtrr; {BIND}; "
        "echo 'base=0x100000000 size=0x40000000 type=uncachable' > /proc/mtrr"
    )
    assert recorded(host) == ["write-back"]


@pytest.mark.long
@pytest.mark.stage(APPLIED)
def test_the_wrong_order_is_seen_and_mended(cli, host, spec):
    wrong_order(host)
    done = cli.run("plan", spec)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "write-back" in done.stdout
    applied(cli, spec)
    in_force(host)
    in_sync(cli, spec)


@pytest.mark.stage(HELD)
@pytest.mark.looks
def test_with_a_vm_on_the_device_it_is_refused_without_consent(cli, host, spec):
    before = mtrr(host), recorded(host)
    done = applied(cli, spec, exits=4)
    assert "holder" in done.stdout + done.stderr
    assert "restart-vm" in done.stdout
    assert (mtrr(host), recorded(host)) == before
    assert host.run("virsh domstate holder").stdout.strip() == "running"


@pytest.mark.stage(HELD)
@pytest.mark.long
def test_with_consent_the_vm_is_stopped_and_started_again(cli, host, spec):
    # This guest has no system that could obey: the test obeys in its place, as soon as it is asked.
    asked = "grep -q 'shut down the VM holder' /var/lib/cxlstate/journal.jsonl"
    obeys = f"until {asked}; do sleep 0.1; done; sleep 1; virsh destroy holder"
    host.run(f"nohup sh -c {shlex.quote(obeys)} >/dev/null 2>&1 &")
    applied(cli, spec, "--allow", "restart-vm=lab/vm.holder")
    in_force(host)
    in_sync(cli, spec)
    assert host.run("virsh domstate holder").stdout.strip() == "running"


@pytest.mark.stage(HELD)
@pytest.mark.long
def test_a_missing_register_is_not_written_under_a_running_vm(cli, host, spec):
    index = next(line[3:5] for line in mtrr(host).splitlines() if LINE in line)
    host.run(f"echo disable={int(index)} > /proc/mtrr")
    done = applied(cli, spec, exits=4)
    assert "holder" in done.stdout + done.stderr
    assert LINE not in mtrr(host)
    host.run("virsh destroy holder; virsh undefine holder", timeout=300)
    applied(cli, spec)
    in_force(host)


@pytest.mark.stage(APPLIED)
def test_another_process_on_the_device_is_named_and_left_alone(cli, host, spec):
    wrong_order(host)
    host.run(["tee", "/root/hold.py"], input=HOLD)
    host.run("nohup python3 /root/hold.py >/dev/null 2>&1 & until [ -s /root/held ]; do sleep 1; done")
    done = applied(cli, spec, exits=1)
    assert "python3" in done.stderr
    assert recorded(host) == ["write-back"]
    host.run("kill $(cat /root/held)")
    applied(cli, spec)
    in_force(host)


@pytest.mark.long
@pytest.mark.stage(APPLIED)
def test_with_every_register_used_it_is_refused_before_anything_is_written(cli, host, spec, tmp_path):
    """One register is the firmware's and one is ours: six more, and none is left."""
    more = tmp_path / "more.yaml"
    more.write_text(
        SPEC + "    other:\n      ranges: [{start: 512GiB, size: 64GiB}, {start: 576GiB, size: 64GiB}]\n"
    )
    for digit in "ABCDE":
        host.run(f"echo 'base=0x{digit}000000000 size=0x1000000000 type=uncachable' > /proc/mtrr")
    before = mtrr(host)
    done = cli.run("apply", "--yes", more)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "error[CXT303]" in done.stderr, done.stderr
    assert mtrr(host) == before
    in_sync(cli, spec)


@pytest.mark.stage(APPLIED)
def test_what_is_dropped_from_the_spec_goes_and_the_firmwares_register_stays(cli, host, tmp_path):
    firmware = mtrr(host).splitlines()[0]
    dropped = tmp_path / "dropped.yaml"
    dropped.write_text(SPEC[: SPEC.index("  mtrr:")])
    done = cli.run("plan", dropped)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "mtrr.cxl0" in done.stdout
    applied(cli, dropped)
    assert mtrr(host).splitlines() == [firmware]
    assert recorded(host) == ["write-back"]
    in_sync(cli, dropped)


@pytest.mark.long
@pytest.mark.stage(APPLIED)
def test_the_device_of_the_runbook(cli, host, tmp_path):
    """96 GiB at 322 GiB with no memory behind them: it can be bound, and must not be touched."""
    both = tmp_path / "both.yaml"
    at = SPEC.index("  mtrr:")
    both.write_text(SPEC[:at] + RUNBOOK + SPEC[at:] + RUNBOOK_COVER)
    host.add_firmware(["memmap=96G%322G+0xefffffff"])
    applied(cli, both)
    lines = mtrr(host)
    assert "base=0x5000000000 (327680MB), size=65536MB, count=1: uncachable" in lines
    assert "base=0x6000000000 (393216MB), size=65536MB, count=1: uncachable" in lines
    assert recorded(host, "[mem 0x0000005080000000-0x0000006880000000]") == ["uncached-minus"]
    in_force(host)
    in_sync(cli, both)
    host.reboot_and_wait()
    assert recorded(host, "[mem 0x0000005080000000-0x0000006880000000]") == ["uncached-minus"]
    in_sync(cli, both)


@pytest.mark.stage(APPLIED)
@pytest.mark.long
def test_a_device_that_was_renumbered_is_found_by_the_boot_and_by_the_plan(host, spec, tmp_path):
    """The same disk in a machine with a CXL type 3 device, which gets the first name there."""
    before = host.run(["readlink", "/dev/cxlstate/cxl0"]).stdout
    host.shutdown()
    moved = LabHost(ensure_image(), tmp_path / "moved", flavour="cxl", disk=host.disk)
    try:
        moved.boot()
        name = moved.run("basename $(readlink -f /sys/bus/dax/devices/*/../../hmem.*/dax*)").stdout.strip()
        now = moved.run(["readlink", "/dev/cxlstate/cxl0"]).stdout
        assert now == f"../{name}\n" != before
        in_force(moved)
        before_libvirt_answers(moved)
        in_sync(Cli(moved.ssh_config), spec)
    finally:
        moved.close()
