"""Connecting: one channel, verified keys, and an error in words for each way to fail."""

from __future__ import annotations

import logging
import os
import pty
import shlex
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from cxlstate.adapters.open_reader import open_reader
from cxlstate.core.connect import Ssh
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.read import Attributes, Command, File, Glob
from cxlstate.machine import ssh as ssh_module
from cxlstate.machine.apart import ApartTransport
from cxlstate.machine.posix.reader import PosixReader
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


def test_an_unknown_host_key_is_refused_with_the_command_that_asks_about_it(server):
    known = server.folder / "known_hosts"
    known.write_text("")
    diagnostic = refusal(Ssh("box"))
    assert diagnostic.code == "CXC104"
    shown = subprocess.run(
        ["ssh-keygen", "-lf", server.folder / "host_key.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert shown in diagnostic.found
    assert shown in pasted(diagnostic.hint.rpartition(": ")[2])
    assert ask(Ssh("box"))


def test_behind_a_jump_host_the_command_asks_about_the_same_key(server):
    config = server.config.read_text()
    try:
        server.config.write_text(f"Host behind\n  HostKeyAlias inner\n{config}")
        diagnostic = refusal(Ssh("behind"))
        assert diagnostic.code == "CXC104"
        assert "inner" in diagnostic.expected
        pasted(diagnostic.hint.rpartition(": ")[2])
        assert (server.folder / "known_hosts").read_text().splitlines()[-1].startswith("inner ssh-ed25519 ")
        assert ask(Ssh("behind"))
    finally:
        server.config.write_text(config)


def pasted(command):
    """What a person sees who pastes it into a terminal, and answers with yes."""
    process, terminal = pty.fork()
    if process == 0:
        os.execvp("sh", ["sh", "-c", command])
    seen = b""
    with suppress(OSError):  # the end of a terminal (EIO)
        while chunk := os.read(terminal, 4096):
            seen += chunk
            if chunk.rstrip().endswith(b"?"):
                os.write(terminal, b"yes\n")
    os.close(terminal)
    assert os.waitpid(process, 0)[1] == 0, seen
    return seen.decode()


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
    command = diagnostic.hint.partition("reinstalled: ")[2].partition(";")[0]
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
        "from cxlstate.core.read import File\nfrom cxlstate.adapters.open_reader import open_reader\n"
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


# What else may stand in the configuration ---------------------------------------------------------------


def with_config(server, text, monkeypatch, tmp_path):
    (tmp_path / "config").write_bytes(text.encode("utf-8", "surrogateescape") + server.config.read_bytes())
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", str(tmp_path / "config"))


PASSES_ON = """
import os, socket, sys, threading
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def there():
    while data := os.read(0, 65536):
        line.sendall(data)
threading.Thread(target=there, daemon=True).start()
while data := line.recv(65536):
    os.write(1, data)
"""


GOOD = {
    "unknown words": "Frobnicate yes\nMatch host nowhere\n  Port 1\nHost *\n",
    "match exec that fails": 'Match exec "false"\n  Port 1\n',
    "match exec that reads": 'Match exec "cat >/dev/null; false"\n  Port 1\n',
    "match exec that talks": 'Match exec "echo hello; echo there >&2; false"\n  Port 1\n',
    "no proxy command": "Host box\n  ProxyCommand none\n",
    "an unknown user": "Host *\n  IdentityFile ~nobody-has-this-name/key\n",
    "tokens": "Host *\n  IdentityFile %d/%u/%h/%r\n",
    "not UTF-8": "# \udcff\udcfe\nHost \udcff\n  Port 1\n",
    "a long line": f"# {'x' * 100_000}\nHost {'y ' * 20_000}\n  Port 1\n",
    "many blanks": f"Host{' ' * 100_000}z\n  Port 1\n",
    "a folder": "Include /etc\n",
    "quotes": 'Include "/no where/at all"\n',
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_what_ssh_takes_we_take(server, monkeypatch, tmp_path, text):
    with_config(server, text, monkeypatch, tmp_path)
    started = time.monotonic()
    assert ask(Ssh("box"))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "text",
    [
        "Include config\nInclude config\nInclude config\n",
        "???\n",
        "Host box\n  Port many\n",
        "Host box\n  ConnectTimeout never\n",
        "Host box\n  ForwardAgent ask\n",
        "Host box\n  CanonicalizeHostname yes\n",
        "Host box\n  ProxyJump other\nHost other\n  ProxyJump box\n",
        'Host box\n  UserKnownHostsFile "torn\n',
        "Match\n",
        "Match host\n",
        'Include "torn\n',
    ],
)
def test_what_nobody_can_read_is_an_error_with_a_code(server, monkeypatch, tmp_path, text):
    with_config(server, text, monkeypatch, tmp_path)
    started = time.monotonic()
    assert refusal(Ssh("box")).code == "CXC108"
    assert time.monotonic() - started < 10


def test_a_proxy_command_is_gone_through(server, monkeypatch, tmp_path):
    (tmp_path / "pass.py").write_text(PASSES_ON)
    command = f"{sys.executable} {tmp_path}/pass.py %p"
    with_config(server, f"Host box\n  ProxyCommand {command}\n", monkeypatch, tmp_path)
    assert ask(Ssh("box"))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("false", ""),
        ("sh -c 'echo no way >&2; exit 1'", "no way"),
        ("/no/such/program", "/no/such/program"),
        ("sh -c 'head -c 1000000 /dev/zero >&2; echo end >&2'", "end"),
        ("echo hello", ""),
    ],
)
def test_a_proxy_command_that_fails_is_told_at_once(server, monkeypatch, tmp_path, command, said):
    with_config(server, f"Host box\n  ProxyCommand {command}\n", monkeypatch, tmp_path)
    started = time.monotonic()
    diagnostic = refusal(Ssh("box"))
    assert time.monotonic() - started < 10
    assert diagnostic.code == "CXC110"
    assert said in diagnostic.found


def test_match_exec_does_not_read_what_is_meant_for_us(server, monkeypatch, tmp_path):
    """As the process that connects ahead has its questions there."""
    with_config(server, 'Match exec "cat; false"\n  Port 1\n', monkeypatch, tmp_path)
    transport = ApartTransport(Ssh("box"))
    try:
        assert PosixReader(transport, "box").read([File("/proc/version")]).text(File("/proc/version"))
    finally:
        transport.close()
