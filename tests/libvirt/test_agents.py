"""Guest agents by way of libvirt: a real daemon with guests, in one of which an agent runs."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from cxlstate.core.address import Address
from cxlstate.core.connect import Through
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.guest import GuestAccess, Route
from cxlstate.core.read import File, Glob
from cxlstate.formats import domain_xml, host_keys
from cxlstate.machine.aside import Aside
from cxlstate.machine.guest import PosixGuestReader
from cxlstate.machine.guest import _agent as agent_says
from cxlstate.machine.libvirt.access import Access
from cxlstate.machine.libvirt.way import Direct
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.transport import Lost
from cxlstate.machine.qga.ask import INPUT, MOST, Silent
from cxlstate.machine.qga.lease import Lease
from cxlstate.machine.qga.transport import AgentTransport
from tests.libvirt import tiny
from tests.libvirt.definitions import domain

CHANNEL = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"


@pytest.fixture
def access(daemon):
    made = Access(lambda: Direct(daemon.uri), lambda: Direct(daemon.uri))
    yield made
    made.close()


def start(connection, devices=""):
    connection.defineXML(domain(devices=devices)).create()


def said(access):
    with pytest.raises(Silent) as silent:
        access.agent("vm", '{"execute":"guest-ping"}', 5)
    return str(silent.value)


def test_a_vm_without_the_channel_has_no_agent(access, connection):
    start(connection)
    assert "QEMU guest agent is not configured" in said(access)


def test_a_vm_in_which_none_runs_is_said_to_have_none(access, connection):
    start(connection, CHANNEL)
    assert "not connected" in said(access)
    with pytest.raises(CxlstateError) as refused:
        AgentTransport(lambda command, patience: access.agent("vm", command, patience), "box/vm").connect()
    (diagnostic,) = refused.value.diagnostics
    assert diagnostic.code == "CXC124"
    assert "not connected" in diagnostic.found


def test_a_vm_that_is_off_or_not_there(access, connection):
    assert "Domain not found" in said(access)
    connection.defineXML(domain(devices=CHANNEL))
    assert "not running" in said(access)


def test_a_daemon_that_was_killed_loses_one_question_and_takes_the_next(access, connection, daemon):
    connection.defineXML(domain(devices=CHANNEL))
    assert "not running" in said(access)
    daemon.kill()
    daemon.await_up()
    with pytest.raises((Lost, Silent)):
        access.agent("vm", '{"execute":"guest-ping"}', 5)
    assert "not running" in said(access)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    if not shutil.which("qemu-ga", path="/usr/sbin:/usr/bin"):
        pytest.skip("the QEMU guest agent is needed (tools/test-setup)")
    folder = tmp_path_factory.mktemp("tiny")
    tiny.build(folder)
    return folder


@dataclass
class Vm:
    """One with a system in it, of which the agent answers."""

    domain: object
    ask: object
    console: Path

    def route(self, **more):
        access = GuestAccess(running=True, agent=True, console=str(self.console), **more)
        return Route("box/vm", Through(Address("vm", "vm"), via="agent"), access)


@pytest.fixture
def vm(image, access, connection, tmp_path):
    console = tmp_path / "console.log"
    defined = connection.defineXML(tiny.DOMAIN.format(folder=image, console=console))
    defined.create()
    ask = partial(access.agent, "vm")
    deadline = time.monotonic() + 90
    while True:
        try:
            ask('{"execute":"guest-ping"}', 2)
            return Vm(defined, ask, console)
        except Silent:
            assert time.monotonic() < deadline, console.read_text()
            time.sleep(0.5)


def test_a_guest_is_read_over_libvirts_channel(vm):
    """One guest for all of it, since each costs a boot."""
    transport = AgentTransport(vm.ask, "box/vm")
    transport.connect()
    version, keys = File("/proc/version"), Glob("/etc/ssh/*.pub")
    answers = PosixGuestReader(transport, "box/vm").read([version, keys])
    assert "Linux version" in answers.text(version)
    assert answers.files(keys) == {"/etc/ssh/ssh_host_ed25519_key.pub": f"{tiny.KEY} root@tiny\n"}

    # As much as may travel, both ways, through libvirt's own limits.
    given = os.urandom(INPUT - 100)
    for _ in range(3):
        assert transport.exchange("cat", given, 120, MOST).stdout == given
    full = transport.exchange(f"head -c {MOST} /dev/zero; head -c 99999 /dev/zero >&2", b"", 120, MOST)
    assert (len(full.stdout), len(full.stderr)) == (MOST, 64 << 10)

    # Both that the hypervisor can say of its host keys.
    (key,) = host_keys.parse(tiny.KEY)
    assert host_keys.on_console(vm.console.read_text(errors="replace")) == (key,)
    assert agent_says(vm.route(), vm.ask).keys == (key,)
    xml = vm.domain.XMLDesc(0)
    assert domain_xml.has_agent_channel(xml)
    assert domain_xml.console_log(xml) == str(vm.console)

    # The lock, by a lease in the guest.
    lease = Lease(transport, "box/vm", Settings(patience=20))
    assert b" lease over the guest agent, for " in lease.run(b"cat /run/cxlstate.lock.lease", 60)
    lease.confirm()
    with pytest.raises(CxlstateError) as locked:
        Lease(transport, "box/vm", Settings(patience=20))
    assert locked.value.diagnostics[0].code == "CXC302"

    # One that answers no more, and one that is gone in the middle.
    vm.domain.suspend()
    with pytest.raises(Silent):
        vm.ask('{"execute":"guest-ping"}', 1)
    vm.domain.resume()
    began = time.monotonic()
    gone = Aside(partial(lease.run, b"sleep 60", 120))
    time.sleep(2)
    vm.domain.destroy()
    with pytest.raises(Lost):
        gone.result(60)
    assert time.monotonic() - began < 30
    lease.close()
