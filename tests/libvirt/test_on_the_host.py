"""The libvirt of the emulated host, as each of its users: root, one with sudo, and one without."""

from __future__ import annotations

import time

import pytest

from cxlstate.core.connect import Ssh
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.domain import Domain
from cxlstate.core.libvirt import (
    DefineDomain,
    EditDomain,
    StartDomain,
    StartNetwork,
    StopDomain,
    StopNetwork,
    UndefineDomain,
    Update,
    UpdateNetwork,
)
from cxlstate.core.read import File, LibvirtDomain, LibvirtNetwork
from cxlstate.machine.libvirt.domains import digest
from cxlstate.machine.outcome import Entry, Outcome, Result
from cxlstate.machine.posix.reader import PosixReader
from cxlstate.machine.posix.writer import PosixWriter
from cxlstate.machine.ssh import SshTransport
from tests.libvirt.definitions import INTERFACE, MAC, domain

pytestmark = [pytest.mark.lab, pytest.mark.long]

DONE = Outcome(Result.DONE)
ENTRY = Entry("run-1", ("vm.vm",), "does it", "live")
VM, DEFAULT, VERSION = LibvirtDomain("vm"), LibvirtNetwork("default"), File("/proc/version")
HOST = "<host mac='52:54:00:00:00:01' name='one' ip='192.168.122.101'/>"


@pytest.fixture(autouse=True)
def ssh_config(host, monkeypatch):
    monkeypatch.setenv("CXLSTATE_SSH_CONFIG", str(host.ssh_config))


@pytest.mark.looks
@pytest.mark.parametrize("alias", ["lab-root", "lab", "lab-reader"])
def test_everybody_may_read(host, alias):
    reader = PosixReader(SshTransport(Ssh(alias), alias), alias)
    assert reader.read([VERSION]).text(VERSION)
    begun = time.monotonic()
    answers = reader.read([DEFAULT, VM])
    print(f"{alias}: opened and answered after {time.monotonic() - begun:.1f} s")
    assert "bridge=virbr0" in answers.files(DEFAULT)["facts"]
    assert answers.files(VM) == {}
    reader.close()


@pytest.mark.parametrize("alias", ["lab-root", "lab"])
def test_who_is_root_or_becomes_it_may_write(host, alias):
    writer = PosixWriter(SshTransport(Ssh(alias), alias), alias, survives_reboot=True)

    def do(effect):
        return writer.perform(effect, ENTRY)

    def update(command):
        return UpdateNetwork("default", command, "ip-dhcp-host", HOST, live=True, config=True)

    assert do(StartNetwork("default")) == DONE
    assert do(update(Update.ADD_LAST)) == DONE
    parts = writer.read([DEFAULT]).files(DEFAULT)
    assert HOST in parts["active.xml"]
    assert HOST in parts["inactive.xml"]
    assert do(update(Update.DELETE)) == DONE
    assert do(DefineDomain("vm", domain(devices=INTERFACE))) == DONE
    seen = writer.read([VM]).files(VM)["inactive.xml"]
    assert do(EditDomain("vm", Domain(vcpu=1), digest(seen))) == DONE
    assert do(StartDomain("vm")) == DONE
    answers = writer.read([VM, DEFAULT])
    assert "state=running" in answers.files(VM)["facts"]
    assert answers.files(VM)["affinity"] == "0 0-3\n"
    assert answers.files(DEFAULT)["ports"] == f"{MAC} vm\n"
    assert do(StopDomain("vm", timeout=1)).result is Result.REFUSED
    assert do(StopDomain("vm", timeout=0, power_off=True)) == DONE
    assert do(UndefineDomain("vm")) == DONE
    assert do(StopNetwork("default")) == DONE
    writer.close()


def test_who_cannot_become_root_may_not(host):
    transport = SshTransport(Ssh("lab-reader"), "lab-reader")
    with pytest.raises(CxlstateError, match="CXC301"):
        PosixWriter(transport, "lab-reader", survives_reboot=True)
    refused = transport.libvirt.writer().perform(StartNetwork("default"), lambda: None)
    assert refused.result is Result.FAILED
    assert refused.output.startswith(
        "libvirt does not let us in: authentication unavailable: no polkit agent"
    )
    transport.close()


def test_a_dax_device_is_let_pass_and_so_is_a_link_to_it(host):
    name = host.run("basename /sys/bus/dax/devices/*").stdout.strip()
    host.run(["daxctl", "reconfigure-device", "-f", "-m", "devdax", name], timeout=300)
    host.run(f"mkdir -p /dev/cxlstate && ln -sfn ../{name} /dev/cxlstate/cxl0")
    writer = PosixWriter(SshTransport(Ssh("lab"), "lab"), "lab", survives_reboot=True)
    for path in (f"/dev/{name}", "/dev/cxlstate/cxl0"):
        outcome = writer.perform(StartDomain("none", (path,)), ENTRY)
        assert outcome.output == "there is no domain none"
    outcome = writer.perform(StartDomain("none", ("/dev/dax9.9",)), ENTRY)
    assert outcome.output == "/dev/dax9.9 leads nowhere: there is no such device\n"
    writer.close()


def test_a_daemon_that_was_killed_is_woken_by_who_asks(host):
    writer = PosixWriter(SshTransport(Ssh("lab"), "lab"), "lab", survives_reboot=True)
    assert writer.read([VM]).files(VM) == {}
    assert writer.perform(DefineDomain("vm", domain()), ENTRY) == DONE
    host.run("systemctl kill --signal=KILL libvirtd.service && sleep 1", timeout=120)
    assert "facts" in writer.read([VM]).files(VM)
    assert writer.perform(UndefineDomain("vm"), ENTRY) == DONE
    writer.close()
