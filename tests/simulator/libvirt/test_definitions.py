"""Whether libvirt can be reached, and what it makes of definitions. Refusals are in its own words."""

from __future__ import annotations

import pytest

from cxlstate.core.action import Run
from cxlstate.core.domain import Domain, Interface, Nvdimm
from cxlstate.core.libvirt import (
    DefineDomain,
    EditDomain,
    StartDomain,
    StartNetwork,
    StopDomain,
    UndefineDomain,
)
from cxlstate.core.read import LibvirtAddresses, LibvirtDomain, LibvirtNetwork
from cxlstate.formats import domain_xml
from cxlstate.machine.outcome import Result
from tests.simulator.libvirt.machine import BARE, DISK, MAC, XML, Machine


def test_without_its_package_libvirt_is_a_missing_tool(tmp_path):
    machine = Machine(tmp_path / "host")
    for read in (LibvirtDomain("vm"), LibvirtNetwork("default"), LibvirtAddresses("vm")):
        answer = machine.raw(read)
        assert (answer.status, answer.stderr) == (127, "virt-ssh-helper is not installed")
    assert machine.refused(StartNetwork("default")) == "virt-ssh-helper is not installed"


def test_the_socket_is_enough_and_without_it_nobody_answers(machine):
    machine.done(Run(("systemctl", "stop", "libvirtd.service")))
    assert machine.facts(machine.network())["active"] == "no"
    machine.done(Run(("systemctl", "stop", "libvirtd.socket")))
    why = "Failed to connect socket to '/var/run/libvirt/libvirt-sock{}': No such file or directory"
    answer = machine.raw(LibvirtNetwork("default"))
    assert (answer.status, answer.stderr) == (1, why.format("-ro"))
    assert machine.refused(StartNetwork("default")) == why.format("")


def test_what_is_not_there_is_an_empty_answer(machine):
    assert machine.domain() == {}
    assert machine.network("nix") == {}
    assert machine.ask(LibvirtAddresses("vm")) == ""
    assert machine.refused(StartDomain("vm")) == "there is no domain vm"
    assert machine.refused(StartNetwork("nix")) == "there is no network nix"


def test_reading_leaves_everything_as_it_is(running):
    before = {path: path.stat().st_mtime_ns for path in running.directory.rglob("*")}
    running.domain(), running.network(), running.ask(LibvirtAddresses("vm"))
    assert {path: path.stat().st_mtime_ns for path in running.directory.rglob("*")} == before


def test_a_definition_is_completed_as_libvirt_completes_it(machine):
    machine.done(DefineDomain("vm", XML))
    text = machine.domain()["inactive.xml"]
    for part in (
        '<my:note xmlns:my="http://example.org/my">keep <my:b/></my:note>',
        "<maxMemory slots='2' unit='KiB'>1048576</maxMemory>",
        f"<memory unit='KiB'>{131073 + 511 * 1024}</memory>",
        f"<currentMemory unit='KiB'>{131073 + 511 * 1024}</currentMemory>",
        "<vcpu placement='static'>2</vcpu>",
        "<vcpupin vcpu='0' cpuset='0-1,3'/>",
        "<type arch='x86_64' machine='pc-q35-10.0'>hvm</type>",
        "<cell id='0' cpus='0-1' memory='131073' unit='KiB'/>",
        f"<mac address='{MAC}'/>",
        "<driver name='qemu' type='qcow2'/>",
        "<target dev='vda' bus='virtio'/>",
        "<alignsize unit='KiB'>2048</alignsize>",
        "<address type='dimm' slot='0'/>",
        "<memballoon model='virtio'>",
    ):
        assert part in text
    assert "<!--" not in text
    assert text.index("<uuid>") < text.index("<metadata>") < text.index("<devices>") < text.index("<disk ")


def test_a_definition_is_a_file_for_root_alone_with_its_secrets_and_is_read_without(machine):
    machine.done(DefineDomain("vm", XML))
    assert machine.file().stat().st_mode & 0o777 == 0o600
    assert "passwd='secret&amp;1'" in machine.file().read_text()
    assert "passwd" not in machine.domain()["inactive.xml"]


def test_a_definition_that_was_edited_by_hand_counts_at_once(machine):
    machine.done(DefineDomain("vm", XML))
    text = machine.file().read_text()
    machine.file().write_text(text.replace("<vcpu placement='static'>2<", "<vcpu>1<"))
    assert domain_xml.read(machine.domain()["inactive.xml"]).vcpu == 1
    for broken in (text[:-20], text.replace("<name>vm<", "<name>other<"), "<network/>"):
        machine.file().write_text(broken)
        assert machine.domain() == {}


def test_a_second_definition_of_a_name_is_stale(machine):
    machine.done(DefineDomain("bare", BARE))
    assert machine.tell(DefineDomain("bare", BARE))[0].result is Result.STALE


NVDIMM = "<memory model='nvdimm'"
DIMM = """\
<memory model='dimm'>
  <target><size unit='MiB'>64</size><node>0</node></target>
  <address type='dimm' slot='0'/>
</memory>
"""
SCHEMA = "XML document failed to validate against schema: "
REFUSED = {
    "no maxMemory": (
        "<maxMemory slots='2' unit='MiB'>1024</maxMemory>",
        "",
        "cannot use/hotplug a memory device when domain 'maxMemory' is not defined",
    ),
    "no slots": (" slots='2'", "", "internal error: failed to find an empty memory slot"),
    "no cells": (
        "<numa><cell id='0' cpus='0-1' memory='131073' unit='KiB'/></numa>",
        "",
        "XML error: Total size of memory devices exceeds the total memory size",
    ),
    "no node": (
        "<node>0</node>",
        "",
        "unsupported configuration: target NUMA node needs to be specified for memory device",
    ),
    "wrong node": (
        "<node>0</node>",
        "<node>1</node>",
        "can't add memory backend for guest node '1' as the guest has only '1' NUMA nodes configured",
    ),
    "small label": ("<size unit='MiB'>16<", "<size unit='KiB'>64<", "nvdimm label must be at least 128KiB"),
    "large label": (
        "<size unit='MiB'>16<",
        "<size unit='MiB'>511<",
        "XML error: label size must be smaller than NVDIMM size",
    ),
    "high slot": (
        "</target>",
        "</target><address type='dimm' slot='2'/>",
        "unsupported configuration: memory device slot '2' exceeds slots count '2'",
    ),
    "same slot": (
        NVDIMM,
        DIMM * 2 + NVDIMM,
        "memory device slot '0' is already being used by another memory device",
    ),
    "small maximum": (
        ">1024<",
        ">512<",
        "XML error: maximum memory size must be equal or greater than the actual memory size",
    ),
    "many cell CPUs": (
        "cpus='0-1'",
        "cpus='0-3'",
        "internal error: Number of CPUs in <numa> exceeds the <vcpu> count",
    ),
    "slip of the pen": ("alignsize", "alignSize", SCHEMA),
    "unknown element": ("<vcpu>", "<foo/><vcpu>", SCHEMA),
    "no number": ("<vcpu>2<", "<vcpu>0<", SCHEMA),
    "unknown unit": ("unit='MiB'>5<", "unit='Gi'>5<", SCHEMA),
    "multicast": ("52:54:00:AA:00:01", "01:00:5e:00:00:01", SCHEMA),
    "no target": ("<target dev='vda'/>", "", SCHEMA),
    "no network": (" network='default'", "", SCHEMA),
    "no model": ("<memory model='nvdimm'", "<memory", SCHEMA),
    "wrong mode": ("mode='strict'", "mode='lenient'", SCHEMA),
    "backwards": ("0-3,^2", "3-1", "invalid argument: Failed to parse bitmap '3-1'"),
    "twice pinned": (
        "</cputune>",
        "<vcpupin vcpu='0' cpuset='1'/></cputune>",
        "internal error: duplicate vcpupin for vcpu '0'",
    ),
    "no name": ("<name>vm</name>", "", "missing name information"),
    "slash": ("<name>vm<", "<name>v/m<", "XML error: name v/m cannot contain '/'"),
    "no KVM": (
        "type='kvm'",
        "type='xen'",
        "Emulator '/usr/bin/qemu-system-x86_64' does not support virt type 'xen'",
    ),
    "same target": (
        "<graphics",
        "<disk><source file='/y'/><target dev='vda'/></disk><graphics",
        f"XML error: target 'vda' duplicated for disk sources '{DISK}' and '/y'",
    ),
    "long password": ("secret&amp;1", "secret&amp;12", "VNC password is 9 characters long, only 8 permitted"),
    "no XML": ("</domain>", "", "at line 1: not well-formed XML"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_and_leaves_nothing(machine, case):
    old, new, why = REFUSED[case]
    assert old in XML
    assert why in machine.refused(DefineDomain("vm", XML.replace(old, new)))
    assert machine.domain() == {}


def test_names_and_uuids_belong_together(machine):
    machine.done(DefineDomain("bare", BARE))
    uuid = domain_xml.identity(machine.domain("bare")["inactive.xml"])[1]
    other = BARE.replace("<name>bare<", f"<uuid>{uuid}</uuid><name>other<")
    said = machine.refused(DefineDomain("other", other))
    assert said == f"operation failed: domain 'bare' is already defined with uuid {uuid}"
    said = machine.refused(DefineDomain("new", BARE))
    assert said == f"operation failed: domain 'bare' already exists with uuid {uuid}"


def test_pins_of_vcpus_that_are_not_there_go_without_a_word(machine):
    machine.done(DefineDomain("vm", XML.replace("vcpu='0'", "vcpu='7'")))
    assert "vcpupin" not in machine.domain()["inactive.xml"]


def test_firmware_is_found_where_ovmf_is_installed(machine):
    efi = BARE.replace("<os>", "<features><acpi/></features><os firmware='efi'>")
    machine.done(DefineDomain("bare", efi), StartDomain("bare"))
    assert (machine.root / "var/lib/libvirt/qemu/nvram/bare_VARS.fd").exists()
    machine.done(StopDomain("bare", power_off=True), UndefineDomain("bare"))
    assert (machine.root / "var/lib/libvirt/qemu/nvram/bare_VARS.fd").exists(), "it is kept"
    machine.edit_json(lambda world: world["installed"].pop("ovmf"))
    assert "Unable to find 'efi' firmware" in machine.refused(DefineDomain("bare", efi))


def test_an_edit_changes_what_is_wished_under_the_same_uuid_and_keeps_secrets(running):
    before = running.domain()
    wish = Domain(vcpupin=((0, frozenset({1})), (1, frozenset({3}))))
    running.done(EditDomain("vm", wish, running.digest()))
    after = running.domain()
    assert after["active.xml"] == before["active.xml"]
    pins = "<vcpupin vcpu='0' cpuset='1'/>\n    <vcpupin vcpu='1' cpuset='3'/>"
    assert after["inactive.xml"] == before["inactive.xml"].replace("<vcpupin vcpu='0' cpuset='0-1,3'/>", pins)
    assert "passwd='secret&amp;1'" in running.file().read_text()


def test_an_edit_of_what_has_changed_since_is_stale(running):
    seen = running.digest()
    running.done(EditDomain("vm", Domain(emulatorpin=frozenset({1})), seen))
    before = running.file().read_text()
    for effect in (EditDomain("vm", Domain(vcpu=1), seen), EditDomain("none", Domain(vcpu=1), seen)):
        assert running.tell(effect)[0].result is Result.STALE
    assert running.file().read_text() == before


def test_an_edit_that_libvirt_refuses_leaves_the_definition(machine):
    machine.done(DefineDomain("vm", XML))
    before = machine.file().read_text()
    wish = Domain(nvdimm=(Nvdimm(slot=0, label=4096),))
    assert "label must be at least 128KiB" in machine.refused(EditDomain("vm", wish, machine.digest()))
    assert machine.file().read_text() == before


def test_new_interfaces_have_macs_of_their_own(machine):
    plug = "<interface type='network'><source network='default'/></interface>"
    machine.done(DefineDomain("bare", BARE.replace("<devices/>", f"<devices>{plug * 3}</devices>")))
    interfaces = domain_xml.read(machine.domain("bare")["inactive.xml"]).interfaces
    assert len({one.mac for one in interfaces}) == 3
    assert all(one == Interface(one.mac, network="default", model="rtl8139", link=True) for one in interfaces)
