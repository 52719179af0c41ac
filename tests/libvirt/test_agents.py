"""Guest agents by way of libvirt: what a real daemon answers where there is no agent to ask."""

from __future__ import annotations

import pytest

from cxlstate.core.diagnostic import CxlstateError
from cxlstate.machine.libvirt.access import Access
from cxlstate.machine.libvirt.way import Direct
from cxlstate.machine.posix.transport import Lost
from cxlstate.machine.qga.ask import Silent
from cxlstate.machine.qga.transport import AgentTransport
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
