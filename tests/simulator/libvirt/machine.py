"""A simulated machine with libvirt, told and asked."""

from __future__ import annotations

import json
from hashlib import sha256

from cxlstate.core.libvirt import UpdateNetwork
from cxlstate.core.read import LibvirtAddresses, LibvirtDomain, LibvirtNetwork
from cxlstate.formats import network_xml
from cxlstate.machine.outcome import Entry, Result
from cxlstate.simulator.reader import SimReader
from cxlstate.simulator.writer import SimWriter

ENTRY = Entry("run", ("test",), "a test", "live")
MIB, GIB = 1 << 20, 1 << 30
DISK = "/var/lib/libvirt/images/vm.qcow2"
MAC = "52:54:00:aa:00:01"
DEVICE = "range=0x5080000000+0x1800000000"
XML = f"""\
<domain type='kvm'>
  <!-- what libvirt drops -->
  <name>vm</name>
  <metadata><my:note xmlns:my="http://example.org/my">keep <my:b/></my:note></metadata>
  <maxMemory slots='2' unit='MiB'>1024</maxMemory>
  <memory unit='MiB'>5</memory>
  <vcpu>2</vcpu>
  <iothreads>1</iothreads>
  <cputune><vcpupin vcpu='0' cpuset='0-3,^2'/></cputune>
  <numatune><memory mode='strict' nodeset='0'/></numatune>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <cpu mode='host-passthrough'><numa><cell id='0' cpus='0-1' memory='131073' unit='KiB'/></numa></cpu>
  <devices>
    <interface type='network'><mac address='{MAC.upper()}'/><source network='default'/></interface>
    <disk type='file' device='disk'><source file='{DISK}'/><driver type='qcow2'/><target dev='vda'/></disk>
    <graphics type='vnc' port='-1' autoport='yes' passwd='secret&amp;1'/>
    <memory model='nvdimm' access='shared'>
      <source><path>/dev/cxlstate/cxl0</path><alignsize unit='MiB'>2</alignsize><pmem/></source>
      <target><size unit='MiB'>511</size><node>0</node><label><size unit='MiB'>16</size></label></target>
    </memory>
  </devices>
</domain>
"""
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
BARE = """\
<domain type='kvm'>
  <name>bare</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type machine='pc'>hvm</type></os>
  <devices/>
</domain>
"""


class Machine:
    """One that is told and asked, each time by a writer or a reader of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.root = directory / "root"

    def tell(self, *effects, faults=None):
        writer = SimWriter(self.directory, "host", faults=faults)
        try:
            return [writer.perform(effect, ENTRY) for effect in effects]
        finally:
            writer.close()

    def done(self, *effects):
        outcomes = self.tell(*effects)
        assert {one.result for one in outcomes} == {Result.DONE}, outcomes

    def refused(self, effect):
        (outcome,) = self.tell(effect)
        assert (outcome.result, outcome.status) == (Result.FAILED, 1)
        return outcome.output

    def ask(self, read):
        answers = SimReader(self.directory, "host").read([read])
        return answers.text(read) if isinstance(read, LibvirtAddresses) else answers.files(read)

    def raw(self, read):
        return SimReader(self.directory, "host").read([read]).raw(read)

    def domain(self, name="vm"):
        return self.ask(LibvirtDomain(name))

    def network(self, name="default"):
        return self.ask(LibvirtNetwork(name))

    def facts(self, of):
        return dict(line.split("=") for line in of["facts"].splitlines())

    def state(self, name="vm"):
        return self.facts(self.domain(name))["state"]

    def edit_json(self, change):
        path = self.directory / "machine.json"
        world = json.loads(path.read_text())
        change(world)
        path.write_text(json.dumps(world))

    def digest(self, name="vm"):
        return digest(self.domain(name)["inactive.xml"])

    def file(self, name="vm"):
        return self.root / f"etc/libvirt/qemu/{name}.xml"


def digest(text):
    return sha256(text.encode()).hexdigest()


def update(command, xml, section="ip-dhcp-host", *, live=True, config=True):
    return UpdateNetwork("default", command, section, xml, live, config)


def hosts(text):
    return [(one.mac, one.ip, one.name) for one in network_xml.parse(text).hosts]
