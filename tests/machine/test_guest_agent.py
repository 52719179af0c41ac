"""Into a guest by its agent: the real one, on a socket in place of the channel that libvirt would use."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest

from cxlstate.core.address import Address
from cxlstate.core.connect import Ssh, Through
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.guest import Accepted, GuestAccess, Route, Source
from cxlstate.core.read import Attributes, Command, File, Glob, LibvirtDomain
from cxlstate.machine.guest import PosixGuestReader, reach
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.posix.reader import PosixReader
from cxlstate.machine.posix.transport import Lost, TooMuch
from cxlstate.machine.qga.ask import INPUT, MOST, Silent
from cxlstate.machine.qga.run import content
from cxlstate.machine.qga.transport import AgentTransport
from cxlstate.machine.ssh import SshTransport
from tests.machine import guests
from tests.machine.test_guest_ssh import OTHER, route

VERSION = File("/proc/version")
BLOCKED = "guest-exec", "guest-file-open"


def started(folder, *more, enter=()):
    if not shutil.which("qemu-ga", path="/usr/sbin:/usr/bin"):
        pytest.skip("the QEMU guest agent is needed (tools/test-setup)")
    return guests.Agent(folder, *more, enter=enter)


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    made = started(tmp_path_factory.mktemp("qga"))
    yield made
    made.stop()


@pytest.fixture
def transport(agent):
    return AgentTransport(agent.ask, "box/vm")


@pytest.mark.parametrize(
    ("command", "stdin", "status", "stdout", "stderr"),
    [
        ("true", b"", 0, b"", b""),
        ("cat; exit 3", b"\0\xff\n", 3, b"\0\xff\n", b""),
        ("echo out; echo err >&2; false", b"", 1, b"out\n", b"err\n"),
        ("exec >&-; exit 2", b"", 2, b"", b""),
        ("no-such-program-anywhere", b"", 127, b"", None),
        ("sh", b"echo $((6 * 7))", 0, b"42\n", b""),
        (f"head -c {MOST} /dev/zero", b"", 0, bytes(MOST), b""),
        ("head -c 100000 /dev/zero >&2; echo end", b"", 0, b"end\n", bytes(64 << 10)),
        ("wc -c", bytes(MOST), 0, b"%d\n" % MOST, b""),
    ],
)
def test_a_command_is_run_with_its_input_and_output(transport, command, stdin, status, stdout, stderr):
    reply = transport.exchange(command, stdin, 60, 64 << 20)
    assert (reply.status, reply.stdout) == (status, stdout)
    assert stderr is None or reply.stderr == stderr


def test_what_would_not_fit_is_never_a_text_that_was_cut(transport):
    with pytest.raises(TooMuch):
        transport.exchange(f"head -c {MOST + 1} /dev/zero", b"", 60, 64 << 20)
    with pytest.raises(TooMuch):
        transport.exchange("echo too long", b"", 60, 4)
    with pytest.raises(Lost, match="more than the guest agent takes"):
        transport.exchange("cat", os.urandom(INPUT), 60, 64 << 20)


def test_a_command_without_end_is_given_up(transport):
    with pytest.raises(TimeoutError):
        transport.exchange("exec timeout 5 sleep 5", b"", 0.3, 100)


def test_a_guest_is_read_in_the_same_words_as_any_machine(agent, transport):
    transport.connect()
    reader = PosixGuestReader(transport, "box/vm")
    reads = [
        VERSION,
        File("/no/such/file"),
        Glob("/etc/default/*"),
        Attributes("/sys/class/net/*/mtu"),
        Command(("getent", "group"), ("root",)),
        LibvirtDomain("inner"),
    ]
    agent.calls.clear()
    said = reader.read(reads)
    assert agent.calls.count("guest-exec") == 1
    here = PosixReader(LocalTransport(), "here").read(reads[:-1])
    for read in reads[:-1]:
        assert said.raw(read) == here.raw(read)
    assert said.raw(reads[-1]).status != 0
    assert reader.accepted is None
    reader.close()


def test_host_keys_are_asked_for_over_it(agent, tmp_path):
    path = tmp_path / "key.pub"
    path.write_text("ssh-ed25519 AAAA")
    assert content(agent.ask, str(path), 1000) == b"ssh-ed25519 AAAA"
    assert content(agent.ask, str(path), 3) == b"ssh"


@pytest.mark.parametrize("name", BLOCKED)
def test_what_a_distribution_blocks_is_told_in_its_own_words(tmp_path, name):
    agent = started(tmp_path, "-b", name)
    try:
        transport = AgentTransport(agent.ask, "box/vm")
        if name == "guest-exec":
            with pytest.raises(CxlstateError) as refused:
                transport.connect()
            with pytest.raises(CxlstateError) as again:
                transport.exchange("true", b"", 10, 10)
            for error in (refused, again):
                (said,) = error.value.diagnostics
                assert said.code == "CXC125"
                assert "guest-exec has been disabled" in said.found
                assert "via: ssh" in said.hint
        else:
            transport.connect()
            assert transport.exchange("echo runs", b"", 10, 10).stdout == b"runs\n"
    finally:
        agent.stop()


def test_an_agent_that_is_gone_does_not_answer(tmp_path):
    agent = started(tmp_path)
    agent.stop()
    with pytest.raises(CxlstateError) as refused:
        AgentTransport(agent.ask, "box/vm").connect()
    assert refused.value.diagnostics[0].code == "CXC124"


# What a guest says is not believed to be well formed.
@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "{}",
        '{"return": 7}',
        '{"return": {"pid": true}}',
        '{"return": {"pid": "x"}}',
        '{"return": {"pid": 1, "exited": true}}',
        '{"return": {"pid": 1, "exited": true, "exitcode": 0, "out-data": 5}}',
        '{"return": {"pid": 1, "exited": true, "exitcode": 0, "out-data": "*"}}',
        '{"return": {"pid": 1, "exited": true, "exitcode": 0, "out-data": "\u00fc"}}',
        '{"return": {"pid": 1, "exited": true, "exitcode": "0"}}',
        '{"return": {"pid": 1, "exited": true, "signal": 9}}',
        "[" * 100_000,
    ],
)
def test_an_odd_answer_is_none(answer):
    transport = AgentTransport(lambda *_: answer, "box/vm")
    with pytest.raises(Lost):
        transport.exchange("true", b"", 1, 100)
    with pytest.raises(CxlstateError) as refused:
        transport.connect()
    assert refused.value.diagnostics[0].code in ("CXC124", "CXC125")


def test_an_agent_that_is_too_old_is_told_by_its_version():
    said = {"version": "2.4.0", "supported_commands": [{"name": "guest-ping", "enabled": True}]}
    with pytest.raises(CxlstateError) as refused:
        AgentTransport(lambda *_: json.dumps({"return": said}), "box/vm").connect()
    assert "is not in version 2.4.0" in refused.value.diagnostics[0].found


class Asked(SshTransport):
    """A host whose libvirt asks this agent."""

    def __init__(self, agent):
        super().__init__(Ssh("box"), "box")
        self._agent = agent

    def agent(self, vm):
        assert vm == "vm"
        return self._agent.ask


@pytest.fixture
def inside(pair, tmp_path):
    """The agent of the guest that is behind the host."""
    keys = pair.folder / "etc-ssh"
    keys.mkdir(exist_ok=True)
    shutil.copy(pair.folder / "guest_key.pub", keys / "ssh_host_ed25519_key.pub")
    pair.guest.run("mount", "--bind", str(keys), "/etc/ssh")
    made = started(tmp_path, enter=tuple(pair.guest.enter))
    yield made
    made.stop()
    pair.guest.run("umount", "/etc/ssh")


@pytest.mark.parametrize("kept", [(), (OTHER,)])
def test_the_agent_confirms_a_new_host_key(pair, inside, kept):
    host = Asked(inside)
    guest = reach(host, "box", route(pair, keys=kept, agent=True))
    assert guest.accepted == Accepted(pair.key(), Source.AGENT)
    guest.close()
    host.close()


def test_it_is_not_asked_for_a_key_that_is_kept(pair, inside):
    host = Asked(inside)
    guest = reach(host, "box", route(pair, agent=True))
    assert guest.accepted == Accepted(pair.key(), Source.KEPT)
    assert inside.calls == []
    guest.close()
    host.close()


def test_where_commands_are_blocked_files_are_read(pair, inside, tmp_path):
    folder = tmp_path / "blocked"
    folder.mkdir()
    blocked = started(folder, "-b", "guest-exec", enter=tuple(pair.guest.enter))
    host = Asked(blocked)
    guest = reach(host, "box", route(pair, keys=(), agent=True))
    assert guest.accepted == Accepted(pair.key(), Source.AGENT)
    guest.close()
    host.close()
    blocked.stop()


def test_an_agent_that_says_another_key_is_a_change(pair, inside):
    (pair.folder / "etc-ssh/ssh_host_ed25519_key.pub").write_text(f"{OTHER.kind} {OTHER.key}\n")
    host = Asked(inside)
    with pytest.raises(CxlstateError) as refused:
        reach(host, "box", route(pair, keys=(), agent=True))
    host.close()
    (said,) = refused.value.diagnostics
    assert said.code == "CXC120"
    assert OTHER.fingerprint in said.expected
    assert "the guest agent" in said.expected


def test_the_same_guest_is_reached_without_any_network(pair, inside):
    where = File("/var/lib/cxlstate/via")
    pair.guest.run("sh", "-c", "echo agent >/var/lib/cxlstate/via")
    host = Asked(inside)
    way = Route("box/vm", Through(Address("vm", "vm"), via="agent"), GuestAccess(running=True, agent=True))
    reader = PosixGuestReader(reach(host, "box", way), "box/vm")
    assert reader.read([where]).text(where) == "agent\n"
    reader.close()
    assert host._connection is None  # nothing but libvirt was needed for it
    host.close()


def test_an_agent_that_is_silent_is_a_reason_and_no_hang(pair):
    class Nobody(Asked):
        def agent(self, vm):
            def ask(command, patience):
                raise Silent("QEMU guest agent is not connected")

            return ask

    host = Nobody(None)
    way = route(pair, keys=(), agent=True)
    with pytest.raises(CxlstateError) as refused:
        reach(host, "box", way)
    (said,) = refused.value.diagnostics
    assert said.code == "CXC121"
    assert "is not connected" in said.found
    with pytest.raises(CxlstateError) as refused:
        reach(host, "box", replace(way, through=replace(way.through, via="agent")))
    assert refused.value.diagnostics[0].code == "CXC124"
    host.close()
