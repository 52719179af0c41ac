"""A `$` that GRUB's script eats: `memmap=2M$0x3b7a00000` in grub.cfg leaves the host 2 MiB.

It stands in somebody's own drop-in, and whoever boots this host next loses it.
"""

from __future__ import annotations

import pytest

from tests.lab.stages import Stage

pytestmark = pytest.mark.lab

SPEC = """\
apiVersion: cxlstate/v1
host:
  name: lab
  connect: ssh://lab
  grub: {args: [cxlstate.test=1]}
  memmap: [{size: 256MiB, start: 7GiB, type: reserved}]
"""
TRAP = 'GRUB_CMDLINE_LINUX="memmap=2M\\$0x3b7a00000"\n'
EVERYTHING = "find /etc /boot -xdev -printf '%p %s %T@ %C@ %m %u %l\\n'"
CONSENT = "reboot-host,foreign-boot,network-blip,restart-vm,power-off-vm,destroy-data=lab/grub"


def write(host):
    """It waits for the next update-grub."""
    host.run(["tee", "/etc/default/grub.d/60-by-hand.cfg"], input=TRAP)


def generate(host):
    """It waits for the next boot."""
    host.run("update-grub")
    assert "memmap=2M$0x3b7a00000" in host.run(["cat", "/boot/grub/grub.cfg"]).stdout


WRITTEN = Stage("trap-written", write)
GENERATED = Stage("trap-generated", generate, after=WRITTEN)


@pytest.fixture
def spec(tmp_path):
    """It wants nothing but what a reboot puts into force."""
    path = tmp_path / "lab.yaml"
    path.write_text(SPEC)
    return path


def refused(cli, host, spec):
    before, boot = host.run(EVERYTHING).stdout, host.boot_id()
    for verb in (("plan",), ("apply", "--yes"), ("apply", "--yes", "--allow", CONSENT)):
        done = cli.run(*verb, spec)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "error[CXM307] `memmap=2Mx3b7a00000`" in done.stderr, done.stdout + done.stderr
    assert host.run(EVERYTHING).stdout == before
    assert host.boot_id() == boot


@pytest.mark.stage(WRITTEN)
def test_it_is_refused_before_anything_is_written_whatever_is_allowed(cli, host, spec):
    refused(cli, host, spec)


@pytest.mark.long
@pytest.mark.stage(GENERATED)
def test_it_is_refused_where_the_next_boot_would_already_meet_it(cli, host, spec):
    refused(cli, host, spec)
