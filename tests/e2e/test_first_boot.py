"""What a real cloud-init makes of our seed, and what is left of it: a cloud image, without a host around it.

A tenth of what `test_provision.py` takes. The facts are one life of a guest: each begins where the last one
ended. Its half of the kind `provision` is asked and told as in any guest.
"""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from cxlstate.adapters.open_writer import open_writer
from cxlstate.core.action import Action
from cxlstate.core.address import Address
from cxlstate.core.connect import Ssh
from cxlstate.core.exports import Inputs, Seed
from cxlstate.core.first_boot import Account, FirstBoot
from cxlstate.core.observation import Present
from cxlstate.core.read import Asked
from cxlstate.core.reconciler import Resource
from cxlstate.core.secret import Secret
from cxlstate.formats import cloud_init, host_keys, password, seed_iso
from cxlstate.machine.outcome import Entry, Result
from cxlstate.resources.provision.reconcile import reconciler
from cxlstate.resources.provision.spec import Provision
from tests.e2e.conftest import Cli
from tests.lab.bare_guest import CloudGuest
from tests.lab.guest_variants import ensure_variant

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(5400)]

VM, USER, PASSWORD = "g", "comsys", "planted-Correct-horse-47"
MIB = 4096
"""Of its disk, which is larger than the image."""
SPEC = """\
apiVersion: cxlstate/v1
host:
  name: cloud
  connect: ssh://cloud
  packages: [hello]
  sshd: {password_authentication: false, permit_root_login: 'no'}
  filesystems: {/: {grow: true}}
"""
LOOK = "sudo grep -rlF --exclude=shadow --exclude=shadow- -f - /etc /var /run /tmp /root /home 2>/dev/null"
CONFIG = """\
Host cloud root-of-it
    HostName 127.0.0.1
    Port {port}
    HostKeyAlias cloud
    UserKnownHostsFile {keys}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
    IdentityFile {identity}
    IdentitiesOnly yes
Host cloud
    User comsys
Host root-of-it
    User root
"""


def first_boot(image):
    """What it is told, whoever tells it."""
    key = Path(f"{image.identity}.pub").read_text().strip()
    secret = Secret(PASSWORD.encode())
    user = Account(USER, ("sudo",), "/bin/bash", sudo=True, keys=(key,), password=secret)
    return FirstBoot(cloud_init.instance(VM), "cxl-vmx", (user,), (CloudGuest.MAC,))


class Guest:
    """The machine, and how its user comes to it."""

    def __init__(self, folder, image, machine, keys):
        self.image, self.machine, self.keys = image, machine, keys
        known = folder / "known"
        known.write_text("".join(f"cloud {key.kind} {key.key}\n" for key in keys))
        self.config = folder / "config"
        names = {"port": machine.port, "keys": known, "identity": image.identity}
        self.config.write_text(CONFIG.format_map(names))

    @classmethod
    def seeded(cls, folder):
        """Booted with the seed of its first boot."""
        image = ensure_variant("cloud")
        seed = seed_iso.image(cloud_init.files(first_boot(image), password.sha512_crypt))
        machine = CloudGuest.first_booted(folder, seed, mib=MIB)
        return cls(folder, image, machine, host_keys.on_console(machine.console))

    def ssh(self, line, *options, name="cloud", text=None):
        argv = ["ssh", "-F", str(self.config), *options, name, line]
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=900, check=False, input=text or ""
        )

    def told(self, line):
        done = self.ssh(line)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    made = Guest.seeded(tmp_path_factory.mktemp("cloud"))
    with pytest.MonkeyPatch.context() as patch, made.machine:
        patch.setenv("CXLSTATE_SSH_CONFIG", str(made.config))
        yield made


@pytest.fixture
def cli(guest):
    return Cli(guest.config)


def written(folder):
    path = folder / "cloud.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def spec(tmp_path):
    return written(tmp_path)


def assessed(writer):
    """What the half in the guest finds, and what it says is to be done."""
    me = Resource(Address("provision", ""), Provision(method="cloud-init"), vm=VM)
    reads = [one.read if isinstance(one, Asked) else one for one in reconciler.reads(me)]
    seen = reconciler.observe(me, writer.read(reads))
    given = Inputs({Address("provision", VM): [Seed(cloud_init.instance(VM), given=True)]})
    return seen, reconciler.assess(me, seen, given)


def perform(writer, action: Action):
    outcome = writer.perform(action.effect, Entry("first-boot", ("provision",), action.does, "live"))
    assert outcome.result is Result.DONE, (action, outcome)


def only_its_user_logs_in(guest):
    """With the key, to a host that is known, and without a question."""
    said = guest.told("id; hostname; sudo -n true && echo may").split()
    assert said[0].endswith(f"({USER})")
    assert any("(sudo)" in word for word in said)
    assert said[-2:] == ["cxl-vmx", "may"]
    other = guest.ssh("true", "-o", "PubkeyAuthentication=no")
    assert other.returncode == 255
    assert "Permission denied (publickey)" in other.stderr, "no password is asked for"
    assert "Permission denied" in guest.ssh("true", name="root-of-it").stderr
    assert guest.image.guest_key.split()[1] not in {key.key for key in guest.keys}, "made anew"
    assert guest.told(f"sudo grep ^{USER}: /etc/shadow").startswith(f"{USER}:$6$")
    asks = guest.told("sudo grep -h Kbd /etc/ssh/sshd_config.d/01-cxlstate-provision.conf; sudo sshd -T")
    assert asks.startswith("KbdInteractiveAuthentication no\n")
    assert "kbdinteractiveauthentication no\n" in asks


def the_kinds_go_on(guest, cli, spec):
    """The root file system grown, a package, sshd as it is; then all is in sync."""
    done = cli.run("apply", "--yes", spec, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(guest.told("df --output=size -k / | tail -n 1")) > 3700 << 10, "its disk has 4 GiB"
    server = guest.told("sudo sshd -T").splitlines()
    for line in ("passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin no"):
        assert line in server
    done = cli.run("plan", spec)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_user_logs_in_by_the_keys_on_the_console_and_nobody_else(guest):
    only_its_user_logs_in(guest)


def test_it_is_proven_done_and_then_no_hash_is_left_but_in_shadow(guest):
    hashed = guest.told(f"sudo grep ^{USER}: /etc/shadow").split(":")[1]
    before = guest.ssh(LOOK, text=f"{hashed}\n{PASSWORD}\n").stdout.split()
    assert before
    assert set(before) <= set(cloud_init.leftovers(cloud_init.instance(VM))), "what a seed leaves is known"
    with closing(open_writer(Ssh("cloud"), "cloud", progress=lambda _: None)) as writer:
        seen, found = assessed(writer)
        assert isinstance(seen, Present)
        assert seen.live.status.state == "done", seen.live.status
        assert not found.problems
        for action in found.actions:
            perform(writer, action)
        assert not assessed(writer)[1].problems, "a run that ends here is gone on with"
    assert guest.ssh(LOOK, text=f"{hashed}\n{PASSWORD}\n").stdout == ""


def test_the_kinds_go_on_from_there(guest, cli, spec):
    the_kinds_go_on(guest, cli, spec)


def test_a_disk_that_is_made_larger_is_grown_into(guest, cli, spec):
    guest.machine.grow_disk(5120)
    assert cli.run("plan", spec).returncode == 2
    done = cli.run("apply", "--yes", spec, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(guest.told("df --output=size -k / | tail -n 1")) > 4700 << 10


def test_without_its_seed_it_is_the_same_guest(guest, cli, spec):
    guest.ssh("sudo systemctl poweroff")
    guest.machine.wait_off()
    guest.machine.start_and_wait("login:")
    assert "disabled" in guest.told("cloud-init status || true")
    assert guest.told("hostname") == "cxl-vmx\n"
    done = cli.run("plan", spec)
    assert done.returncode == 0, done.stdout + done.stderr
