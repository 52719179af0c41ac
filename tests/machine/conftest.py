from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from cxlstate.core.connect import Ssh
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Entry
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.transport import Reply
from cxlstate.machine.posix.writer import PosixWriter
from cxlstate.machine.ssh import SshTransport
from tests.machine import guests, sshd

ENTRY = Entry("run-1", ("module.kmem", "grub"), 'does "it", doesn\'t $(it)\n', "live")


@pytest.fixture(scope="session")
def shared_sshd(tmp_path_factory):
    if os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists():
        pytest.skip("a private sshd needs openssh-server and root")
    server = sshd.start(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def server(shared_sshd, monkeypatch):
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", str(shared_sshd.config))
    known = shared_sshd.folder / "known_hosts"
    content = known.read_text()
    yield shared_sshd
    known.write_text(content)


@pytest.fixture(scope="session")
def shared_pair(tmp_path_factory):
    if os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists():
        pytest.skip("a private sshd needs openssh-server and root")
    if subprocess.run(["unshare", "--mount", "--net", "true"], check=False).returncode:
        pytest.skip("no namespace can be made here")
    pair = guests.start(tmp_path_factory.mktemp("pair"))
    yield pair
    pair.stop()


@pytest.fixture
def pair(shared_pair, monkeypatch):
    """A host and its guest, to be reached only through it."""
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", str(shared_pair.config))
    return shared_pair


@pytest.fixture(params=["local", "ssh"])
def transport(request):
    if request.param == "ssh":
        request.getfixturevalue("server")
        made = SshTransport(Ssh("box"), "box")
    else:
        made = LocalTransport()
    yield made
    made.close()


@pytest.fixture
def places(tmp_path):
    return {"state": str(tmp_path / "state"), "lock": str(tmp_path / "lock")}


@pytest.fixture
def writer(transport, places):
    made = PosixWriter(transport, "box", survives_reboot=False, settings=Settings(**places, patience=5))
    yield made
    made.close()


class AsNobody(LocalTransport):
    """This machine, as a user who may do nothing."""

    BECOME = "cd /; exec setpriv --reuid=65534 --regid=65534 --clear-groups "

    def exchange(self, command: str, stdin: bytes, timeout: float, limit: int) -> Reply:
        return super().exchange(self.BECOME + command, stdin, timeout, limit)

    def start(self, command: str):
        return super().start(self.BECOME + command)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pytest_collection_modifyitems(items):
    """What talks to a real SSH server is left out of the fast loop."""
    for item in items:
        if {"server", "pair"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
