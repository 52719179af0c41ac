"""Facts of libvirt: what it makes of definitions, what it answers, and what it refuses.

Its guests are small and have no system: they ask for no address and do not react to their power button.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, suppress
from hashlib import sha256

import pytest

from cxlstate.core.action import Run
from cxlstate.core.answers import ReadFailed
from cxlstate.core.domain import Domain
from cxlstate.core.first_boot import FirstBoot, WriteSeed
from cxlstate.core.libvirt import (
    AutostartDomain,
    AutostartNetwork,
    DefineDomain,
    DefineNetwork,
    DetachDisk,
    EditDomain,
    LinkInterface,
    PinDomain,
    PinOf,
    StartDomain,
    StartNetwork,
    StopDomain,
    StopNetwork,
    TuneNuma,
    UndefineDomain,
    UndefineNetwork,
    Update,
    UpdateNetwork,
)
from cxlstate.core.read import Attributes, Holders, LibvirtAddresses, LibvirtDomain, LibvirtNetwork, Names
from cxlstate.engine.running import Running, RunningVm, running, running_reads
from cxlstate.formats import dax, domain_xml, network_xml, restore
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.resources.dax import verbs as dax_verbs
from cxlstate.resources.network.probe import SERVERS, served_by, status
from tests.conformance.machines import DNSMASQ
from tests.conformance.test_boot import DROP_IN
from tests.conformance.test_host_memory import devices, step
from tests.conformance.test_restored_memory import selector
from tests.lab.stages import Stage

MIB = 1 << 20
MACS = Attributes("/sys/class/net/*/address")
PORTS, INTERFACES = Names("/sys/class/net/*/brif/*"), Names("/sys/class/net/*")
ALONE = Attributes("/sys/class/net/*/brport/isolated")
LINK = "/dev/cxlstate/fact"
MAC = "52:54:00:fa:c7:01"
PLUG = f"<interface type='network'><mac address='{MAC.upper()}'/><source network='default'/></interface>"
GRAPHICS = "<graphics type='vnc' port='-1' autoport='yes' passwd='fact-pwd'/>"
BARE = f"""\
<domain type='kvm'>
  <!-- libvirt keeps no comments -->
  <name>fact</name>
  <metadata><my:note xmlns:my="http://example.org/my">keep <my:b/></my:note></metadata>
  <memory unit='MiB'>64</memory>
  <vcpu>2</vcpu>
  <iothreads>1</iothreads>
  <cputune><vcpupin vcpu='0' cpuset='0-3,^2'/><vcpupin vcpu='7' cpuset='0'/></cputune>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>{GRAPHICS}</devices>
</domain>
"""
PLUGGED = BARE.replace("<devices>", f"<devices>{PLUG}")
NVDIMM = """\
<domain type='kvm'>
  <name>fact</name>
  <maxMemory slots='2' unit='MiB'>1024</maxMemory>
  <memory unit='MiB'>5</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <cpu mode='host-passthrough'><numa><cell id='0' cpus='0' memory='131073' unit='KiB'/></numa></cpu>
  <devices>
    <memory model='nvdimm' access='shared'>
      <source><path>/dev/cxlstate/fact</path><alignsize unit='MiB'>2</alignsize><pmem/></source>
      <target><size unit='MiB'>511</size><node>0</node><label><size unit='MiB'>2</size></label></target>
    </memory>
  </devices>
</domain>
"""


def install(machine):
    """It is there on one machine, and not on the other."""
    if machine.answer(LibvirtNetwork("default")).status == 127:
        outcome = machine.run("apt-get", "--yes", "install", "libvirt-daemon-system")
        assert outcome.result is Result.DONE, outcome.output


def link_at_boot(machine):
    """The device is bound and has its link, now and after every boot."""
    (device,) = devices(machine)
    machine.write(DROP_IN, 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX modprobe.blacklist=kmem"\n')
    machine.generate()
    script = restore.script([dax_verbs.at_boot("fact", selector(device), None)])
    machine.write(restore.SCRIPT, script.decode())
    machine.write(restore.UNIT_FILE, restore.unit().decode())
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", restore.UNIT)
    machine.reboot()


WITH_LIBVIRT = Stage("with-libvirt", install)
LINKED = Stage("linked", link_at_boot, after=WITH_LIBVIRT)
# On the emulated host by `make lab-all`: with guests it takes its time.
pytestmark = [pytest.mark.long, pytest.mark.stage(WITH_LIBVIRT)]


@pytest.fixture(autouse=True)
def tidy(machine):
    """Whatever becomes of a fact, its guest is gone and the network is as it was."""
    before = read(machine, LibvirtNetwork("default"))["inactive.xml"]
    yield
    if read(machine, LibvirtDomain("fact")):
        done(machine, StopDomain("fact", timeout=0, power_off=True), UndefineDomain("fact"))
    done(machine, AutostartNetwork("default", on=False), StopNetwork("default"))
    now = read(machine, LibvirtNetwork("default"))["inactive.xml"]
    if now != before:
        done(machine, DefineNetwork("default", before, digest(now)))


def read(machine, what):
    return machine.writer.read([what]).files(what)


def done(machine, *effects):
    for effect in effects:
        outcome = machine.perform(effect)
        assert outcome.result is Result.DONE, (effect, outcome)


def refused(machine, effect):
    outcome = machine.perform(effect)
    assert (outcome.result, outcome.status) == (Result.FAILED, 1), outcome
    return outcome.output


def facts(machine, what):
    return dict(line.split("=") for line in read(machine, what)["facts"].splitlines())


def state(machine):
    return facts(machine, LibvirtDomain("fact"))["state"]


def digest(text):
    return sha256(text.encode()).hexdigest()


def update(command, xml, section="ip-dhcp-host", *, live=True, config=True):
    return UpdateNetwork("default", command, section, xml, live, config)


def reservations(text):
    return [(one.mac, one.ip, one.name) for one in network_xml.parse(text).hosts]


def eventually(tell, expected):
    """What a daemon does by itself takes a moment; while it starts, it may not answer."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with suppress(ReadFailed):
            if tell() == expected:
                return
        time.sleep(1)
    assert tell() == expected


# Definitions -----------------------------------------------------------------------------------------


def test_what_is_not_there_is_an_empty_answer(machine):
    assert read(machine, LibvirtDomain("fact")) == {}
    assert read(machine, LibvirtNetwork("fact")) == {}
    answer = machine.answer(LibvirtAddresses("fact"))
    assert (answer.status, answer.text) == (0, "")
    assert refused(machine, StartDomain("fact")) == "there is no domain fact"
    assert refused(machine, StartNetwork("fact")) == "there is no network fact"


def test_the_network_that_the_package_brings_is_off(machine):
    answer = read(machine, LibvirtNetwork("default"))
    assert set(answer) == {"inactive.xml", "facts", "ports"}
    assert answer["facts"] == "active=no\nautostart=no\npersistent=yes\nbridge=virbr0\n"
    assert answer["ports"] == ""
    assert "<forward mode='nat'/>" in answer["inactive.xml"]


def test_a_definition_is_completed_and_read_without_secrets(machine):
    done(machine, DefineDomain("fact", BARE))
    answer = read(machine, LibvirtDomain("fact"))
    assert set(answer) == {"inactive.xml", "facts"}
    assert answer["facts"] == (
        "state=shut-off\nid=-\npersistent=yes\nautostart=no\nmanaged-save=no\nsnapshots=0\ncheckpoints=0\n"
    )
    text = answer["inactive.xml"]
    for part in (
        '    <my:note xmlns:my="http://example.org/my">keep <my:b/></my:note>\n',
        "<memory unit='KiB'>65536</memory>\n  <currentMemory unit='KiB'>65536</currentMemory>\n",
        "<vcpu placement='static'>2</vcpu>",
        "<cputune>\n    <vcpupin vcpu='0' cpuset='0-1,3'/>\n  </cputune>",
        "machine='pc-q35-",
        "<boot dev='hd'/>",
        "<emulator>/usr/bin/qemu-system-x86_64</emulator>",
        "<graphics type='vnc' port='-1' autoport='yes'>",
        "<memballoon model='virtio'>",
    ):
        assert part in text
    assert "<!--" not in text
    assert "passwd" not in text
    assert "passwd='fact-pwd'" in machine.text("/etc/libvirt/qemu/fact.xml")
    assert machine.mode("/etc/libvirt/qemu/fact.xml") == 0o600
    assert machine.perform(DefineDomain("fact", BARE)).result is Result.STALE


REFUSED = {
    "no maxMemory": (
        "<maxMemory slots='2' unit='MiB'>1024</maxMemory>",
        "",
        (
            "unsupported configuration: "
            "cannot use/hotplug a memory device when domain 'maxMemory' is not defined"
        ),
    ),
    "no slots": (" slots='2'", "", "internal error: failed to find an empty memory slot"),
    "no cells": (
        "<numa><cell id='0' cpus='0' memory='131073' unit='KiB'/></numa>",
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
    "small label": (
        "<size unit='MiB'>2<",
        "<size unit='KiB'>64<",
        "XML error: nvdimm label must be at least 128KiB",
    ),
    "large label": (
        "<size unit='MiB'>2<",
        "<size unit='MiB'>511<",
        "XML error: label size must be smaller than NVDIMM size",
    ),
    "high slot": (
        "</target>",
        "</target><address type='dimm' slot='2'/>",
        "unsupported configuration: memory device slot '2' exceeds slots count '2'",
    ),
    "small maximum": (
        ">1024<",
        ">512<",
        "XML error: maximum memory size must be equal or greater than the actual memory size",
    ),
    "many cell CPUs": (
        "cpus='0'",
        "cpus='0-3'",
        "internal error: Number of CPUs in <numa> exceeds the <vcpu> count",
    ),
    "backwards": (
        "<features>",
        "<cputune><vcpupin vcpu='0' cpuset='3-1'/></cputune><features>",
        "invalid argument: Failed to parse bitmap '3-1'",
    ),
    "twice pinned": (
        "<features>",
        "<cputune><vcpupin vcpu='0' cpuset='1'/><vcpupin vcpu='0' cpuset='2'/></cputune><features>",
        "internal error: duplicate vcpupin for vcpu '0'",
    ),
    "another topology": (
        "<numa>",
        "<topology sockets='1' cores='2' threads='1'/><numa>",
        "unsupported configuration: CPU topology doesn't match maximum vcpu count",
    ),
    "more plugged in than the maximum": (
        "<vcpu>",
        "<vcpu current='2'>",
        "unsupported configuration: maximum vCPU count must not be less than current vCPU count",
    ),
    "first vCPU plugged out": (
        "</vcpu>",
        "</vcpu><vcpus><vcpu id='0' enabled='no' hotpluggable='yes'/></vcpus>",
        "unsupported configuration: vcpu 0 can't be offline",
    ),
    "pin of no I/O thread": (
        "<features>",
        "<cputune><iothreadpin iothread='1' cpuset='1'/></cputune><features>",
        "unsupported configuration: Cannot find 'iothread' : 1",
    ),
    "schedule of no I/O thread": (
        "<features>",
        "<cputune><iothreadsched iothreads='1' scheduler='batch'/></cputune><features>",
        "unsupported configuration: Cannot find 'iothread' : 1",
    ),
    "slash": ("<name>fact<", "<name>fa/ct<", "XML error: name fa/ct cannot contain '/'"),
    "slip of the pen": ("alignsize", "alignSize", "XML document failed to validate against schema: "),
    "unknown element": ("<vcpu>", "<foo/><vcpu>", "XML document failed to validate against schema: "),
    "unknown unit": ("unit='MiB'>5<", "unit='Gi'>5<", "XML document failed to validate against schema: "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_definition_that_cannot_be_is_refused(machine, case):
    old, new, why = REFUSED[case]
    assert old in NVDIMM
    assert refused(machine, DefineDomain("fact", NVDIMM.replace(old, new))).startswith(why)
    assert read(machine, LibvirtDomain("fact")) == {}


DEVICES = {
    "readonly sata": (
        "<disk type='file' device='disk'><source file='/a'/><target dev='sda' bus='sata'/><readonly/></disk>",
        "readonly sata disks are not supported",
    ),
    "ACPI index": (
        "<disk type='file'><source file='/a'/><target dev='sda' bus='sata'/><acpi index='3'/></disk>",
        "ACPI index is only supported for PCI devices",
    ),
    "a user's address": (
        PLUG.replace("<source", "<ip address='172.17.2.4' family='ipv4' prefix='24'/><source"),
        "Invalid attempt to set network interface guest-side IP",
    ),
    "unmanaged tap": (
        PLUG.replace("<source", "<target dev='tap0' managed='no'/><source"),
        "unmanaged target dev",
    ),
    "serial port twice": (
        "<serial type='pty'><target type='isa-serial' port='1'/></serial>" * 2,
        "target port '1' already allocated",
    ),
}


@pytest.mark.parametrize("case", DEVICES)
def test_a_device_that_cannot_be_is_refused(machine, case):
    xml, why = DEVICES[case]
    assert why in refused(machine, DefineDomain("fact", BARE.replace("<devices>", f"<devices>{xml}")))
    assert read(machine, LibvirtDomain("fact")) == {}


def test_an_edit_changes_the_definition_in_what_is_wished_and_keeps_secrets(machine):
    done(machine, DefineDomain("fact", BARE), StartDomain("fact"))
    before = read(machine, LibvirtDomain("fact"))
    wish = Domain(emulatorpin=frozenset({1, 3}))
    done(machine, EditDomain("fact", wish, digest(before["inactive.xml"])))
    after = read(machine, LibvirtDomain("fact"))
    pin = "\n    <emulatorpin cpuset='1,3'/>\n  </cputune>"
    assert after["inactive.xml"] == before["inactive.xml"].replace("\n  </cputune>", pin)
    assert after["active.xml"] == before["active.xml"]
    assert "passwd='fact-pwd'" in machine.text("/etc/libvirt/qemu/fact.xml")
    stale = EditDomain("fact", Domain(vcpu=1), digest(before["inactive.xml"]))
    assert machine.perform(stale).result is Result.STALE
    assert read(machine, LibvirtDomain("fact"))["inactive.xml"] == after["inactive.xml"]


# Running ---------------------------------------------------------------------------------------------


def test_a_guest_that_runs_has_an_active_definition_and_a_place_on_the_processors(machine):
    done(machine, DefineDomain("fact", BARE), StartDomain("fact"), StartDomain("fact"))
    answer = read(machine, LibvirtDomain("fact"))
    assert set(answer) == {"inactive.xml", "active.xml", "facts", "affinity"}
    told = facts(machine, LibvirtDomain("fact"))
    assert (told["state"], told["persistent"]) == ("running", "yes")
    assert answer["active.xml"].startswith(f"<domain type='kvm' id='{told['id']}'>\n")
    assert "passwd" not in answer["active.xml"]
    online = machine.text("/sys/devices/system/cpu/online").strip()
    assert answer["affinity"] == f"0 0-1,3\n1 {online}\n"
    assert refused(machine, UndefineDomain("fact")).startswith("it runs: ")


def test_files_tell_which_guests_run_and_which_start_with_the_host(machine):
    done(machine, DefineDomain("fact", BARE))
    assert running(machine.writer.read(running_reads())) == Running()
    done(machine, StartDomain("fact"))
    assert running(machine.writer.read(running_reads())) == Running((RunningVm("fact", autostart=False),))
    done(machine, AutostartDomain("fact", on=True))
    assert running(machine.writer.read(running_reads())) == Running((RunningVm("fact", autostart=True),))
    done(machine, AutostartDomain("fact", on=False), StopDomain("fact", timeout=0, power_off=True))
    assert running(machine.writer.read(running_reads())) == Running()


def test_a_guest_without_a_system_does_not_react_and_goes_on_until_it_is_powered_off(machine):
    done(machine, DefineDomain("fact", BARE), StartDomain("fact"))
    outcome = machine.perform(StopDomain("fact", timeout=3))
    assert (outcome.result, outcome.status) == (Result.REFUSED, 1)
    said = "the guest does not react to its power button: after 3 s it is running"
    assert outcome.output.splitlines()[0] == said
    assert state(machine) == "running"
    done(machine, StopDomain("fact", timeout=1, power_off=True), StopDomain("fact"))
    assert state(machine) == "shut-off"


def test_a_disk_is_taken_out_of_the_definition_and_a_guest_without_a_system_does_not_let_go(machine):
    seed = "/var/lib/libvirt/images/fact.cidata.iso"

    def has_it(part):
        return domain_xml.given(read(machine, LibvirtDomain("fact"))[part], seed) is not None

    xml = domain_xml.new("fact", Domain(memory=64 * MIB), seed=seed)
    done(machine, WriteSeed(seed, FirstBoot("fact")), DefineDomain("fact", xml), StartDomain("fact"))
    assert has_it("active.xml")
    assert refused(machine, DetachDisk("fact", seed, timeout=2)).startswith("the guest has not let go of")
    assert has_it("active.xml")
    assert not has_it("inactive.xml")
    done(machine, StopDomain("fact", timeout=0, power_off=True), DetachDisk("fact", seed))
    done(machine, Run(("rm", "--force", seed)))
    assert machine.writer.read([Names(seed)]).files(Names(seed)) == {}


def test_pins_of_a_running_guest_are_where_its_threads_are(machine):
    done(machine, DefineDomain("fact", BARE), StartDomain("fact"))
    before = read(machine, LibvirtDomain("fact"))["inactive.xml"]
    done(
        machine,
        PinDomain("fact", PinOf.VCPU, frozenset({1, 3}), 1),
        PinDomain("fact", PinOf.EMULATOR, frozenset({1})),
        PinDomain("fact", PinOf.IOTHREAD, frozenset({3}), 1),
    )
    answer = read(machine, LibvirtDomain("fact"))
    active = domain_xml.read(answer["active.xml"])
    assert active.vcpupin == ((0, frozenset({0, 1, 3})), (1, frozenset({1, 3})))
    assert (active.emulatorpin, active.iothreadpin) == (frozenset({1}), ((1, frozenset({3})),))
    assert answer["affinity"] == "0 0-1,3\n1 1,3\n"
    assert answer["inactive.xml"] == before
    said = refused(machine, PinDomain("fact", PinOf.VCPU, frozenset({1, 99})))
    assert said == "of the CPUs 1,99, 99 is not there or not on"
    said = refused(machine, PinDomain("fact", PinOf.VCPU, frozenset({1}), 2))
    assert said == "invalid argument: vcpu 2 is out of range of live cpu count 2"
    said = refused(machine, PinDomain("fact", PinOf.IOTHREAD, frozenset({1}), 5))
    assert said == "invalid argument: iothread 5 not found"


@pytest.mark.parametrize(("mode", "can"), [("strict", False), ("restrictive", True)])
def test_the_nodes_of_a_running_guest_can_change_in_one_mode_alone(machine, mode, can):
    tune = f"<numatune><memory mode='{mode}' nodeset='0'/></numatune><os>"
    done(machine, DefineDomain("fact", BARE.replace("<os>", tune)), StartDomain("fact"))
    if not can:
        said = "change of nodeset for running domain requires restrictive numa mode"
        assert refused(machine, TuneNuma("fact", frozenset({1}))).endswith(said)
        return
    done(machine, TuneNuma("fact", frozenset({1})))
    assert domain_xml.read(read(machine, LibvirtDomain("fact"))["active.xml"]).numa_nodeset == {1}
    said = refused(machine, TuneNuma("fact", frozenset({9})))
    assert said == "unsupported configuration: NUMA node 9 is unavailable"


def test_live_changes_are_for_guests_that_run(machine):
    done(machine, DefineDomain("fact", PLUGGED))
    said = "Requested operation is not valid: domain is not running"
    assert refused(machine, PinDomain("fact", PinOf.VCPU, frozenset({1}))) == said
    assert refused(machine, TuneNuma("fact", frozenset({0}))) == said
    assert refused(machine, LinkInterface("fact", MAC, up=False)) == said


NOT_STARTED = {
    "network": (PLUG, "Requested operation is not valid: network 'default' is not active"),
    "no network": (
        PLUG.replace("'default'", "'nix'"),
        "Network not found: no network with matching name 'nix'",
    ),
    "disk": (
        "<disk type='file'><source file='/nowhere.img'/><target dev='vda'/></disk>",
        "Cannot access storage file '/nowhere.img'",
    ),
}


@pytest.mark.parametrize("case", NOT_STARTED)
def test_what_is_missing_keeps_a_guest_from_starting(machine, case):
    device, why = NOT_STARTED[case]
    done(machine, DefineDomain("fact", BARE.replace("<devices>", f"<devices>{device}")))
    assert refused(machine, StartDomain("fact")).startswith(why)
    assert state(machine) == "shut-off"


def test_nodes_and_processors_that_are_not_there_keep_a_guest_from_starting(machine):
    tune = "<numatune><memory mode='strict' nodeset='9'/></numatune><os>"
    done(machine, DefineDomain("fact", BARE.replace("<os>", tune)))
    said = refused(machine, StartDomain("fact"))
    assert said == "unsupported configuration: NUMA node 9 is unavailable"
    done(machine, UndefineDomain("fact"), DefineDomain("fact", BARE.replace("0-3,^2", "99")))
    assert refused(machine, StartDomain("fact")).endswith("/cpuset.cpus': Numerical result out of range")


# NVDIMMs ---------------------------------------------------------------------------------------------


@pytest.mark.stage(LINKED)
def test_a_guest_holds_the_device_that_the_link_of_its_nvdimm_leads_to(machine):
    done(machine, DefineDomain("fact", NVDIMM))
    (device,) = devices(machine)
    inactive = read(machine, LibvirtDomain("fact"))["inactive.xml"]
    for part in (
        f"<memory unit='KiB'>{131073 + 511 * 1024}</memory>",
        "<maxMemory slots='2' unit='KiB'>1048576</maxMemory>",
        "<alignsize unit='KiB'>2048</alignsize>",
        "<address type='dimm' slot='0'/>",
    ):
        assert part in inactive
    done(machine, StartDomain("fact", (LINK,)))
    active = read(machine, LibvirtDomain("fact"))["active.xml"]
    for part in (
        f"<memory unit='KiB'>{132096 + 512 * 1024}</memory>",
        "<currentMemory unit='KiB'>132096</currentMemory>",
        "<cell id='0' cpus='0' memory='132096' unit='KiB'/>",
        "<size unit='KiB'>524288</size>",
        "<address type='dimm' slot='0' base='0x100000000'/>",
    ):
        assert part in active
    held = Holders("dax*")
    (holder,) = dax.holders(machine.writer.read([held]).text(held))
    assert (holder.vm, holder.device) == ("fact", device.name)
    said = step(machine, *dax_verbs.unbind(device.name, selector(device)).words)
    assert "is held by process" in said.output


@pytest.mark.stage(LINKED)
def test_a_device_that_is_gone_keeps_a_guest_from_starting_and_one_that_is_too_small_does_not(machine):
    """AppArmor's profile lets QEMU open the device, and not read its size in sysfs."""
    done(machine, DefineDomain("fact", NVDIMM.replace("/cxlstate/fact", "/cxlstate/nowhere")))
    said = refused(machine, StartDomain("fact"))
    assert said == "Path '/dev/cxlstate/nowhere' is not accessible: No such file or directory"
    said = refused(machine, StartDomain("fact", ("/dev/cxlstate/nowhere",)))
    assert said.rstrip() == "/dev/cxlstate/nowhere leads nowhere: there is no such device"
    done(machine, UndefineDomain("fact"))
    (device,) = devices(machine)
    size = (device.size >> 20) + 2
    large = NVDIMM.replace(">511<", f">{size}<").replace(">1024<", f">{2 * size}<")
    done(machine, DefineDomain("fact", large))
    done(machine, StartDomain("fact", (LINK,)))
    done(machine, StopDomain("fact", timeout=0, power_off=True))
    done(machine, dax_verbs.unbind(device.name, selector(device)))
    said = refused(machine, StartDomain("fact"))
    assert said == f"unable to open {LINK}: No such device or address"
    done(machine, dax_verbs.bind(device.name, selector(device), None))


@pytest.mark.stage(LINKED)
@pytest.mark.parametrize(
    "lacking",
    [
        {" access='shared'": "", "<alignsize unit='MiB'>2</alignsize>": ""},
        {" access='shared'": ""},
        {"<alignsize unit='MiB'>2</alignsize>": ""},
        {"access='shared'": "access='private'"},
        {"<alignsize unit='MiB'>2<": "<alignsize unit='KiB'>4<"},
    ],
    ids=["both", "access", "alignsize", "private", "small"],
)
def test_a_mapping_that_the_kernel_does_not_make_keeps_a_guest_from_starting(machine, lacking):
    """check_vma in drivers/dax/device.c: shared, and aligned as the device is."""
    xml = NVDIMM
    for old, new in lacking.items():
        assert old in xml
        xml = xml.replace(old, new)
    done(machine, DefineDomain("fact", xml))
    said = refused(machine, StartDomain("fact", (LINK,)))
    # Where QEMU may read dax_region/align, it says so before it tries (qemu_ram_alloc_from_file).
    refusals = "unable to map backing store for guest RAM: Invalid argument", "is larger than 'align' option"
    assert any(one in said for one in refusals)


# Networks --------------------------------------------------------------------------------------------


def test_an_active_network_knows_who_is_plugged_in(machine):
    done(machine, StartNetwork("default"), StartNetwork("default"))
    done(machine, DefineDomain("fact", PLUGGED), StartDomain("fact"))
    answer = read(machine, LibvirtNetwork("default"))
    assert set(answer) == {"inactive.xml", "active.xml", "facts", "ports"}
    assert answer["facts"] == "active=yes\nautostart=no\npersistent=yes\nbridge=virbr0\n"
    assert answer["ports"] == f"{MAC} fact\n"
    assert answer["active.xml"].startswith("<network connections='1'>\n")
    assert "<port start='1024' end='65535'/>" in answer["active.xml"]
    assert machine.answer(LibvirtAddresses("fact")).text == "", "nobody in it has asked for one"
    active = read(machine, LibvirtDomain("fact"))["active.xml"]
    (interface,) = domain_xml.read(active).interfaces
    assert (interface.mac, interface.network, interface.link) == (MAC, "default", True)
    assert " bridge='virbr0'/>" in active
    done(machine, LinkInterface("fact", MAC, up=False))
    (interface,) = domain_xml.read(read(machine, LibvirtDomain("fact"))["active.xml"]).interfaces
    assert interface.link is False
    other = "52:54:00:fa:c7:99"
    said = refused(machine, LinkInterface("fact", other, up=True))
    assert said == f"none of its interfaces has the address {other}"


def test_a_guest_outlives_its_network_and_is_not_plugged_in_by_its_return(machine):
    done(machine, StartNetwork("default"), DefineDomain("fact", PLUGGED), StartDomain("fact"))
    tap = re.search(r"<target dev='(vnet\d+)'/>", read(machine, LibvirtDomain("fact"))["active.xml"])[1]
    assert list(read(machine, PORTS)) == [f"/sys/class/net/virbr0/brif/{tap}"]
    assert refused(machine, UndefineNetwork("default")).startswith("it is active: ")
    done(machine, StopNetwork("default"), StopNetwork("default"))
    assert state(machine) == "running"
    assert read(machine, LibvirtNetwork("default"))["ports"] == ""
    assert f"/sys/class/net/{tap}" in read(machine, INTERFACES)
    done(machine, StartNetwork("default"))
    assert read(machine, LibvirtNetwork("default"))["ports"] == ""
    assert read(machine, PORTS) == {}
    outcome = machine.run("ip", "link", "set", "dev", tap, "master", "virbr0", "up")
    assert outcome.result is Result.DONE, outcome.output
    assert list(read(machine, PORTS)) == [f"/sys/class/net/virbr0/brif/{tap}"]
    assert read(machine, ALONE) == {f"/sys/class/net/{tap}/brport/isolated": "0"}
    outcome = machine.run("bridge", "link", "set", "dev", tap, "isolated", "on")
    assert outcome.result is Result.DONE, outcome.output
    assert read(machine, ALONE) == {f"/sys/class/net/{tap}/brport/isolated": "1"}
    assert read(machine, LibvirtNetwork("default"))["ports"] == "", "libvirt does not know of it"
    done(machine, StopDomain("fact", timeout=0, power_off=True), StartDomain("fact"))
    assert read(machine, LibvirtNetwork("default"))["ports"] == f"{MAC} fact\n"


def test_a_bridge_that_is_in_the_way_of_a_start_can_be_removed(machine):
    """One is left behind where the daemon died while it started the network."""
    definition = network_xml.parse(read(machine, LibvirtNetwork("default"))["inactive.xml"])
    machine.stray(definition.bridge, definition.mac)
    assert read(machine, MACS)["/sys/class/net/virbr0/address"].strip() == definition.mac
    assert refused(machine, StartNetwork("default")) == "error creating bridge interface virbr0: File exists"
    assert "/sys/class/net/virbr0/address" not in read(machine, MACS), "the start that failed has removed it"
    machine.stray(definition.bridge, definition.mac)
    removed = machine.run("ip", "link", "delete", "dev", "virbr0", "type", "bridge")
    assert removed.result is Result.DONE, removed.output
    assert "/sys/class/net/virbr0/address" not in read(machine, MACS)
    done(machine, StartNetwork("default"))


def test_a_dnsmasq_that_is_in_the_way_of_a_start_can_be_ended(machine):
    """One that the daemon had started outlives it; bind-dynamic, it listens as soon as there is a bridge."""
    machine.serve("default", "virbr0")
    lines = machine.answer(SERVERS).text.splitlines()
    mine = served_by("default")
    assert {line.partition(" ")[2] for line in lines} == {DNSMASQ.format("default")}
    assert mine.search(DNSMASQ.format("default"))
    in_use = "failed to create listening socket for 192.168.122.1: Address already in use"
    assert in_use in refused(machine, StartNetwork("default"))
    ended = machine.run("pkill", "--full", mine.pattern)
    assert ended.result is Result.DONE, ended.output
    assert machine.answer(SERVERS).status == 1
    done(machine, StartNetwork("default"))


def test_what_a_network_runs_with_is_not_in_its_way(machine):
    """Whoever has cleared away for himself since the plan, and started it, loses nothing."""
    clear = Run(("pkill", "--full", served_by("default").pattern), unless=status("default"))
    done(machine, StartNetwork("default"))
    assert machine.perform(clear).result is Result.STALE
    assert machine.answer(SERVERS).status == 0
    done(machine, StopNetwork("default"))
    assert machine.perform(clear) == Outcome(Result.FAILED, 1), "nothing is there to be ended"
    done(machine, StartNetwork("default"))


@contextmanager
def another(machine, xml):
    """A second network, for as long as it is needed."""
    done(machine, DefineNetwork("fact", xml))
    try:
        yield read(machine, LibvirtNetwork("fact"))["inactive.xml"]
    finally:
        done(machine, StopNetwork("fact"), UndefineNetwork("fact"))
        assert read(machine, LibvirtNetwork("fact")) == {}


def test_a_new_network_is_completed(machine):
    ip = "<ip address='10.9.8.1' prefix='24'><dhcp/></ip>"
    with another(machine, f"<network><name>fact</name><forward/>{ip}</network>") as text:
        assert "<forward mode='nat'/>\n  <bridge name='virbr1' stp='on' delay='0'/>\n" in text
        assert "<mac address='52:54:00:" in text
        assert "<dhcp" not in text
        stale = DefineNetwork("fact", text, None)
        assert machine.perform(stale).result is Result.STALE
        done(machine, StartNetwork("fact"))
        new = text.replace("prefix='24'", "prefix='25'")
        done(machine, DefineNetwork("fact", new, digest(text)))
        answer = read(machine, LibvirtNetwork("fact"))
        assert answer["inactive.xml"] == new
        assert "prefix='24'" in answer["active.xml"], "it goes on as it was"


def test_two_networks_with_the_same_addresses_are_not_both_active(machine):
    done(machine, StartNetwork("default"))
    ip = "<ip address='192.168.122.1' netmask='255.255.255.0'/>"
    with another(machine, f"<network><name>fact</name><forward/>{ip}</network>"):
        said = refused(machine, StartNetwork("fact"))
        assert said == "internal error: Network is already in use by interface virbr0"


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        ("<bridge name='virbr0'/>", "internal error: bridge name 'virbr0' already in use."),
        (
            "<ip address='10.0.0.1' prefix='24'/><route address='10.9.0.0' prefix='16' gateway='10.1.0.2'/>",
            (
                "unsupported configuration: unreachable static route gateway '10.1.0.2' "
                "specified for network 'fact'"
            ),
        ),
        (
            "<forward/>",
            "XML error: nat forwarding requested, but no IP address provided for network 'fact'",
        ),
    ],
)
def test_a_network_that_cannot_be_is_refused(machine, inside, why):
    xml = f"<network><name>fact</name>{inside}</network>"
    assert refused(machine, DefineNetwork("fact", xml)) == why
    assert read(machine, LibvirtNetwork("fact")) == {}


# Reservations ----------------------------------------------------------------------------------------

M1, M2, M3 = (f"52:54:00:00:00:0{number}" for number in (1, 2, 3))
START = (
    f"<host mac='{M1}' name='a' ip='192.168.122.11'/>",
    f"<host mac='{M2}' name='b' ip='192.168.122.12'/>",
    "<host name='c' ip='192.168.122.13'/>",
)
ONE, TWO, THREE = (
    (M1, "192.168.122.11", "a"),
    (M2, "192.168.122.12", "b"),
    (None, "192.168.122.13", "c"),
)


@pytest.fixture
def reserving(machine):
    done(machine, StartNetwork("default"), *(update(Update.ADD_LAST, host) for host in START))
    assert both(machine) == [ONE, TWO, THREE]
    return machine


def both(machine):
    """The reservations, if they are the same in both definitions."""
    answer = read(machine, LibvirtNetwork("default"))
    active, inactive = (reservations(answer[f"{which}active.xml"]) for which in ("", "in"))
    assert active == inactive
    return active


def test_a_change_meets_the_first_entry_that_libvirt_finds(reserving):
    done(reserving, update(Update.MODIFY, f"<host mac='{M2.upper()}' ip='192.168.122.99'/>"))
    assert both(reserving) == [ONE, (M2, "192.168.122.99", None), THREE]
    done(reserving, update(Update.MODIFY, f"<host mac='{M2}' name='b' ip='192.168.122.11'/>"))
    assert both(reserving)[0] == (M2, "192.168.122.11", "b"), "by its address, and no longer that of the MAC"


def test_a_deletion_meets_an_entry_without_a_mac_by_any(reserving):
    done(reserving, update(Update.DELETE, f"<host mac='{M3}'/>"))
    assert both(reserving) == [ONE, TWO]
    done(reserving, update(Update.DELETE, "<host name='a'/>"))
    assert both(reserving) == [TWO]


NOT_VALID = "Requested operation is not valid: "
EXISTS = f"{NOT_VALID}there is an existing dhcp host entry in network 'default' that matches"
SAID = [
    (
        Update.ADD_LAST,
        f"<host mac='{M3}' name='a' ip='192.168.122.14'/>",
        f"{EXISTS} \"<host mac='{M3}' name='a' ip='192.168.122.14'/>\"",
    ),
    (
        Update.ADD_LAST,
        f"<host mac='{M3}' ip='192.168.122.11'/>",
        f"{EXISTS} \"<host mac='{M3}' name='(null)' ip='192.168.122.11'/>\"",
    ),
    (
        Update.ADD_LAST,
        "<host ip='192.168.122.14'/>",
        "XML error: Static host definition in IPv4 network 'default' must have mac or name attribute",
    ),
    (
        Update.ADD_LAST,
        f"<host mac='{M3}'/>",
        "XML error: Missing IP address in static host definition for network 'default'",
    ),
    (
        Update.ADD_LAST,
        "<host mac='01:00:5e:00:00:03' ip='192.168.122.14'/>",
        "XML error: expected unicast mac address, found multicast '01:00:5e:00:00:03' in network 'default'",
    ),
    (
        Update.ADD_LAST,
        f"<host mac='{M3}' ip='fe80::1'/>",
        (
            f"{NOT_VALID}the address family of a host entry IP must match the address family of the dhcp "
            "element's parent"
        ),
    ),
    (
        Update.MODIFY,
        f"<host mac='{M3}' ip='192.168.122.99'/>",
        (
            f"{NOT_VALID}couldn't locate an existing dhcp host entry with \"mac='{M3}'\" \"name='(null)'\" "
            "\"ip='192.168.122.99'\" in network 'default'"
        ),
    ),
    (
        Update.DELETE,
        f"<host mac='{M1}' ip='192.168.122.12'/>",
        f"{NOT_VALID}couldn't locate a matching dhcp host entry in network 'default'",
    ),
]


def test_changes_that_libvirt_refuses_are_told_in_its_words_and_change_nothing(reserving):
    for command, xml, why in SAID:
        assert refused(reserving, update(command, xml)) == why
    assert both(reserving) == [ONE, TWO, THREE]


def test_both_definitions_are_changed_or_none(reserving):
    other = f"<host mac='{M3}' ip='192.168.122.14'/>"
    done(reserving, update(Update.ADD_LAST, other, live=False))
    before = read(reserving, LibvirtNetwork("default"))
    assert refused(reserving, update(Update.ADD_LAST, other)).startswith(EXISTS)
    assert read(reserving, LibvirtNetwork("default")) == before
    done(reserving, update(Update.ADD_LAST, other, config=False))
    assert both(reserving)[-1] == (M3, "192.168.122.14", None)


def test_ranges_are_added_and_deleted_and_never_modified(reserving):
    start = "<range start='192.168.122.{}' end='192.168.{}'/>"

    def change(command, xml):
        return update(command, xml, "ip-dhcp-range")

    for command, xml, why in (
        (
            Update.ADD_LAST,
            start.format(2, "122.254"),
            (
                f"{NOT_VALID}there is an existing dhcp range entry in network 'default' that matches "
                "\"<range start='192.168.122.2' end='192.168.122.254'/>\""
            ),
        ),
        (
            Update.ADD_LAST,
            start.format(2, "123.9"),
            (
                "internal error: range 192.168.122.2 - 192.168.123.9 is not entirely within network "
                "192.168.122.1/24"
            ),
        ),
        (
            Update.MODIFY,
            start.format(9, "122.20"),
            "Operation not supported: dhcp ranges cannot be modified, only added or deleted",
        ),
        (
            Update.DELETE,
            start.format(9, "122.20"),
            f"{NOT_VALID}couldn't locate a matching dhcp range entry in network 'default'",
        ),
    ):
        assert refused(reserving, change(command, xml)) == why
    done(
        reserving,
        change(Update.ADD_LAST, start.format(100, "122.120")),
        change(Update.DELETE, start.format(2, "122.254")),
    )
    definition = network_xml.parse(read(reserving, LibvirtNetwork("default"))["active.xml"])
    assert list(map(str, definition.ranges)) == ["192.168.122.100-192.168.122.120"]
    assert reservations(read(reserving, LibvirtNetwork("default"))["active.xml"]) == [ONE, TWO, THREE]


def test_a_network_that_is_off_is_changed_on_the_disk_alone(machine):
    assert refused(machine, update(Update.ADD_LAST, START[0])) == f"{NOT_VALID}network is not running"
    done(machine, update(Update.ADD_LAST, START[0], live=False))
    assert reservations(read(machine, LibvirtNetwork("default"))["inactive.xml"]) == [ONE]


# Boots -----------------------------------------------------------------------------------------------


@pytest.mark.changes
@pytest.mark.stage(LINKED)
def test_what_starts_by_itself_is_there_after_a_reboot_with_its_device(machine):
    plugged = NVDIMM.replace("<devices>", f"<devices>{PLUG}")
    done(machine, DefineDomain("fact", plugged), AutostartDomain("fact", on=True))
    done(machine, AutostartNetwork("default", on=True))
    assert facts(machine, LibvirtDomain("fact"))["autostart"] == "yes"
    machine.reboot()
    eventually(lambda: state(machine), "running")
    assert facts(machine, LibvirtNetwork("default"))["active"] == "yes"
    assert read(machine, LibvirtNetwork("default"))["ports"] == f"{MAC} fact\n"
    done(machine, AutostartDomain("fact", on=False))
    assert facts(machine, LibvirtDomain("fact"))["autostart"] == "no"
