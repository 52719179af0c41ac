"""Through the connection that is open already: SSH, the pipes of a process, and another process."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from cxlstate.adapters.open_reader import ahead
from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.connect import Ssh
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.libvirt import StartDomain
from cxlstate.core.read import File, LibvirtDomain, LibvirtNetwork
from cxlstate.machine.aside import Aside
from cxlstate.machine.libvirt import tunnel
from cxlstate.machine.libvirt.access import Access, through
from cxlstate.machine.libvirt.tunnel import Tunnel
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Result
from cxlstate.machine.posix.launcher import LIBVIRT_READ
from cxlstate.machine.posix.reader import PosixReader
from cxlstate.machine.posix.transport import Lost
from cxlstate.machine.ssh import SshTransport
from tests.libvirt.definitions import domain

VM, VERSION = LibvirtDomain("vm"), File("/proc/version")


class Inside(LocalTransport):
    """Programs run where the daemon is."""

    def __init__(self, daemon, before=""):
        super().__init__()
        self._before = before or f"exec {' '.join(daemon.enter)} "
        self.libvirt = through(self.start)

    def exchange(self, command, stdin, timeout, limit):
        return super().exchange(self._before + command, stdin, timeout, limit)

    def start(self, command):
        return super().start(self._before + command)


@pytest.fixture(params=["ssh", "pipes"])
def transport(request, daemon):
    if request.param == "ssh":
        request.getfixturevalue("server")
        made = SshTransport(Ssh("box"), "box")
    else:
        made = Inside(daemon)
    yield made
    made.close()


@pytest.fixture
def vm(connection):
    return connection.defineXML(domain())


def test_the_answer_is_that_of_the_socket_itself(transport, daemon, vm):
    direct = LocalTransport(daemon.uri)
    reads = [VM, LibvirtDomain("none"), LibvirtNetwork("none")]
    assert transport.libvirt.read(reads) == direct.libvirt.read(reads)
    direct.close()


def test_libvirt_and_the_rest_are_asked_over_one_connection(server, vm):
    reader = PosixReader(SshTransport(Ssh("box"), "box"), "box")
    channels, connections = server.channels(), server.connections()
    for _ in range(3):
        answers = reader.read([VM, VERSION, VM])
        assert answers.text(VERSION)
        assert answers.files(VM)
    reader.close()
    assert (server.channels() - channels, server.connections() - connections) == (3 + 1, 1)


def test_only_libvirt_is_asked_where_nothing_else_is(server, vm):
    reader = PosixReader(SshTransport(Ssh("box"), "box"), "box")
    channels = server.channels()
    assert reader.read([VM]).files(VM)
    reader.close()
    assert server.channels() - channels == 1


def test_a_long_text_comes_whole(transport, connection):
    title = "".join(f"{number:x}." for number in range(300_000))
    connection.defineXML(domain().replace("</name>", f"</name><description>{title}</description>"))
    assert title in Answers(transport.libvirt.read([VM])).files(VM)["inactive.xml"]


def test_nothing_is_left_behind(transport, vm, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(threading.enumerate())
    transport.connect()
    transport.libvirt.read([VM])
    assert list(tmp_path.iterdir()) == []
    carriers = {one for one in threading.enumerate() if "carry" in one.name} - before
    assert len(carriers) == 2
    transport.close()
    for carrier in carriers:
        carrier.join(30)
        assert not carrier.is_alive()


def test_waiting_costs_nothing(transport, vm):
    transport.libvirt.read([VM])
    begun = time.process_time()
    time.sleep(2)
    assert time.process_time() - begun < 0.1


def test_a_daemon_that_was_killed_is_asked_through_a_new_channel(transport, daemon, vm):
    assert transport.libvirt.read([VM])[VM].files
    daemon.kill()
    daemon.await_up()
    assert transport.libvirt.read([VM])[VM].files


def test_a_daemon_that_does_not_run_is_told_in_the_words_of_the_helper(transport, daemon):
    with daemon.down():
        answer = transport.libvirt.read([VM])[VM]
    assert answer.status == 1
    assert answer.stderr.startswith("libvirt's daemon does not run: virt-ssh-helper: cannot connect to ")


def test_a_line_that_breaks_is_no_answer(server, daemon, vm):
    """While libvirt is thinking."""
    transport = SshTransport(Ssh("box"), "box")
    reader = PosixReader(transport, "box")
    reader.read([VM])
    with daemon.hanging():
        asked = Aside(partial(reader.read, [VM]))
        time.sleep(0.5)
        transport._connection.transport.sock.shutdown(socket.SHUT_RDWR)
        with pytest.raises(CxlstateError) as lost:
            asked.result(60)
    assert lost.value.diagnostics[0].code == "CXC201"
    assert reader.read([VM]).files(VM)  # it connects again
    reader.close()


def test_a_machine_without_the_helper(daemon, tmp_path):
    for name in ("sh", "id", "sudo"):
        (tmp_path / name).symlink_to(f"/bin/{name}")
    transport = Inside(daemon, f"PATH={tmp_path} exec ")
    with pytest.raises(ReadFailed) as failed:
        Answers(transport.libvirt.read([VM])).files(VM)
    assert (failed.value.reason, failed.value.missing_tool) == ("virt-ssh-helper is not installed", "libvirt")
    transport.close()


@pytest.fixture
def folder_for_all():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize(
    ("sudo", "ran"),
    [
        ('shift; echo "sudo $*" >&2; exec "$@"', ["sudo virt-ssh-helper -r qemu:///system"]),
        ("exit 1", []),
    ],
)
def test_the_helper_runs_as_root_if_that_can_be_had_and_else_as_the_user(daemon, folder_for_all, sudo, ran):
    script = folder_for_all / "sudo"
    script.write_text(f"#!/bin/sh\n{sudo}\n")
    script.chmod(0o755)
    become = f"env PATH={folder_for_all}:$PATH setpriv --reuid=65534 --regid=65534 --clear-groups "
    transport = Inside(daemon, f"exec {' '.join(daemon.enter)} {become}")
    assert transport.libvirt.read([VM])[VM].status == 0
    transport.close()
    stream = transport.start(LIBVIRT_READ)
    stream.end()
    assert stream.receive(60) == b""
    assert [line for line in stream.errors().splitlines() if line.startswith("sudo")] == ran
    stream.close()


def test_what_libvirt_says_is_told_and_not_what_the_helper_says_of_the_end(daemon, vm):
    """Reading is all that its socket is for: opened for more, libvirt itself turns away."""
    transport = Inside(daemon)
    writer = Access(
        lambda: Tunnel(transport.start(LIBVIRT_READ)), lambda: Tunnel(transport.start(LIBVIRT_READ))
    )
    outcome = writer.writer().perform(StartDomain("vm"), lambda: None)
    assert outcome.result is Result.FAILED
    assert "read only" in outcome.output
    writer.close()


class Mute:
    """A stream that says nothing, and is told nothing."""

    def __init__(self):
        self.over = threading.Event()

    def send(self, data):
        raise Lost("gone")

    def receive(self, timeout):
        if self.over.wait(timeout):
            return b""
        raise TimeoutError

    def errors(self):
        return ""

    def end(self):
        self.over.set()

    def close(self):
        self.over.set()


@pytest.mark.parametrize("name", ["short", "long" * 30])
def test_the_socket_is_for_us_alone_and_has_a_path_that_a_socket_can_have(monkeypatch, tmp_path, name):
    (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    made = Tunnel(Mute())
    path = Path(made.uri.partition("socket=")[2])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.is_socket()
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        caller.settimeout(30)
        caller.sendall(b"x")  # which cannot be sent on
        assert caller.recv(1) == b""
    made.close()
    assert not path.parent.exists()


def test_a_socket_that_nobody_calls_goes_away(monkeypatch):
    monkeypatch.setattr(tunnel, "CALLED", 0.1)
    made = Tunnel(Mute())
    made._carrier.join(30)
    assert not made._folder.exists()
    made.close()


def test_a_tunnel_that_is_closed_before_it_was_called_leaves_nothing():
    made = Tunnel(Mute())
    made.close()
    made._carrier.join(tunnel.CALLED / 2)
    assert not made._folder.exists()


def test_a_program_that_ends_without_a_farewell_ends_at_once(daemon, vm):
    """libvirt takes leave by itself then, when the threads that carry are gone already."""
    reads = (
        "import types; from tests.libvirt.test_transports import VM, Inside; "
        f"kept = Inside(types.SimpleNamespace(enter={list(daemon.enter)!r})); "
        "assert kept.libvirt.read([VM])[VM].status == 0"
    )
    subprocess.run([sys.executable, "-c", reads], check=True, timeout=60)


def test_a_process_apart_forwards(server, vm):
    channels, connections = server.channels(), server.connections()
    with ahead(Ssh("box")) as (opener, _):
        reader = opener(Ssh("box"), "box")
        for _ in range(2):
            answers = reader.read([VM, VERSION])
            assert "facts" in answers.files(VM)
            assert answers.text(VERSION)
        reader.close()
    assert (server.channels() - channels, server.connections() - connections) == (2 + 1, 1)


def test_a_process_apart_answers_what_is_ready_first(server, daemon, vm):
    with ahead(Ssh("box")) as (opener, _):
        reader = opener(Ssh("box"), "box")
        reader.read([VM])
        with daemon.hanging():
            asked = Aside(partial(reader.read, [VM]))
            time.sleep(0.2)
            assert reader.read([VERSION]).text(VERSION)
        assert asked.result(60).files(VM)
        reader.close()


def test_a_process_apart_loads_the_library_in_our_place(server, vm):
    code = (
        "import sys\nfrom cxlstate.core.connect import Ssh\nfrom cxlstate.core.read import LibvirtDomain\n"
        "from cxlstate.adapters.open_reader import ahead\n"
        "with ahead(Ssh('box')) as (opener, _):\n"
        "    answers = opener(Ssh('box'), 'box').read([LibvirtDomain('vm')])\n"
        "    print(sorted(answers.files(LibvirtDomain('vm'))), 'libvirt' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("['facts', 'inactive.xml'] False\n", "")


def test_what_goes_wrong_while_connecting_is_tried_once(monkeypatch, server):
    tried = []
    connect = SshTransport.connect
    monkeypatch.setattr(SshTransport, "connect", lambda self: tried.append(1) or connect(self))
    reader = PosixReader(SshTransport(Ssh("box", port=1), "box"), "box")
    with pytest.raises(CxlstateError, match="CXC102"):
        reader.read([VM, VERSION])
    assert tried == [1]
