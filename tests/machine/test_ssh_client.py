"""What `ssh-config` writes, by OpenSSH itself: which way it goes, whom it trusts, that it asks nothing."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from paramiko.config import SSHConfig

from cxlstate.cli.client_files import blocks
from cxlstate.core.address import Address
from cxlstate.core.connect import Ssh, Through
from cxlstate.core.guest import GuestAccess, HostKey
from cxlstate.core.machine import Scope
from cxlstate.engine import ssh_hosts
from cxlstate.formats.ssh_client import SshHost
from cxlstate.machine import ssh_config
from cxlstate.spec.document import Document
from cxlstate.spec.tree import Machine, Tree
from tests.machine import guests

OTHER = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
PRINTED, KEPT = False, True
WAYS = pytest.mark.parametrize("kept", [PRINTED, KEPT], ids=["printed", "kept"])


@pytest.fixture
def found(pair, monkeypatch):
    """The entries of a spec for these two, once libvirt has told this of the VM. User and keys come from the
    SSH configuration that CXLSTATE_SSH_CONFIG names."""

    def found(**access):
        way = GuestAccess(
            **{"running": True, "addresses": (guests.ADDRESS,), "keys": (pair.key(),), **access}
        )
        monkeypatch.setattr(ssh_hosts, "_asked", lambda *_: [(guest, way)])
        host = Machine("lab", None, Scope.HOST, Ssh("box"), ())
        guest = Machine("lab/vm", "lab", Scope.GUEST, Through(Address("vm", "vm")), ())
        tree = Tree("spec.yaml", (host, guest), Document("spec.yaml", None))
        return list(ssh_hosts.ssh_hosts(tree, {}, None).hosts)

    return found


@pytest.fixture
def client(tmp_path):
    """Runs ssh by the file that is made of some entries; `kept`: with the keys in a file beside it."""

    def client(hosts, kept, *arguments, folder="keys"):
        keys = tmp_path / folder
        keys.write_text("".join(f"{line}\n" for one in hosts for line in one.known))
        config = tmp_path / "config"
        config.write_text(blocks("lab", hosts, keys if kept else None))
        command = ["ssh", "-F", str(config), "-o", "BatchMode=yes", *arguments]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    return client


@WAYS
def test_the_guest_is_reached_through_its_host_without_a_question(pair, found, client, kept):
    pair.guest.run("sh", "-c", "echo inside >/var/lib/cxlstate/where")
    said = client(found(), kept, "vm", "cat /var/lib/cxlstate/where")
    assert (said.returncode, said.stdout, said.stderr) == (0, "inside\n", "")
    host = client(found(), kept, "lab", "cat /var/lib/cxlstate/where")
    assert (host.returncode, host.stdout) == (1, ""), "it is another machine"


@WAYS
def test_a_key_of_another_type_is_asked_for(pair, found, client, kept):
    """The server has two, and the client would rather have the other."""
    assert client(found(keys=(pair.key("guest_ecdsa"),)), kept, "vm", "true").returncode == 0


@WAYS
@pytest.mark.parametrize("keys", [(), (OTHER,)], ids=["none", "another"])
def test_by_another_key_nobody_is_let_in(pair, found, client, kept, keys):
    log = len(pair.guest_log)
    said = client(found(keys=keys), kept, "vm", "true")
    assert said.returncode == 255
    assert "Host key verification failed" in said.stderr
    assert "Accepted" not in pair.guest_log[log:]


@WAYS
def test_what_the_user_knows_of_that_address_has_no_say(pair, found, client, kept, tmp_path):
    known = tmp_path / "users"
    known.write_text(
        "".join(f"{name} {pair.key().kind} {pair.key().key}\n" for name in ("vm", guests.ADDRESS, "*"))
    )
    hosts = [*found(keys=(OTHER,)), SshHost("rest", "*", more=(("UserKnownHostsFile", str(known)),))]
    assert client(hosts, kept, "vm", "true").returncode == 255


def test_the_file_of_keys_may_be_called_anything(found, client):
    for folder in ("a b", "50%", "%h", 'a"b', "a\\b", "a#b", "a'b", "$HOME"):
        said = client(found(), KEPT, "vm", "true", folder=folder)
        assert (folder, said.returncode, said.stderr) == (folder, 0, "")


@WAYS
def test_ssh_reads_what_was_meant(found, client, kept):
    host, guest = found()
    guest = replace(guest, user="comsys", port=2222, more=())
    said = client([host, guest], kept, "-G", "vm").stdout.splitlines()
    for line in (
        f"hostname {guests.ADDRESS}",
        "user comsys",
        "port 2222",
        "proxyjump lab",
        "hostkeyalias lab/vm",
        "stricthostkeychecking true",
    ):
        assert line in said


@pytest.mark.parametrize("name", ["other", "vmx", "xvm"])
def test_other_names_are_left_alone(found, client, name):
    assert f"hostname {name}" in client(found(), PRINTED, "-G", name).stdout.splitlines()


INNER = {
    "a host": "Host vm\n  HostName 1.2.3.4\n",
    "two": "Host other\n  HostName 9.9.9.9\nHost v* !vmx\n  HostName 1.2.3.4\n",
    "not this one": "Host * !vm\n  HostName 1.2.3.4\n",
    "bare": "HostName 1.2.3.4\n",
    "all": "Match all\nHostName 1.2.3.4\n",
    "a user": "Match originalhost vm user nobody-has-this-name\nHostName 1.2.3.4\n",
}
OUTER = (
    "",
    "Host vm\n",
    "Host other\n",
    "Host *\n",
    "Host a b vm\n",
    "Match all\n",
    "Match originalhost other\n",
)


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
@pytest.mark.parametrize("outer", OUTER)
def test_an_include_holds_where_it_does_for_ssh(tmp_path, outer, inner):
    config = tmp_path / "config"
    config.write_text(f"{outer}Include {tmp_path}/inner\nHost vm\n  HostName 5.5.5.5\n")
    (tmp_path / "inner").write_text(inner)
    ssh = subprocess.run(["ssh", "-G", "-F", config, "vm"], capture_output=True, text=True, check=True).stdout
    ours = SSHConfig.from_text(ssh_config.load([config])).lookup("vm")
    assert f"hostname {ours['hostname']}" in ssh.splitlines()
