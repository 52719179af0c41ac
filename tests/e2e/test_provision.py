"""A guest from a cloud image: one spec, one apply, and people log in to it. cloud-init and all is real.

The guest starts under emulation within emulation, and its first boot takes Python through it: many minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import cli_of
from tests.e2e.test_guest import spec_in as of_guest
from tests.e2e.vms import ADDRESS, applied, in_sync, journal, virsh
from tests.lab.build import ensure_image
from tests.lab.guest import GUEST_COMMAND_LINE
from tests.lab.guest_variants import ensure_variant
from tests.lab.stages import Stage

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(7200)]

IMAGE = "/srv/images/cloud"
USER = "comsys"
PASSWORD = "planted-Correct-horse-47"
INSIDE = {
    "connect": {"user": USER},
    "packages": ["hello"],
    "sshd": {"password_authentication": False, "permit_root_login": "no"},
    "filesystems": {"/": {"grow": True}},
}
LONGEST = 5400
"""Seconds for an apply."""
SEED = "/var/lib/libvirt/images/guest.cidata.iso"
LEFT_BY_A_SEED = """\
ls -d /var/lib/cloud/instances/*/user-data.txt* /var/lib/cloud/instances/*/cloud-config.txt \
   /var/lib/cloud/instances/*/obj.pkl /var/lib/cloud/seed/* /run/cloud-init/combined-cloud-config.json \
   /run/cloud-init/instance-data-sensitive.json /dev/disk/by-label/cidata 2>/dev/null"""
# Until its file of the end is there: every command line of the machine that it has seen, as JSON.
SAMPLER = """\
import json, os, sys, time
end, out = sys.argv[1:]
seen, looks = set(), 0
while not os.path.exists(end):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            seen.add(open(f"/proc/{pid}/cmdline", errors="replace").read())
        except OSError:
            pass
    looks += 1
    time.sleep(0.3)
json.dump([looks, sorted(seen)], open(out + ".new", "w"))
os.rename(out + ".new", out)
"""


def spec_in(folder):
    """As with the guest that is there already, but for the image, which nobody can log in to."""
    spec = of_guest(folder)
    spec.data["images"]["guest"]["source"] = {"path": f"{IMAGE}.qcow2"}
    spec.vm["os"] = {
        "kernel": f"{IMAGE}.vmlinuz",
        "initrd": f"{IMAGE}.initrd",
        "cmdline": GUEST_COMMAND_LINE,
    }
    (folder / "password").write_text(f"{PASSWORD}\n")
    user = {
        "groups": ["sudo"],
        "shell": "/bin/bash",
        "sudo": True,
        "authorized_keys": [{"file": str(folder / "key.pub")}],
        "password": {"file": str(folder / "password")},
    }
    first = {"method": "cloud-init", "hostname": "cxl-vmx", "users": {USER: user}, "network": {"dhcp4": True}}
    spec.vm["guest"] = INSIDE | {"provision": first}
    return spec


def bring(host):
    """The image, as somebody has downloaded it to the host, with what starts it."""
    image = ensure_variant("cloud")
    files = {"qcow2": image.packed_disk, "vmlinuz": image.kernel, "initrd": image.initrd}
    for ending, file in files.items():
        with file.open("rb") as content:
            subprocess.run(
                [*host.ssh.argv("root"), f"cat >{IMAGE}.{ending}"], stdin=content, check=True, timeout=900
            )


class Sampled:
    """The command lines of this machine and of the host, seen from the beginning of the block to its end."""

    def __init__(self, host):
        self._host, self._here = host, host.workdir / "samples"

    def __enter__(self):
        self._here.mkdir()
        words = [sys.executable, "-c", SAMPLER, str(self._here / "end"), str(self._here / "here")]
        self._local = subprocess.Popen(words)
        apart = "/run/samples-end /run/samples 3<<'END' >/dev/null 2>&1 </dev/null &"
        self._host.run(f"python3 /dev/fd/3 {apart}\n{SAMPLER}END\n")
        return self

    def __exit__(self, *_):
        (self._here / "end").touch()
        self._local.wait()
        self._host.run("touch /run/samples-end; until [ -e /run/samples ]; do sleep 0.2; done")
        (self._here / "host").write_text(self._host.run(["cat", "/run/samples"]).stdout)


def from_nothing(host):
    """The image is there, and nothing else: the rest is one apply, watched, with all it said kept beside."""
    begun = time.monotonic()
    bring(host)
    brought = time.monotonic()
    (host.workdir / "key.pub").write_text(Path(f"{ensure_image().identity}.pub").read_text())
    spec = spec_in(host.workdir)
    with Sampled(host):
        done = cli_of(host).run("apply", "--yes", spec.write(), timeout=LONGEST)
    (host.workdir / "said").write_text(done.stdout + done.stderr)
    print(f"image brought in {brought - begun:.0f} s, applied in {time.monotonic() - brought:.0f} s")
    print(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr


PROVISIONED = Stage("provisioned", from_nothing)


@pytest.fixture
def spec(host):
    return spec_in(host.workdir)


class Client:
    """Somebody with a home of their own, who has let cxlstate write down how to log in."""

    def __init__(self, home, host):
        (home / ".ssh").mkdir(mode=0o700)
        self.config = home / ".ssh/config"
        own = home / ".ssh/config.d/cxlstate"
        self.config.write_text(f"Include {own}\n{host.ssh_config.read_text()}")
        self._environment = {k: v for k, v in os.environ.items() if k != "CXLSTATE_SSH_CONFIG"} | {
            "HOME": str(home)
        }

    def cxlstate(self, *words):
        return self._run([sys.executable, "-m", "cxlstate", *map(str, words)])

    def ssh(self, line, *options, name="guest"):
        """As a script does: nothing is asked, nobody is trusted unseen."""
        strict = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes")
        return self._run(["ssh", "-F", str(self.config), *strict, *options, name, line])

    def _run(self, argv):
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=600, check=False, env=self._environment,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture
def client(host, spec, tmp_path):
    found = Client(tmp_path, host)
    done = found.cxlstate("ssh-config", "--write", spec.write())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr, "nothing is left to do by hand"
    return found


def told(client, line):
    done = client.ssh(line)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def secrets(client):
    """What was planted: the password, and what it was hashed to."""
    shadow = told(client, f"sudo grep ^{USER}: /etc/shadow").split(":")[1]
    assert shadow.startswith("$6$")
    return PASSWORD, shadow


# ---------------------------------------------------------------------------------------------------------


@pytest.mark.stage(PROVISIONED)
@pytest.mark.looks
def test_the_user_logs_in_by_what_ssh_config_wrote_and_nobody_else(host, client):
    print(client.config.with_name("config.d").joinpath("cxlstate").read_text())
    said = told(client, "id; hostname; hostname -I; sudo -n true && echo may")
    print(said)
    assert f"({USER})" in said
    assert "(sudo)" in said
    assert "cxl-vmx" in said.split()
    assert ADDRESS in said.split()
    assert said.endswith("may\n")
    other = client.ssh("true", "-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password")
    assert other.returncode == 255
    assert "Permission denied (publickey)" in other.stderr, "only a key is asked for"
    root = client.ssh("true", "-l", "root")
    assert root.returncode == 255
    assert "Permission denied" in root.stderr
    image = ensure_variant("cloud").guest_key.split()[1]
    assert image not in host.run("cat /var/lib/cxlstate/guests/guest/host_keys").stdout, "made anew"


@pytest.mark.stage(PROVISIONED)
@pytest.mark.looks
def test_what_the_spec_says_is_in_the_guest(client):
    assert int(told(client, "df --output=size -k / | tail -n 1")) > 3700 << 10, "its disk has 4 GiB"
    server = told(client, "sudo sshd -T")
    for line in ("passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin no"):
        assert f"{line}\n" in server
    assert "Hello, world" in told(client, "hello")
    name = told(client, "cat /etc/machine-id").strip()
    assert len(name) == 32


@pytest.mark.stage(PROVISIONED)
@pytest.mark.looks
def test_the_seed_is_gone_and_no_secret_is_left(host, client):
    assert told(client, f"{LEFT_BY_A_SEED} || true") == ""
    assert host.run(["test", "!", "-e", SEED]).returncode == 0
    assert "cidata" not in virsh(host, "dumpxml", "guest") + virsh(host, "dumpxml", "guest", "--inactive")
    planted = secrets(client)
    patterns = "\n".join(planted)
    look = "sudo grep -rlF --exclude=shadow --exclude=shadow- -f - /etc /var /run /tmp /root /home /srv"
    there = client.ssh(f"{look} <<'END' 2>/dev/null\n{patterns}\nEND\n")
    assert there.stdout == ""
    on_host = "grep -rlF --exclude=*.qcow2 -f - /etc /var /run /tmp /root /home"
    assert host.run(f"{on_host} 2>/dev/null", input=f"{patterns}\n", check=False, timeout=600).stdout == ""
    for file, seen in (("here", "cxlstate"), ("host", "qemu-system")):
        looks, lines = json.loads((host.workdir / "samples" / file).read_text())
        print(f"{file}: {looks} looks, {len(lines)} command lines")
        assert looks > 50
        assert any(seen in line for line in lines)
        assert not [line for line in lines if any(secret in line for secret in planted)]
    said = (host.workdir / "said").read_text()
    assert not [secret for secret in planted if secret in said]


@pytest.mark.stage(PROVISIONED)
def test_a_second_apply_does_nothing_and_a_spec_that_says_something_else_is_told(cli, host, spec):
    in_sync(cli, spec)
    before = journal(host)
    applied(cli, spec)
    assert journal(host) == before
    spec.vm["guest"]["provision"]["hostname"] = "other"
    done = cli.run("plan", spec.write())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning[CXP403] the guest in guest was provisioned otherwise" in done.stderr
    assert PASSWORD not in cli.run("plan", "--json", spec.path).stdout


@pytest.mark.stage(PROVISIONED)
def test_after_a_reboot_of_the_host_all_of_it_is_there(cli, host, spec, client):
    keys = host.run("cat /var/lib/cxlstate/guests/guest/host_keys").stdout
    host.reboot_and_wait()
    in_time = time.monotonic() + 900
    while client.ssh("true").returncode and time.monotonic() < in_time:
        time.sleep(5)
    assert "cxl-vmx" in told(client, "hostname")
    in_sync(cli, spec)
    assert host.run("cat /var/lib/cxlstate/guests/guest/host_keys").stdout == keys
    assert "disabled" in told(client, "cloud-init status || true")


@pytest.mark.stage(PROVISIONED)
def test_a_disk_that_is_made_larger_is_grown_into(cli, spec, client):
    spec.data["images"]["guest"]["size"] = "5GiB"
    applied(cli, spec)
    assert int(told(client, "df --output=size -k / | tail -n 1")) > 4700 << 10
    in_sync(cli, spec)
