"""The whole way: open the host, open its guest through it, read what a plan reads, write under the lock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256

import pytest

from cxlstate.adapters.open_reader import open_reader
from cxlstate.adapters.open_writer import open_writer
from cxlstate.core.action import Run, WriteFile
from cxlstate.core.address import Address
from cxlstate.core.connect import Sim, Ssh, Through
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.guest import Accepted, GuestAccess, Route, Source
from cxlstate.core.libvirt import DefineDomain, StartDomain
from cxlstate.core.read import Command, File
from cxlstate.core.reconciler import Resource
from cxlstate.formats import host_keys
from cxlstate.machine.outcome import Result
from cxlstate.machine.records import applied_reads
from cxlstate.resources.package.reconcile import reconciler as package
from cxlstate.resources.user.reconcile import reconciler as user
from cxlstate.simulator.writer import SimWriter
from tests.machine import guests
from tests.machine.conftest import ENTRY
from tests.machine.test_guest_agent import started
from tests.simulator.libvirt.machine import BARE

KEPT = File(host_keys.path("vm"))
WHERE = File("/var/lib/cxlstate/written")
READS = (
    *package.reads(Resource(Address("package", "ndctl"), package.model(name="ndctl"))),
    *user.reads(Resource(Address("user", "root"), user.model())),
    *applied_reads(),
)


@dataclass
class Way:
    """A host to connect to, and the way from there."""

    connect: object
    route: Route


@pytest.fixture
def over_ssh(pair, tmp_path):
    """Its key is told by its console, until it is kept."""
    console = tmp_path / "console"
    public = (pair.folder / "guest_key.pub").read_text()
    console.write_text(f"-----BEGIN SSH HOST KEY KEYS-----\n{public}-----END SSH HOST KEY KEYS-----\n")
    access = GuestAccess(running=True, addresses=(guests.ADDRESS,), console=str(console))
    yield Way(Ssh("box"), Route("box/vm", Through(Address("vm", "vm")), access))
    for space in (pair.guest, pair.host.space):
        space.run("sh", "-c", "rm -rf /var/lib/cxlstate/*")


@pytest.fixture
def over_the_agent(pair, tmp_path, monkeypatch):
    agent = started(tmp_path, enter=tuple(pair.guest.enter))
    monkeypatch.setattr("cxlstate.machine.ssh.SshTransport.agent", lambda _self, _vm: agent.ask)
    route = Route("box/vm", Through(Address("vm", "vm"), via="agent"), GuestAccess(running=True, agent=True))
    yield Way(Ssh("box"), route)
    agent.stop()
    pair.guest.run("sh", "-c", "rm -rf /var/lib/cxlstate/*")


@pytest.fixture
def simulated(tmp_path):
    directory = tmp_path / "host"
    with SimWriter(directory, "host") as host:
        for effect in (
            Run(("apt-get", "update")),
            Run(("apt-get", "--yes", "install"), ("libvirt-daemon-system",)),
            DefineDomain("vm", BARE.replace("bare", "vm")),
            StartDomain("vm"),
        ):
            assert host.perform(effect, ENTRY).result is Result.DONE
    return Way(Sim(directory), Route("host/vm", Through(Address("vm", "vm")), GuestAccess(running=True)))


@pytest.fixture(params=["over_ssh", "over_the_agent", "simulated"])
def way(request):
    return request.getfixturevalue(request.param)


def test_a_guest_is_read_and_written_through_its_host(way):
    host = open_reader(way.connect, "box")
    guest = host.guest(way.route)
    answers = guest.read(READS)
    for read in READS:
        assert answers.raw(read).status == 0, read
    assert guest.read([WHERE]).text_or_none(WHERE) is None
    guest.close()
    host.close()

    host = open_writer(way.connect, "box", progress=lambda _: None)
    guest = host.guest_writer(way.route)
    with pytest.raises(CxlstateError) as locked:
        host.guest_writer(way.route)
    assert locked.value.diagnostics[0].code == "CXC302"
    assert guest.perform(WriteFile(WHERE.path, b"inside\n"), ENTRY).result is Result.DONE
    guest.record({"package.ndctl": "{}"})
    assert guest.read([WHERE]).text(WHERE) == "inside\n"
    assert guest.read(applied_reads()).files(applied_reads()[0])
    assert host.read([WHERE]).text_or_none(WHERE) is None  # the host is another machine
    assert host.read(applied_reads()).files(applied_reads()[0]) == {}
    reader = host.guest(way.route)  # who only asks needs no lock
    assert reader.read([WHERE]).text(WHERE) == "inside\n"
    reader.close()
    guest.close()
    host.guest_writer(way.route).close()
    host.close()


def test_the_journal_is_in_the_guest(way):
    journal = File("/var/lib/cxlstate/journal.jsonl")
    host = open_writer(way.connect, "box", progress=lambda _: None)
    before = host.read([journal]).text_or_none(journal)
    guest = host.guest_writer(way.route)
    guest.perform(WriteFile(WHERE.path, b""), ENTRY)
    lines = [json.loads(line) for line in guest.read([journal]).text(journal).splitlines()]
    assert [line["event"] for line in lines[-2:]] == ["begin", "done"]
    assert host.read([journal]).text_or_none(journal) == before
    guest.close()
    host.close()


def test_an_apply_keeps_a_new_host_key_and_a_plan_does_not(over_ssh):
    route = over_ssh.route
    host = open_reader(over_ssh.connect, "box")
    guest = host.guest(route)
    assert guest.accepted.by is Source.CONSOLE
    assert host.read([KEPT]).text_or_none(KEPT) is None
    guest.close()
    host.close()

    host = open_writer(over_ssh.connect, "box", progress=lambda _: None)
    guest = host.guest(route)
    effect = host_keys.keep("vm", route.access, guest.accepted)
    assert host.perform(effect, ENTRY).result is Result.DONE
    guest.close()
    mode = Command(("stat", "--format=%a %U"), (KEPT.path,))
    assert host.read([mode]).text(mode) == "600 root\n"
    text = host.read([KEPT]).text(KEPT)
    digest = sha256(text.encode()).hexdigest()
    known = GuestAccess(running=True, addresses=(guests.ADDRESS,), keys=host_keys.parse(text), kept=digest)
    guest = host.guest(Route("box/vm", route.through, known))
    assert guest.accepted == Accepted(known.keys[0], Source.KEPT)
    assert host_keys.keep("vm", known, guest.accepted) is None
    guest.close()
    host.close()
