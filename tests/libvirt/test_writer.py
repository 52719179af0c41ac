"""Effects on libvirt as a writer performs them: journalled, kept, checked, and told how they ended."""

from __future__ import annotations

import json
import socket
import threading
import time
from functools import partial

import libvirt
import pytest

from cxlstate.core.connect import Ssh
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.domain import Domain
from cxlstate.core.libvirt import (
    AutostartDomain,
    DefineDomain,
    DefineNetwork,
    EditDomain,
    StartDomain,
    StopDomain,
    UndefineDomain,
    UndefineNetwork,
    Update,
    UpdateNetwork,
)
from cxlstate.core.read import LibvirtDomain
from cxlstate.machine.aside import Aside
from cxlstate.machine.libvirt.domains import digest
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.outcome import Entry, Outcome, Result
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.writer import PosixWriter
from cxlstate.machine.ssh import SshTransport
from tests.libvirt.definitions import GRAPHICS, NETWORK, domain

DONE = Outcome(Result.DONE)
ENTRY = Entry("run-1", ("vm.vm",), 'edit "it"', "live")
VM = LibvirtDomain("vm")
INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE
HOST = "<host mac='52:54:00:00:00:01' name='one' ip='192.168.122.101'/>"


@pytest.fixture(params=["local", "ssh"])
def transport(request, daemon):
    if request.param == "ssh":
        request.getfixturevalue("server")
        return SshTransport(Ssh("box"), "box")
    return LocalTransport(daemon.uri)


@pytest.fixture
def writer(transport, tmp_path):
    settings = Settings(str(tmp_path / "state"), str(tmp_path / "lock"), patience=30)
    made = PosixWriter(transport, "box", survives_reboot=False, settings=settings)
    yield made
    made.close()


@pytest.fixture
def vm(connection):
    return connection.defineXML(domain(devices=GRAPHICS))


def journal(tmp_path):
    return [json.loads(line) for line in (tmp_path / "state" / "journal.jsonl").read_text().splitlines()]


def told(tmp_path):
    """Event, effect, name of each line."""
    return [(line["event"], line["effect"], line["name"]) for line in journal(tmp_path)]


def everything_kept(tmp_path):
    return b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())


def test_an_edit_is_journalled_and_what_was_there_is_kept(writer, tmp_path, vm):
    before = vm.XMLDesc(INACTIVE)
    assert writer.perform(EditDomain("vm", Domain(vcpu=1), digest(before)), ENTRY) == DONE
    begin, done = journal(tmp_path)
    assert (
        done.items()
        >= {
            "event": "done",
            "status": 0,
            "effect": "edit-domain",
            "name": "vm",
            "run": "run-1",
            "addresses": ["vm.vm"],
            "does": 'edit "it"',
            "risk": "live",
            "before": digest(before),
        }.items()
    )
    assert (begin["event"], begin["effect"]) == ("begin", "edit-domain")
    kept = tmp_path / "state" / "blobs" / digest(before)
    assert kept.read_text() == before
    assert kept.stat().st_mode & 0o777 == 0o600
    assert b"s3c" not in everything_kept(tmp_path)
    assert "<vcpu placement='static'>1</vcpu>" in vm.XMLDesc(INACTIVE)


def test_a_definition_stays_out_of_the_journal(writer, tmp_path):
    assert writer.perform(DefineDomain("vm", domain(devices=GRAPHICS)), ENTRY) == DONE
    assert told(tmp_path) == [("begin", "define-domain", "vm"), ("done", "define-domain", "vm")]
    assert journal(tmp_path)[-1]["before"] == ""
    assert b"devices" not in everything_kept(tmp_path)


def test_what_goes_is_kept(writer, tmp_path, connection, vm):
    xml = vm.XMLDesc(INACTIVE)
    assert writer.perform(UndefineDomain("vm"), ENTRY) == DONE
    assert (tmp_path / "state" / "blobs" / digest(xml)).read_text() == xml
    network = connection.networkDefineXML(NETWORK)
    first = network.XMLDesc(INACTIVE >> 1)
    update = UpdateNetwork("default", Update.ADD_LAST, "ip-dhcp-host", HOST, live=False, config=True)
    assert writer.perform(update, ENTRY) == DONE
    second = network.XMLDesc(INACTIVE >> 1)
    assert writer.perform(UndefineNetwork("default"), ENTRY) == DONE
    assert [line["before"] for line in journal(tmp_path) if line["event"] == "done"] == [
        digest(xml),
        digest(first),
        digest(second),
    ]
    assert (tmp_path / "state" / "blobs" / digest(second)).read_text() == second


def test_the_journal_has_every_end(writer, tmp_path, vm):
    writer.perform(EditDomain("vm", Domain(vcpu=1), "0" * 64), ENTRY)
    writer.perform(StartDomain("none"), ENTRY)
    writer.perform(StartDomain("vm"), ENTRY)
    writer.perform(StopDomain("vm", timeout=0), ENTRY)
    ends = [(line["event"], line["status"], line["effect"]) for line in journal(tmp_path)[1::2]]
    assert ends == [
        ("stale", 0, "edit-domain"),
        ("failed", 1, "start-domain"),
        ("done", 0, "start-domain"),
        ("refused", 1, "stop-domain"),
    ]


def test_a_writer_reads_what_it_did(writer, vm):
    assert "state=shut-off" in writer.read([VM]).files(VM)["facts"]
    assert writer.perform(StartDomain("vm"), ENTRY) == DONE
    assert "state=running" in writer.read([VM]).files(VM)["facts"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/dev/null", "/dev/null leads to /dev/null, which is a device of mem and not of dax"),
        ("{}/link", "{}/link leads to /dev/null, which is a device of mem and not of dax"),
        ("{}/file", "{}/file leads to {}/file, which is no character device"),
        ("{}/not there'; touch owned", "{}/not there'; touch owned leads nowhere: there is no such device"),
        ("-x", "-x leads nowhere"),
    ],
)
def test_nothing_but_a_dax_device_is_let_pass(writer, tmp_path, vm, path, words):
    (tmp_path / "file").write_text("plain")
    (tmp_path / "link").symlink_to("/dev/null")
    outcome = writer.perform(StartDomain("vm", (path.format(tmp_path),)), ENTRY)
    assert outcome.result is Result.FAILED
    assert words.format(tmp_path, tmp_path) in outcome.output
    assert not vm.isActive()
    assert [line["event"] for line in journal(tmp_path)] == ["begin", "failed"]


def test_a_domain_that_runs_is_not_asked_for_its_devices(writer, vm):
    vm.create()
    assert writer.perform(StartDomain("vm", ("/dev/null",)), ENTRY) == DONE


def test_two_definitions_of_the_same_text_are_kept_once(writer, tmp_path, vm):
    for _ in range(2):
        writer.perform(EditDomain("vm", Domain(), digest(vm.XMLDesc(INACTIVE))), ENTRY)
    assert len(list((tmp_path / "state" / "blobs").iterdir())) == 1


# When the daemon goes -------------------------------------------------------------------------------


def test_a_daemon_that_does_not_run_fails_the_effect_and_says_so(writer, tmp_path, daemon, vm):
    writer.perform(AutostartDomain("vm", on=True), ENTRY)
    with daemon.down():
        outcome = writer.perform(AutostartDomain("vm", on=False), ENTRY)
        assert outcome.result is Result.FAILED
        assert "does not run" in outcome.output
    assert [line["event"] for line in journal(tmp_path)] == ["begin", "done", "begin", "failed"]


def test_a_daemon_that_was_killed_in_between_is_found_again(writer, daemon, vm, connection):
    assert writer.read([VM]).files(VM)
    assert writer.perform(StartDomain("vm"), ENTRY) == DONE
    daemon.kill()
    daemon.await_up()
    assert writer.perform(AutostartDomain("vm", on=True), ENTRY) == DONE
    assert "autostart=yes" in writer.read([VM]).files(VM)["facts"]


def await_begun(tmp_path):
    """Until the journal says so: what is to be known before is known then."""
    file = tmp_path / "state" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not (file.exists() and "begin" in file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_daemon_that_is_killed_in_the_middle_leaves_it_open(writer, tmp_path, daemon, vm):
    vm.create()
    stopping = Aside(partial(writer.perform, StopDomain("vm", timeout=60), ENTRY))
    await_begun(tmp_path)
    daemon.kill()
    with pytest.raises(CxlstateError) as unclear:
        stopping.result(120)
    (diagnostic,) = unclear.value.diagnostics
    assert diagnostic.code == "CXC307"
    assert "the connection to libvirt broke" in diagnostic.found
    assert [line["event"] for line in journal(tmp_path)] == ["begin"]
    daemon.await_up()
    assert "state=running" in writer.read([VM]).files(VM)["facts"]
    assert writer.perform(StopDomain("vm", timeout=0, power_off=True), ENTRY) == DONE


class Cutting:
    """The library, on whose n-th call something happens first."""

    def __init__(self, library, number, happen):
        self._library, self._number, self._happen = library, number, happen

    def __getattr__(self, name):
        if name.startswith(("virDomain", "virNetwork")) and not name.endswith("Free"):
            self._number -= 1
            if self._number == 0:
                self._happen()
        return getattr(self._library, name)


@pytest.mark.parametrize("call", range(1, 8))
def test_killed_at_each_call_of_an_effect_the_next_one_converges(monkeypatch, tmp_path, daemon, call):
    """What an effect was about is as before or as wished, and a second one ends it."""
    make_both(daemon)
    settings = Settings(str(tmp_path / "state"), str(tmp_path / "lock"), patience=30)
    writer = PosixWriter(LocalTransport(daemon.uri), "box", survives_reboot=False, settings=settings)
    for make, wished in (
        (lambda: EditDomain("vm", Domain(vcpu=1), digest(both(daemon)[0])), "<vcpu placement='static'>1<"),
        (lambda: DefineNetwork("default", NETWORK.replace(".254", ".99"), digest(both(daemon)[1])), ".99'"),
    ):
        effect, before = make(), both(daemon)
        with monkeypatch.context() as patched:
            patched.setattr(libvirt, "libvirtmod", Cutting(libvirt.libvirtmod, call, daemon.kill))
            result = how_it_ends(writer, effect)
        daemon.await_up()
        after = both(daemon)
        assert after == before or wished in "".join(after)
        assert result is not Result.DONE or wished in "".join(after)
        assert writer.perform(make(), ENTRY) == DONE
        assert wished in "".join(both(daemon))
    assert "passwd='s3c&apos;r&lt;&amp;&gt;'" in both(daemon, libvirt.VIR_DOMAIN_XML_SECURE)[0]
    writer.close()


def how_it_ends(writer, effect):
    """None: nobody knows."""
    try:
        return writer.perform(effect, ENTRY).result
    except CxlstateError as error:
        assert error.diagnostics[0].code == "CXC307"  # noqa: PT017  # it may end well, too
        return None


def make_both(daemon):
    made = libvirt.open(daemon.uri)
    made.defineXML(domain(devices=GRAPHICS))
    made.networkDefineXML(NETWORK)
    made.close()


def both(daemon, more=0):
    """The definitions of the domain and of the network."""
    made = libvirt.open(daemon.uri)
    texts = made.lookupByName("vm").XMLDesc(INACTIVE | more), made.networkLookupByName("default").XMLDesc(1)
    made.close()
    return texts


def test_a_line_that_breaks_in_the_middle(server, tmp_path, vm):
    vm.create()
    transport = SshTransport(Ssh("box"), "box")
    settings = Settings(str(tmp_path / "state"), str(tmp_path / "lock"), patience=5)
    writer = PosixWriter(transport, "box", survives_reboot=False, settings=settings)
    line = transport._connection.transport.sock
    threading.Timer(1, line.shutdown, [socket.SHUT_RDWR]).start()
    with pytest.raises(CxlstateError) as lost:
        writer.perform(StopDomain("vm", timeout=60), ENTRY)
    assert lost.value.diagnostics[0].code == "CXC303"
    writer.close()
    assert vm.isActive()
