"""Before each call that changes something the lock is looked at: who lost it does not go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import libvirt
import pytest

from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.domain import Domain
from cxlstate.core.libvirt import (
    AutostartDomain,
    AutostartNetwork,
    DefineDomain,
    DefineNetwork,
    EditDomain,
    PinDomain,
    PinOf,
    StartDomain,
    StartNetwork,
    StopDomain,
    StopNetwork,
    UndefineDomain,
    UndefineNetwork,
    Update,
    UpdateNetwork,
)
from cxlstate.machine.libvirt import writing
from cxlstate.machine.libvirt.domains import digest
from cxlstate.machine.libvirt.fenced import Fenced
from cxlstate.machine.local import LocalTransport
from cxlstate.machine.posix.agent import Settings
from cxlstate.machine.posix.transport import LockLost
from cxlstate.machine.posix.writer import PosixWriter
from tests.libvirt.definitions import NETWORK, domain
from tests.libvirt.test_writer import ENTRY

HOST = "<host mac='52:54:00:00:00:01' name='one' ip='192.168.122.101'/>"
INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE


@pytest.fixture
def driver():
    """libvirt's own test driver: a running domain `test` and an active network `default`."""
    connection = libvirt.open("test:///default")
    for one in (connection.lookupByName("test"), connection.networkLookupByName("default")):
        if not one.isActive():  # the driver keeps its state for as long as the process lives
            one.create()
    yield connection
    connection.close()


EFFECTS = [
    StopDomain("test", timeout=0),
    StopDomain("test", timeout=0, power_off=True),
    AutostartDomain("test", on=True),
    PinDomain("test", PinOf.VCPU, frozenset({0}), 0),
    DefineDomain("other", domain(name="other").replace("type='qemu'", "type='test'")),
    StopNetwork("default"),
    AutostartNetwork("default", on=True),
    UpdateNetwork("default", Update.ADD_LAST, "ip-dhcp-host", HOST, live=True, config=True),
    DefineNetwork("other", NETWORK.replace(">default<", ">other<"), None),
]


@pytest.mark.parametrize("effect", EFFECTS, ids=repr)
def test_without_the_lock_nothing_changes(driver, effect):
    before = everything(driver)

    def fence():
        raise LockLost("gone")

    with pytest.raises(LockLost):
        writing.perform(Fenced(driver, fence), effect)
    assert everything(driver) == before


@pytest.mark.parametrize(
    "effect",
    [UndefineDomain("test"), StartDomain("test"), UndefineNetwork("default"), StartNetwork("default")],
    ids=repr,
)
def test_nor_of_what_is_off(driver, effect):
    driver.lookupByName("test").destroy()
    driver.networkLookupByName("default").destroy()
    test_without_the_lock_nothing_changes(driver, effect)


def test_nor_is_a_definition_edited(driver):
    text = driver.lookupByName("test").XMLDesc(INACTIVE)
    test_without_the_lock_nothing_changes(driver, EditDomain("test", Domain(vcpu=1), digest(text)))


def test_each_change_looks_once_and_reading_never_does(driver):
    looks = []
    fenced = Fenced(driver, lambda: looks.append("look"))
    assert fenced.lookupByName("test").isActive()
    assert fenced.networkLookupByName("default").XMLDesc(0)
    assert looks == []
    assert writing.perform(fenced, AutostartDomain("test", on=True)).result.value == "done"
    assert looks == ["look"]


def everything(connection):
    domains = [(one.name(), one.isActive(), one.XMLDesc(0)) for one in connection.listAllDomains()]
    networks = [
        (one.name(), one.isActive(), one.autostart(), one.XMLDesc(0)) for one in connection.listAllNetworks()
    ]
    return domains, networks


class Slept:
    """A transport whose client sleeps, before it tells libvirt, until its agent has given up the lock."""

    def __init__(self, behind, lock):
        self._behind = behind
        self._lock = lock

    def __getattr__(self, name):
        return getattr(self._behind, name)

    @property
    def libvirt(self):
        return self

    def writer(self):
        self._writer = self._behind.libvirt.writer()
        return self

    def before(self, effect):
        return self._writer.before(effect)

    def perform(self, effect, fence):
        agent = int(self._lock.read_text().split()[1].rstrip(","))
        os.kill(agent, signal.SIGKILL)
        while subprocess.run(["flock", "-n", self._lock, "true"], check=False).returncode:
            time.sleep(0.05)
        return self._writer.perform(effect, fence)


def test_a_client_that_slept_does_not_go_on(daemon, connection, tmp_path):
    vm = connection.defineXML(domain())
    settings = Settings(str(tmp_path / "state"), str(tmp_path / "lock"), patience=5)
    transport = Slept(LocalTransport(daemon.uri), tmp_path / "lock")
    writer = PosixWriter(transport, "box", survives_reboot=False, settings=settings)
    with pytest.raises(CxlstateError) as lost:
        writer.perform(StartDomain("vm"), ENTRY)
    writer.close()
    (diagnostic,) = lost.value.diagnostics
    assert diagnostic.code == "CXC310"
    assert ENTRY.does in diagnostic.message
    assert not vm.isActive()
    lines = (tmp_path / "state" / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["begin"]


def test_a_client_that_holds_the_lock_does(daemon, connection, tmp_path):
    vm = connection.defineXML(domain())
    settings = Settings(str(tmp_path / "state"), str(tmp_path / "lock"), patience=5)
    writer = PosixWriter(LocalTransport(daemon.uri), "box", survives_reboot=False, settings=settings)
    assert writer.perform(StartDomain("vm"), ENTRY).result.value == "done"
    assert vm.isActive()
    writer.close()
