"""Connecting: one channel, verified keys, and an error in words for each way to fail."""

from __future__ import annotations

import logging
import shlex
import socket
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from cxlstate.core.connect import Ssh
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.read import Attributes, Command, File, Glob
from cxlstate.machine import ssh as ssh_module
from cxlstate.machine.open import open_reader
from tests.machine import sshd

VERSION = File("/proc/version")


def ask(connect):
    reader = open_reader(connect, "box")
    try:
        return reader.read([VERSION]).text(VERSION)
    finally:
        reader.close()


def refusal(connect):
    with pytest.raises(CxlstateError) as refused:
        ask(connect)
    (diagnostic,) = refused.value.diagnostics
    assert diagnostic.machine == "box"
    assert diagnostic.found
    assert diagnostic.hint
    return diagnostic


def test_a_plan_is_read_in_one_channel_of_one_connection(server):
    channels, connections = server.channels(), server.connections()
    packages = [Command(("dpkg-query", "--show"), (f"package-{number}",)) for number in range(200)]
    files = [File(f"/etc/default/{number}") for number in range(100)]
    reads = [*packages, *files, Glob("/etc/default/*"), Attributes("/sys/class/net/*/mtu"), VERSION]
    reader = open_reader(Ssh("box"), "box")
    assert reader.read(reads).text(VERSION)
    reader.close()
    assert (server.channels() - channels, server.connections() - connections) == (1, 1)


def test_a_second_read_uses_the_same_connection(server):
    connections = server.connections()
    reader = open_reader(Ssh("box"), "box")
    assert reader.read([VERSION]).text(VERSION) == reader.read([VERSION]).text(VERSION)
    reader.close()
    reader.close()
    assert server.connections() - connections == 1


def test_a_jump_host_is_gone_through(server):
    connections = server.connections()
    assert ask(Ssh("behind"))
    assert server.connections() - connections == 2


def test_an_unknown_host_key_is_refused_with_the_command_that_adds_it(server):
    known = server.folder / "known_hosts"
    known.write_text("")
    diagnostic = refusal(Ssh("box"))
    assert diagnostic.code == "CXC104"
    shown = subprocess.run(
        ["ssh-keygen", "-lf", server.folder / "host_key.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert shown in diagnostic.found
    command = diagnostic.hint.rpartition(": ")[2]
    subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    assert ask(Ssh("box"))


def test_behind_a_jump_host_the_command_adds_the_key_that_was_seen(server):
    config = server.config.read_text()
    try:
        server.config.write_text(f"Host behind\n  HostKeyAlias inner\n{config}")
        diagnostic = refusal(Ssh("behind"))
        assert diagnostic.code == "CXC104"
        subprocess.run(["sh", "-c", diagnostic.hint.rpartition(": ")[2]], check=True)
        assert (server.folder / "known_hosts").read_text().splitlines()[-1].startswith("inner ssh-ed25519 ")
    finally:
        server.config.write_text(config)


def test_the_key_of_the_jump_host_is_verified_too(server):
    (server.folder / "known_hosts").write_text("")
    assert refusal(Ssh("behind")).code == "CXC104"


def test_a_changed_host_key_is_refused_with_the_command_that_forgets_it(server, tmp_path):
    sshd.keygen(tmp_path / "other")
    other = (tmp_path / "other.pub").read_text()
    known = server.folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {other}")
    diagnostic = refusal(Ssh("box"))
    assert diagnostic.code == "CXC105"
    command = diagnostic.hint.partition("reinstalled: ")[2].partition(", and")[0]
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    assert refusal(Ssh("box")).code == "CXC104"


def test_a_revoked_host_key_is_refused(server):
    known = server.folder / "known_hosts"
    known.write_text(known.read_text() + f"@revoked * {(server.folder / 'host_key.pub').read_text()}")
    assert refusal(Ssh("box")).code == "CXC104"


def test_a_hashed_known_hosts_file_is_read(server):
    known = server.folder / "known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    assert known.read_text().startswith("|1|")
    assert ask(Ssh("box"))


def test_include_is_followed(server, tmp_path, monkeypatch):
    (tmp_path / "config").write_text(f"Include {server.folder}/ssh_conf*\nHost box\n  Port 1\n")
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", str(tmp_path / "config"))
    assert ask(Ssh("box"))


@pytest.mark.usefixtures("server")
def test_a_port_nobody_listens_on():
    assert refusal(Ssh("box", port=sshd.free_port())).code == "CXC102"


@pytest.mark.usefixtures("server")
def test_a_user_without_our_key():
    diagnostic = refusal(Ssh("box", user="nobody"))
    assert diagnostic.code == "CXC106"
    assert "nobody" in diagnostic.message


@pytest.mark.usefixtures("server")
def test_a_name_that_does_not_resolve(monkeypatch):
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", "/dev/null")
    assert refusal(Ssh("no-such-host.invalid")).code == "CXC101"


@pytest.mark.usefixtures("server")
def test_a_port_that_never_speaks(monkeypatch):
    monkeypatch.setattr(ssh_module, "CONNECT_TIMEOUT", 1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert refusal(Ssh("box", port=mute.getsockname()[1])).code == "CXC103"


@pytest.mark.usefixtures("server")
def test_a_server_of_another_kind():
    with socket.create_server(("127.0.0.1", 0)) as web:
        threading.Thread(target=speak_http, args=(web,), daemon=True).start()
        assert refusal(Ssh("box", port=web.getsockname()[1])).code == "CXC108"


def speak_http(web):
    line, _ = web.accept()
    with line:
        line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.usefixtures("server")
def test_a_jump_host_that_cannot_reach_the_host():
    diagnostic = refusal(Ssh("behind", port=sshd.free_port()))
    assert diagnostic.code == "CXC107"


@pytest.mark.usefixtures("server")
def test_a_config_file_that_cannot_be_parsed(tmp_path, monkeypatch):
    (tmp_path / "config").write_text("Host *\n  one-word\n")
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", str(tmp_path / "config"))
    assert refusal(Ssh("box")).code == "CXC108"


def test_a_connection_cut_while_reading_is_an_error(server):
    with Proxy(server.port) as proxy:
        (server.folder / "known_hosts").write_text(
            f"[127.0.0.1]:{proxy.port} {(server.folder / 'host_key.pub').read_text()}"
        )
        reader = open_reader(Ssh("box", port=proxy.port), "box")
        assert reader.read([VERSION]).text(VERSION)
        proxy.cut_after(0.5)
        with pytest.raises(CxlstateError, match="CXC201"):
            reader.read([Command(("dmesg", "--follow"))])
        reader.close()


@pytest.mark.usefixtures("server")
def test_nothing_but_our_words_reaches_standard_error():
    code = (
        "from cxlstate.core.connect import Ssh\nfrom cxlstate.core.diagnostic import CxlstateError\n"
        "from cxlstate.core.read import File\nfrom cxlstate.machine.open import open_reader\n"
        "for connect in (Ssh('box', user='nobody'), Ssh('box', port=1), Ssh('box')):\n"
        "    reader = open_reader(connect, 'box')\n"
        "    try: reader.read([File('/proc/version')])\n"
        "    except CxlstateError: print('refused')\n"
        "    reader.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("refused\nrefused\n", "")
    assert logging.getLogger("paramiko").propagate is False


class Proxy:
    """A line to the server that can be cut."""

    def __init__(self, port):
        self._target = port
        self._lines = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.cut()
        self._server.close()

    def cut_after(self, seconds):
        threading.Timer(seconds, self.cut).start()

    def cut(self):
        for line in self._lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def _accept(self):
        try:
            near, _ = self._server.accept()
        except OSError:
            return
        far = socket.create_connection(("127.0.0.1", self._target))
        self._lines = [near, far]
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=pour, args=(source, sink), daemon=True).start()


def pour(source, sink):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        return
