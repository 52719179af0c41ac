"""Effects on domains, by a real libvirtd with guests that run."""

from __future__ import annotations

import re
import subprocess
import threading
import time

import libvirt
import pytest

from cxlstate.core.domain import Domain, Interface
from cxlstate.core.libvirt import (
    AGAIN,
    AS_IT_RAN,
    AutostartDomain,
    DefineDomain,
    DetachDisk,
    EditDomain,
    LinkInterface,
    PinDomain,
    PinOf,
    RestoreDomain,
    StartDomain,
    StopDomain,
    TuneNuma,
    UndefineDomain,
)
from cxlstate.formats import seed_iso
from cxlstate.formats.domain_xml.read import document
from cxlstate.formats.domain_xml.seed import give
from cxlstate.formats.xml import plain
from cxlstate.machine.libvirt import domains
from cxlstate.machine.libvirt.domains import digest
from cxlstate.machine.libvirt.masking import masked, secrets_in
from cxlstate.machine.libvirt.way import Direct
from cxlstate.machine.libvirt.writing import perform
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.posix.transport import Before
from tests.libvirt.definitions import GRAPHICS, INTERFACE, MAC, SECRET, disk, domain
from tests.libvirt.unfenced import Unfenced

DONE = Outcome(Result.DONE)
INACTIVE, SECURE = libvirt.VIR_DOMAIN_XML_INACTIVE, libvirt.VIR_DOMAIN_XML_SECURE


@pytest.fixture
def writer(daemon):
    made = Unfenced(lambda: Direct(daemon.uri))
    yield made
    made.close()


@pytest.fixture
def vm(connection):
    return connection.defineXML(domain())


@pytest.fixture
def running(vm):
    vm.create()
    return vm


def seen(vm) -> str:
    return digest(vm.XMLDesc(INACTIVE))


def refused(outcome: Outcome, *words: str) -> None:
    assert (outcome.result, outcome.status) == (Result.FAILED, 1)
    for word in words:
        assert word in outcome.output


# Definitions ----------------------------------------------------------------------------------------


def test_a_domain_is_defined_once(writer, connection):
    assert writer.perform(DefineDomain("vm", domain())) == DONE
    first = seen(connection.lookupByName("vm"))
    assert writer.perform(DefineDomain("vm", domain(devices=GRAPHICS))).result is Result.STALE
    assert seen(connection.lookupByName("vm")) == first


def test_a_word_that_libvirt_does_not_know_is_an_error(writer):
    """Without the schema it would be dropped in silence."""
    slip = domain().replace("<features>", "<vcpuPin/><features>")
    refused(writer.perform(DefineDomain("vm", slip)), "schema")


def test_an_edit_changes_what_is_wished_and_nothing_else(writer, connection):
    vm = connection.defineXML(domain(devices=INTERFACE + GRAPHICS))
    vm.setAutostart(1)
    before = vm.XMLDesc(INACTIVE | SECURE)
    assert writer.perform(EditDomain("vm", Domain(vcpu=1, memory=96 << 20), seen(vm))) == DONE
    after = vm.XMLDesc(INACTIVE | SECURE)
    assert [line.strip() for line in after.splitlines() if line not in before.splitlines()] == [
        "<memory unit='KiB'>98304</memory>",
        "<currentMemory unit='KiB'>98304</currentMemory>",
        "<vcpu placement='static'>1</vcpu>",
    ]
    assert vm.autostart()


def test_a_running_domain_is_edited_in_its_definition_alone(writer, running):
    active = running.XMLDesc(0)
    assert writer.perform(EditDomain("vm", Domain(vcpu=1), seen(running))) == DONE
    assert running.XMLDesc(0) == active
    assert "<vcpu placement='static'>1</vcpu>" in running.XMLDesc(INACTIVE)


def test_somebody_elses_edit_is_not_lost(writer, connection, vm):
    planned = seen(vm)
    theirs = vm.XMLDesc(INACTIVE).replace("</name>", "</name><title>theirs</title>")
    connection.defineXML(theirs)
    assert writer.perform(EditDomain("vm", Domain(vcpu=1), planned)).result is Result.STALE
    assert "theirs" in vm.XMLDesc(INACTIVE)
    vm.undefine()
    assert writer.perform(EditDomain("vm", Domain(vcpu=1), planned)).result is Result.STALE


def test_a_transient_domain_does_not_become_a_lasting_one(writer, connection):
    vm = connection.createXML(domain())
    assert writer.perform(EditDomain("vm", Domain(vcpu=1), seen(vm))).result is Result.STALE
    assert not vm.isPersistent()


def test_a_password_survives_an_edit(writer, connection):
    vm = connection.defineXML(domain(devices=GRAPHICS))
    effect = EditDomain("vm", Domain(vcpu=1), seen(vm))
    before = writer.before(effect)
    assert before == Before(vm.XMLDesc(INACTIVE))
    assert "passwd" not in before.xml
    assert writer.perform(effect) == DONE
    assert "passwd='s3c&apos;r&lt;&amp;&gt;'" in vm.XMLDesc(INACTIVE | SECURE)


def test_no_error_tells_a_password(writer, connection, monkeypatch):
    """Where an edit makes no XML, libvirt quotes the line: here the one with the password."""
    vm = connection.defineXML(domain(devices=GRAPHICS))
    effect = EditDomain("vm", Domain(vcpu=1), seen(vm))
    monkeypatch.setattr(domains.domain_xml, "merge", lambda xml, _: xml.replace(" passwd=", " & passwd="))
    outcome = writer.perform(effect)
    refused(outcome, "passwd=")
    assert "s3c" not in outcome.output
    broken = domain(devices=GRAPHICS).replace(" passwd=", " & passwd=")
    outcome = writer.perform(DefineDomain("other", broken))
    refused(outcome, "passwd=")
    assert "s3c" not in outcome.output


@pytest.mark.parametrize(
    "text", ["a s3c'r<&> b", "passwd='s3c&apos;r&lt;&amp;&gt;'", "s3c&#x27;r&lt;&amp;&gt;"]
)
def test_a_password_is_masked_however_it_is_written(text):
    found = secrets_in(GRAPHICS)
    assert SECRET not in masked(text, found)
    assert "s3c" not in masked(text, found)


def test_what_only_the_whole_definition_has_is_secret():
    whole, plain = "<a b='1' c='two'><d>three</d></a>", "<a b='1'><d/></a>"
    assert secrets_in(whole, plain) == {"two", "three"}
    assert masked("1 two three", secrets_in(whole, plain)) == "1 *** ***"


def test_a_domain_that_is_off_is_forgotten(writer, connection, vm):
    assert writer.perform(UndefineDomain("vm")) == DONE
    assert connection.listAllDomains() == []
    refused(writer.perform(UndefineDomain("vm")), "there is no domain vm")


def test_a_domain_that_runs_is_not_forgotten(writer, running):
    refused(writer.perform(UndefineDomain("vm")), "it runs")
    assert running.isPersistent()


@pytest.mark.parametrize("keeps", ["snapshots", "a managed save image"])
def test_a_domain_that_keeps_something_is_not_forgotten(writer, connection, tmp_path, keeps):
    vm = connection.defineXML(domain(devices=disk(tmp_path / "disk")))
    if keeps == "snapshots":
        vm.snapshotCreateXML("<domainsnapshot/>")
    else:
        vm.create()
        vm.managedSave()
    refused(writer.perform(UndefineDomain("vm")), keeps)
    assert connection.listAllDomains()


def test_the_nvram_is_kept(writer, daemon, connection, tmp_path):
    nvram = daemon.folder / "var/lib/libvirt/vars.fd"
    nvram.write_bytes(b"vars")
    (tmp_path / "code.fd").write_bytes(b"code")
    loader = (
        f"<loader readonly='yes' type='pflash'>{tmp_path}/code.fd</loader>"
        "<nvram>/var/lib/libvirt/vars.fd</nvram></os>"
    )
    connection.defineXML(domain().replace("</os>", loader))
    assert writer.perform(UndefineDomain("vm")) == DONE
    assert nvram.read_bytes() == b"vars"


# Power ----------------------------------------------------------------------------------------------


def test_a_domain_is_started_once(writer, vm):
    assert writer.perform(StartDomain("vm")) == DONE
    number = vm.ID()
    assert writer.perform(StartDomain("vm")) == DONE
    assert vm.isActive()
    assert writer.before(StartDomain("vm", ("/dev/null",))) == Before(), number


def test_devices_are_to_be_checked_where_a_start_is_to_come(writer, vm):
    assert writer.before(StartDomain("vm", ("/dev/null",))) == Before(devices=("/dev/null",))


def test_what_qemu_says_of_a_start_that_failed_is_told(writer, connection, tmp_path):
    device = disk(tmp_path / "disk")
    (tmp_path / "disk").unlink()
    connection.defineXML(domain(devices=device))
    refused(writer.perform(StartDomain("vm")), f"{tmp_path}/disk", "No such file")


def test_a_guest_that_ignores_the_button_goes_on_running(writer, running):
    """There is no system in it that could hear."""
    begun = time.monotonic()
    outcome = writer.perform(StopDomain("vm", timeout=2))
    assert time.monotonic() - begun >= 2
    assert outcome.result is Result.REFUSED
    assert "after 2 s it is running" in outcome.output
    assert running.isActive()


def test_it_is_powered_off_where_that_was_allowed(writer, running):
    assert writer.perform(StopDomain("vm", timeout=1, power_off=True)) == DONE
    assert not running.isActive()
    assert running.isPersistent()
    assert writer.perform(StopDomain("vm", timeout=0)) == DONE


def test_a_guest_that_goes_off_by_itself_was_stopped(writer, running):
    threading.Timer(1.5, running.destroy).start()
    begun = time.monotonic()
    assert writer.perform(StopDomain("vm", timeout=60)) == DONE
    assert time.monotonic() - begun < 55


def test_a_button_is_pressed_again(writer, running, monkeypatch):
    monkeypatch.setattr(domains, "_PRESS_AGAIN", 0.4)
    pressed = []
    press = domains._press_button
    monkeypatch.setattr(domains, "_press_button", lambda vm: pressed.append(vm) or press(vm))
    writer.perform(StopDomain("vm", timeout=2))
    assert len(pressed) >= 2


def test_a_transient_domain_is_not_stopped(writer, connection):
    vm = connection.createXML(domain())
    refused(writer.perform(StopDomain("vm", timeout=1, power_off=True)), "transient")
    assert vm.isActive()


def test_what_was_stopped_and_does_not_start_as_edited_runs_again_as_it_ran_with_its_secrets(
    writer, connection, tmp_path
):
    vm = connection.defineXML(domain(devices=GRAPHICS + disk(tmp_path / "disk")))
    vm.create()
    before = vm.XMLDesc(INACTIVE | SECURE)
    assert writer.perform(EditDomain("vm", Domain(vcpu=1), seen(vm))) == DONE
    lacking = disk(tmp_path / "other").replace("vda", "vdb")
    (tmp_path / "other").unlink()
    connection.defineXML(vm.XMLDesc(INACTIVE | SECURE).replace("</devices>", f"{lacking}</devices>"))
    assert writer.perform(StopDomain("vm", timeout=0, power_off=True)) == DONE
    refused(writer.perform(StartDomain("vm")), "No such file")
    back = writer.perform(RestoreDomain("vm"))
    assert (back.result, back.output) == (Result.DONE, AS_IT_RAN)
    assert vm.isActive()
    whole = vm.XMLDesc(INACTIVE | SECURE)
    assert secrets_in(whole) == secrets_in(before) != frozenset()
    for gone in ("<vcpu placement='static'>1<", "other", "<alias", "<seclabel", "<backingStore"):
        assert gone not in whole


def test_what_was_stopped_and_not_edited_keeps_its_definition_to_the_byte(writer, running):
    before = running.XMLDesc(INACTIVE | SECURE)
    writer.perform(StopDomain("vm", timeout=0, power_off=True))
    assert writer.perform(RestoreDomain("vm")).output == AGAIN
    assert running.isActive()
    assert running.XMLDesc(INACTIVE | SECURE) == before


def test_autostart(writer, vm):
    for on in (True, True, False, False):
        assert writer.perform(AutostartDomain("vm", on)) == DONE
        assert bool(vm.autostart()) is on


# While it runs --------------------------------------------------------------------------------------


def pins(vm) -> str:
    return "\n".join(line.strip() for line in vm.XMLDesc(0).splitlines() if "pin " in line)


def test_threads_are_pinned_while_it_runs(writer, running):
    inactive = seen(running)
    one = frozenset({1})
    assert writer.perform(PinDomain("vm", PinOf.VCPU, one, 1)) == DONE
    assert writer.perform(PinDomain("vm", PinOf.EMULATOR, frozenset({0}))) == DONE
    assert writer.perform(PinDomain("vm", PinOf.IOTHREAD, one, 1)) == DONE
    assert pins(running).splitlines() == [
        "<vcpupin vcpu='1' cpuset='1'/>",
        "<emulatorpin cpuset='0'/>",
        "<iothreadpin iothread='1' cpuset='1'/>",
    ]
    assert running.vcpus()[1][1][:2] == (False, True)
    assert seen(running) == inactive


def test_a_cpu_that_is_not_there_is_not_passed_over(writer, running):
    """Given 0 and 999, libvirt would pin to 0 alone."""
    refused(writer.perform(PinDomain("vm", PinOf.VCPU, frozenset({0, 998, 999}))), "998-999 is not there")
    assert pins(running) == ""


def test_a_vcpu_that_is_not_there_is_an_error(writer, running):
    refused(writer.perform(PinDomain("vm", PinOf.VCPU, frozenset({0}), 9)), "vcpu 9 is out of range")


def test_a_cable_is_pulled_and_plugged_in(writer, connection, network):
    connection.defineXML(domain(devices=INTERFACE)).create()
    vm = connection.lookupByName("vm")
    for up, state in ((False, "down"), (True, "up"), (True, "up")):
        assert writer.perform(LinkInterface("vm", MAC.upper(), up)) == DONE
        assert f"<link state='{state}'/>" in vm.XMLDesc(0)
    assert "<link" not in vm.XMLDesc(INACTIVE)
    refused(writer.perform(LinkInterface("vm", "52:54:00:00:00:01", up=True)), "52:54:00:00:00:01")


def seeded(connection, tmp_path) -> tuple[libvirt.virDomain, str]:
    """A domain as it is defined for a guest that is new."""
    seed = tmp_path / "vm.cidata.iso"
    seed.write_bytes(seed_iso.image({"meta-data": b"", "user-data": b""}))
    root = document(domain(devices=disk(tmp_path / "vm.qcow2")))
    give(root, "vm", str(seed))
    xml = re.sub("<log .*?/>", "", plain(root))  # these daemons have no virtlogd
    return connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE), str(seed)


def test_the_seed_is_taken_out_of_a_domain_that_is_off(writer, connection, tmp_path):
    vm, seed = seeded(connection, tmp_path)
    assert seed in vm.XMLDesc(INACTIVE)
    for _ in range(2):
        assert writer.perform(DetachDisk("vm", seed)) == DONE
        assert seed not in vm.XMLDesc(INACTIVE)
        assert "vm.qcow2" in vm.XMLDesc(INACTIVE)


def test_a_guest_that_does_not_let_go_of_its_seed_keeps_it_until_it_is_off(writer, connection, tmp_path):
    """There is no system in it that could let go."""
    vm, seed = seeded(connection, tmp_path)
    vm.create()
    refused(writer.perform(DetachDisk("vm", seed, timeout=1)), "has not let go", seed)
    assert seed in vm.XMLDesc(0)
    assert seed not in vm.XMLDesc(INACTIVE)


def test_the_wish_for_a_cable_and_the_deed_are_the_same_words(writer, connection, network):
    """The definition is edited by itself."""
    vm = connection.defineXML(domain(devices=INTERFACE))
    wish = Domain(interfaces=(Interface(MAC, link=False),))
    assert writer.perform(EditDomain("vm", wish, seen(vm))) == DONE
    assert "<link state='down'/>" in vm.XMLDesc(INACTIVE)


@pytest.mark.parametrize("nodes", [frozenset({1}), frozenset({0, 1})])
def test_the_nodes_of_a_running_domain(nodes):
    """By the test driver, which has two; QEMU's needs cgroups, and two nodes of the host."""
    connection = libvirt.open("test:///default")
    vm = connection.defineXML(domain(kind="test"))
    vm.create()
    assert perform(connection, TuneNuma("vm", nodes)) == DONE
    told = vm.numaParameters(libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert told["numa_nodeset"] == ",".join(map(str, sorted(nodes))).replace("0,1", "0-1")


def test_a_name_that_no_domain_can_have_is_a_failure(writer):
    refused(writer.perform(StartDomain("nul\0byte")))
    assert writer.before(StartDomain("vm")).refused == ""


# When the daemon goes -------------------------------------------------------------------------------


def test_a_daemon_that_was_killed_in_between_is_found_again(writer, daemon, running):
    assert writer.perform(AutostartDomain("vm", on=True)) == DONE
    daemon.kill()
    daemon.await_up()
    assert writer.before(StopDomain("vm")) == Before()
    assert writer.perform(StopDomain("vm", timeout=0, power_off=True)) == DONE


def test_a_daemon_that_is_gone_is_told_before_anything_is_begun(writer, daemon):
    with daemon.down():
        assert "does not run" in writer.before(StartDomain("vm")).refused
        refused(writer.perform(StartDomain("vm")), "does not run")


def test_virsh_sees_what_was_done(writer, daemon):
    writer.perform(DefineDomain("vm", domain()))
    listed = subprocess.run(
        ["virsh", "-c", daemon.uri, "list", "--all", "--name"], capture_output=True, text=True, check=True
    )
    assert listed.stdout.split() == ["vm"]
