"""The alignment profile, there and back, in a machine that is a guest and whose region allows both.

One word of the spec is changed. What is in the namespace is lost by that: it is told, and asked for. The
switch of a host with its guest is in `tests/cli/test_runbook.py`: stock kernels forbid it on a host.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.e2e.conftest import Cli
from tests.lab.bare_guest import BareGuest

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(5400)]

SPEC = """\
apiVersion: cxlstate/v1
host:
  name: box
  connect: ssh://lab-root
  namespaces:
    cxl: {{mode: {mode}, map: mem, align: {align}}}
"""
CONSENT = "destroy-data=box/namespace.cxl"
MOUNTED = "mkfs.ext4 -q -F /dev/pmem0 && mount /dev/pmem0 /mnt && echo kept >/mnt/kept"


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    with BareGuest.started(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def run(guest, tmp_path):
    """A verb on the spec with these words; its status, and what it said."""
    cli, path = Cli(guest.ssh_config), tmp_path / "box.yaml"

    def run(verb, mode, align, *options):
        path.write_text(SPEC.format(mode=mode, align=align))
        done = cli.run(verb, *options, path)
        return done.returncode, done.stdout + done.stderr

    return run


def sh(guest, line):
    done = subprocess.run([*guest.ssh.argv("root"), line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def namespace(guest):
    (found,) = json.loads(sh(guest, "ndctl list -N"))
    return found


def switched(guest, run, align, size):
    """In one apply: refused, and nothing done, without consent; then made, mapped and in sync."""
    before = namespace(guest)
    status, said = run("apply", "devdax", align, "--yes")
    assert status == 4, said
    assert f"--allow {CONSENT}" in said
    assert namespace(guest) == before
    status, said = run("apply", "devdax", align, "--yes", "--allow", CONSENT)
    assert status == 0, said
    found = namespace(guest)
    assert (found["mode"], found["align"]) == ("devdax", size)
    device = f"/sys/bus/dax/devices/{found['chardev']}"
    assert sh(guest, f"cat {device}/align").split() == [str(size)]
    status, said = run("plan", "devdax", align)
    assert status == 0, said
    return said


def test_there_and_back_with_a_file_system_in_it(guest, run):
    status, said = run("apply", "fsdax", "2MiB", "--yes", "--allow", CONSENT)
    assert status == 0, said
    sh(guest, MOUNTED)
    status, said = run("apply", "devdax", "4KiB", "--yes", "--allow", CONSENT)
    assert status in (1, 4), said  # nobody's consent covers what is mounted
    assert "/mnt" in said
    assert sh(guest, "cat /mnt/kept") == "kept\n"
    sh(guest, "umount /mnt")
    status, said = run("plan", "devdax", "4KiB")
    assert status == 2, said
    assert "ext4" in said
    assert "destroy-data" in said
    switched(guest, run, "4KiB", 4 << 10)
    switched(guest, run, "2MiB", 2 << 20)
    switched(guest, run, "4KiB", 4 << 10)


def test_it_is_made_again_after_a_power_cut_only_with_consent(guest, run):
    """The memory keeps nothing without power, no label either: a raw namespace is there, and that is told."""
    assert run("apply", "devdax", "4KiB", "--yes", "--allow", CONSENT)[0] == 0
    guest.power_cut()
    guest.boot()
    status, said = run("plan", "devdax", "4KiB")
    assert status == 2, said
    status, said = run("apply", "devdax", "4KiB", "--yes")
    assert status == 4, said
    status, said = run("apply", "devdax", "4KiB", "--yes", "--allow", CONSENT)
    assert status == 0, said
    assert namespace(guest)["align"] == 4 << 10
