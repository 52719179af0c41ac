"""What a wish leaves as it is, what follows from it, and what it cannot have."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from cxlstate.core.domain import Cell, Disk, Domain, Interface, MemNode, Nvdimm, Topology
from cxlstate.core.units import format_cpus
from cxlstate.formats.domain_xml import Impossible, differences, identity, merge, networks, read
from cxlstate.simulator.libvirt.complete import complete
from tests.formats.domain_example import DOMAIN
from tests.formats.leftovers import LEFT
from tests.formats.leftovers import REFUSED as TOLD

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MAC, BRIDGED, NEW = "52:54:00:fc:10:bd", "52:54:00:00:00:01", "52:54:00:00:00:02"


def cpus(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


SATISFIED = (
    Domain(),
    read(DOMAIN),
    Domain(memory=4 * GIB - 1, machine="q35", cpu_mode="custom", iothreads=2),
    Domain(vcpu=4, topology=Topology(1, 4, 1), cells=(Cell(0, cpus(0, 1, 2, 3), 4 * GIB),)),
    Domain(vcpupin=((3, cpus(7)),), numa_nodeset=cpus(1), hugepages=2 * MIB - 1),
    Domain(disks=(Disk("vda", cache="none"), Disk("sda", readonly=False), Disk("vdz", absent=True))),
    Domain(interfaces=(Interface(MAC, network="default", link=True), Interface(NEW, absent=True))),
    Domain(nvdimm=(Nvdimm(slot=1, size=2 * GIB),)),
    Domain(nvdimm=(Nvdimm("/dev/other", slot=1, absent=True),)),
    Domain(nvdimm=(Nvdimm("/dev/cxlstate/cxl0", label=16 * MIB, pmem=True),)),
    Domain(firmware="bios", console=True, os_variant="http://ubuntu.com/ubuntu/22.04"),
)


@pytest.mark.parametrize("wish", SATISFIED)
@pytest.mark.parametrize("xml", [DOMAIN, re.sub(r"='([^'\"]*)'", r'= "\1" ', DOMAIN)])
def test_what_is_so_by_meaning_stays_to_the_byte(xml: str, wish: Domain) -> None:
    assert merge(xml, wish) == xml
    assert differences(wish, read(xml)) == ()


BARE = """\
<?xml version="1.0"?>
<!-- of ours -->
<domain type="kvm">
  <name>bare</name>
  <memory unit="GiB">1</memory>
  <vcpu>2</vcpu>
  <os><type>hvm</type></os>
</domain>
"""

WHOLE = Domain(
    vcpu=4,
    vcpupin=((1, cpus(3)),),
    iothreads=1,
    iothreadpin=((1, cpus(0)),),
    numa_mode="strict",
    numa_nodeset=cpus(0),
    cpu_mode="host-model",
    topology=Topology(1, 4, 1),
    hugepages=0,
    nvdimm=(Nvdimm("/dev/dax0.0", size=GIB),),
    disks=(Disk("vda", path="/a"),),
    interfaces=(Interface(MAC, network="default"),),
    machine="q35",
    firmware="efi",
    kernel="/k",
    os_variant="http://debian.org/debian/12",
    console=True,
)


def test_what_was_not_there_at_all_is_written_as_libvirt_would() -> None:
    assert (
        merge(BARE, WHOLE)
        == """\
<?xml version="1.0"?>
<!-- of ours -->
<domain type='kvm'>
  <name>bare</name>
  <metadata>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
      <libosinfo:os id="http://debian.org/debian/12"/>
    </libosinfo:libosinfo>
  </metadata>
  <maxMemory slots='1' unit='KiB'>2097152</maxMemory>
  <memory unit='KiB'>2097152</memory>
  <memoryBacking>
    <hugepages/>
  </memoryBacking>
  <vcpu>4</vcpu>
  <iothreads>1</iothreads>
  <cputune>
    <vcpupin vcpu='1' cpuset='3'/>
    <iothreadpin iothread='1' cpuset='0'/>
  </cputune>
  <numatune>
    <memory mode='strict' nodeset='0'/>
  </numatune>
  <os firmware='efi'><type machine='q35'>hvm</type><kernel>/k</kernel></os>
  <features>
    <acpi/>
  </features>
  <cpu mode='host-model'>
    <topology sockets='1' cores='4' threads='1'/>
    <numa>
      <cell id='0' cpus='0-3' memory='1048576' unit='KiB'/>
    </numa>
  </cpu>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu'/>
      <source file='/a'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='network'>
      <mac address='52:54:00:fc:10:bd'/>
      <source network='default'/>
      <model type='virtio'/>
    </interface>
    <serial type='pty'>
      <target type='isa-serial' port='0'/>
    </serial>
    <console type='pty'>
      <target type='serial' port='0'/>
    </console>
    <memory model='nvdimm'>
      <source>
        <path>/dev/dax0.0</path>
      </source>
      <target>
        <size unit='KiB'>1048576</size>
        <node>0</node>
      </target>
    </memory>
  </devices>
</domain>
"""
    )


def test_a_text_without_line_breaks_gets_none() -> None:
    xml = "<domain><name>x</name><memory>1024</memory></domain>"
    merged = merge(xml, Domain(vcpu=2, emulatorpin=cpus(0)))
    assert merged == (
        "<domain><name>x</name><memory>1024</memory><vcpu placement='static'>2</vcpu>"
        "<cputune><emulatorpin cpuset='0'/></cputune></domain>"
    )


SHARED = {
    "pages of cells go with them": (
        (
            "<domain><memoryBacking><hugepages><page size='2' nodeset='0-1'/><page size='1' nodeset='2'/>"
            "</hugepages></memoryBacking><memory>3</memory><vcpu>1</vcpu><cpu><numa>"
            "<cell id='0' cpus='0' memory='1'/><cell id='1' memory='1'/><cell id='2' memory='1'/>"
            "</numa></cpu></domain>"
        ),
        Domain(cells=(Cell(0, cpus(0), 3 << 10),)),
        (
            "<domain><memoryBacking><hugepages><page size='2' nodeset='0'/></hugepages>"
            "</memoryBacking><memory>3</memory><vcpu>1</vcpu><cpu><numa>"
            "<cell id='0' cpus='0' memory='3' unit='KiB'/></numa></cpu></domain>"
        ),
    ),
    "what plugs vCPUs one by one goes with another number": (
        "<domain><vcpu current='2'>4</vcpu><vcpus><vcpu id='0'/></vcpus></domain>",
        Domain(vcpu=4),
        "<domain><vcpu>4</vcpu></domain>",
    ),
    "settings of vCPUs that are gone": (
        (
            "<domain><vcpu>4</vcpu><cputune><vcpusched vcpus='1-3'/><cachetune vcpus='2'><monitor vcpus='2'/>"
            "</cachetune></cputune></domain>"
        ),
        Domain(vcpu=2),
        "<domain><vcpu>2</vcpu><cputune><vcpusched vcpus='1'/></cputune></domain>",
    ),
    "I/O threads with ids of their own: the first ones stay": (
        (
            "<domain><iothreadids><iothread id='4'/><iothread id='7'/></iothreadids>"
            "<cputune><iothreadsched iothreads='4,7'/></cputune></domain>"
        ),
        Domain(iothreads=1),
        (
            "<domain><iothreads>1</iothreads><iothreadids><iothread id='4'/></iothreadids>"
            "<cputune><iothreadsched iothreads='4'/></cputune></domain>"
        ),
    ),
    "what libvirt was to choose": (
        "<domain><numatune><memory placement='auto' mode='strict'/></numatune></domain>",
        Domain(numa_mode="strict", numa_nodeset=cpus(1)),
        "<domain><numatune><memory mode='strict' nodeset='1'/></numatune></domain>",
    ),
    "a passed through cache is the host's alone": (
        "<domain><cpu check='none' migratable='on' mode='maximum'><cache mode='passthrough'/></cpu></domain>",
        Domain(cpu_mode="host-model"),
        "<domain><cpu mode='host-model'/></domain>",
    ),
    "cells without ids are counted, and more of them follow": (
        (
            "<domain><memory>2048</memory><vcpu>2</vcpu><cpu><numa><cell cpus='0' memory='1' unit='MiB'/>"
            "<cell memory='1' cpus='1' unit='MiB'/></numa></cpu></domain>"
        ),
        Domain(cells=(Cell(0, cpus(0), MIB), Cell(1, cpus(1), 2 * MIB), Cell(2, cpus(), MIB))),
        (
            "<domain><memory unit='KiB'>4096</memory><vcpu>2</vcpu><cpu><numa>"
            "<cell cpus='0' memory='1' unit='MiB'/><cell memory='2048' cpus='1' unit='KiB'/>"
            "<cell id='2' memory='1024' unit='KiB'/></numa></cpu></domain>"
        ),
    ),
    "a cell that goes is nobody's sibling": (
        (
            "<domain><memory>2048</memory><vcpu>2</vcpu><numatune><memnode cellid='1'/></numatune><cpu><numa>"
            "<cell id='0' cpus='0' memory='1024'><distances><sibling id='0'/>"
            "<sibling id='1'/></distances></cell>"
            "<cell id='1' cpus='1' memory='1024'/><interconnects><latency initiator='0' target='1'/>"
            "</interconnects></numa></cpu></domain>"
        ),
        Domain(cells=(Cell(0, cpus(0, 1), 2 * MIB),)),
        (
            "<domain><memory>2048</memory><vcpu>2</vcpu><cpu><numa>"
            "<cell id='0' cpus='0-1' memory='2048' unit='KiB'><distances><sibling id='0'/></distances></cell>"
            "</numa></cpu></domain>"
        ),
    ),
    "what somebody has left to the balloon is his, but not more than there is": (
        (
            "<domain><memory>3072</memory><currentMemory>2500</currentMemory><devices><memory model='dimm'>"
            "<target><size>1024</size></target></memory><memory model='nvdimm'><source><path>/a</path>"
            "</source><target><size>1024</size></target></memory></devices></domain>"
        ),
        Domain(nvdimm=(Nvdimm("/a", absent=True),)),
        (
            "<domain><maxMemory slots='1' unit='KiB'>2048</maxMemory><memory unit='KiB'>2048</memory>"
            "<currentMemory unit='KiB'>2048</currentMemory><devices><memory model='dimm'>"
            "<target><size>1024</size></target></memory></devices></domain>"
        ),
    ),
    "memory is plain, also where there are no cells": (
        (
            "<domain><memory>3</memory><devices><memory model='virtio-pmem'><target><size>1</size></target>"
            "</memory></devices></domain>"
        ),
        Domain(memory=8 * KIB),
        (
            "<domain><memory unit='KiB'>9</memory><devices><memory model='virtio-pmem'>"
            "<target><size>1</size></target></memory></devices></domain>"
        ),
    ),
    "what was named by hand": (
        "<domain><os><type>hvm</type><loader type='pflash'>/x</loader><nvram>/y</nvram></os></domain>",
        Domain(firmware="bios"),
        "<domain><os><type>hvm</type></os></domain>",
    ),
    "and what libvirt was told to look for": (
        "<domain><os firmware='efi'><type>hvm</type><firmware><feature/></firmware></os></domain>",
        Domain(firmware="bios"),
        "<domain><os><type>hvm</type></os></domain>",
    ),
    "a port before the first, which is no console": (
        "<domain><devices><serial type='file'/></devices></domain>",
        Domain(console=True),
        (
            "<domain><devices><serial type='pty'><target type='isa-serial' port='1'/></serial>"
            "<serial type='file'/></devices></domain>"
        ),
    ),
    "a controller that guests have a driver for": (
        (
            "<domain><devices><disk type='file'><driver name='qemu' type='raw'/><source file='/a'/>"
            "<target dev='sda' bus='sata'/></disk></devices></domain>"
        ),
        Domain(disks=(Disk("sda", bus="scsi"),)),
        (
            "<domain><devices><disk type='file'><driver name='qemu' type='raw'/><source file='/a'/>"
            "<target dev='sda' bus='scsi'/></disk><controller type='scsi' index='0' model='virtio-scsi'/>"
            "</devices></domain>"
        ),
    ),
    "every interface of an address that is to be absent": (
        (
            "<domain><devices><interface type='user'><mac address='52:54:00:00:00:01'/></interface>"
            "<interface type='user'><mac address='52:54:0:0:0:1'/></interface></devices></domain>"
        ),
        Domain(interfaces=(Interface(BRIDGED, absent=True),)),
        "<domain><devices/></domain>",
    ),
    "a bus that was left to libvirt": (
        (
            "<domain><devices><disk><driver/><source file='/a' startupPolicy='optional'><slices/></source>"
            "<backingStore/><target dev='vda'/><wwn>5</wwn></disk></devices></domain>"
        ),
        Domain(disks=(Disk("vda", path="/dev/b", bus="virtio"),)),
        (
            "<domain><devices><disk type='block'><driver/><source dev='/dev/b' startupPolicy='optional'/>"
            "<target dev='vda' bus='virtio'/></disk></devices></domain>"
        ),
    ),
    "a text with a comment in it": (
        (
            "<domain><memory unit='GiB'><!-- all of it -->4</memory><vcpu><?by hand?>2</vcpu>"
            '<!-- it\'s "q35" --></domain>'
        ),
        Domain(vcpu=4, memory=8 * GIB),
        (
            "<domain><memory unit='KiB'>8388608<!-- all of it --></memory>"
            '<vcpu>4<?by hand?></vcpu><!-- it\'s "q35" --></domain>'
        ),
    ),
    "another chipset of Ubuntu": (
        "<domain><os><type machine='ubuntu'>hvm</type></os></domain>",
        Domain(machine="ubuntu-q35"),
        "<domain><os><type machine='ubuntu-q35'>hvm</type></os></domain>",
    ),
    "an NVDIMM that leaves the cell of which it was shared": (
        (
            "<domain><cpu><numa><cell id='0' memory='1' memAccess='shared'/><cell id='1' memory='1'/></numa>"
            "</cpu><devices><memory model='nvdimm'><source><path>/a</path></source><target>"
            "<size>4096</size><node>0</node></target></memory></devices></domain>"
        ),
        Domain(nvdimm=(Nvdimm("/a", access="shared", node=1),)),
        (
            "<domain><cpu><numa><cell id='0' memory='1' memAccess='shared'/><cell id='1' memory='1'/></numa>"
            "</cpu><devices><memory model='nvdimm' access='shared'><source><path>/a</path></source><target>"
            "<size>4096</size><node>1</node></target></memory></devices></domain>"
        ),
    ),
    "all of a firmware": (
        (
            "<domain><os firmware='efi'><type>hvm</type><firmware><feature enabled='yes' name='secure-boot'/>"
            "</firmware><loader type='rom'/><varstore path='/a.json'/></os></domain>"
        ),
        Domain(firmware="bios"),
        "<domain><os><type>hvm</type></os></domain>",
    ),
    "what only a disk, or only a drive, has": (
        (
            "<domain><devices><disk type='file' device='cdrom'><source file='/a' startupPolicy='requisite'/>"
            "<target dev='sda' bus='scsi'/></disk><disk type='file'>"
            "<source file='/b' startupPolicy='optional'/><target dev='sdb' bus='sata'/><throttlefilters>"
            "<throttlefilter group='g'/></throttlefilters>"
            "</disk></devices></domain>"
        ),
        Domain(disks=(Disk("sda", device="disk"), Disk("sdb", device="cdrom"))),
        (
            "<domain><devices><disk type='file' device='disk'><source file='/a'/>"
            "<target dev='sda' bus='scsi'/></disk><disk type='file' device='cdrom'>"
            "<source file='/b' startupPolicy='optional'/><target dev='sdb' bus='sata'/></disk>"
            "<controller type='scsi' index='0' model='virtio-scsi'/></devices></domain>"
        ),
    ),
    "what only the old bus has": (
        (
            "<domain><devices><disk model='virtio' type='file'><driver queues='2' iothread='1' iommu='on'/>"
            "<geometry cyls='1' trans='lba'/><target dev='vda' bus='virtio'/></disk><disk type='file'>"
            "<geometry/><target dev='sda' bus='scsi' rotation_rate='1'/><serial/><wwn/><vendor/><product/>"
            "</disk><disk type='file'><target dev='sdb' bus='usb' removable='on'/></disk></devices></domain>"
        ),
        Domain(disks=(Disk("vda", bus="sata"), Disk("sda", bus="usb"), Disk("sdb", bus="scsi"))),
        (
            "<domain><devices><disk type='file'><driver/><geometry cyls='1'/><target dev='vda' bus='sata'/>"
            "</disk><disk type='file'><target dev='sda' bus='usb'/><serial/></disk><disk type='file'>"
            "<target dev='sdb' bus='scsi'/></disk><controller type='scsi' index='0' model='virtio-scsi'/>"
            "</devices></domain>"
        ),
    ),
    "an interface without a source": (
        (
            "<domain><devices><interface type='user'><mac address='52:54:0:FC:10:BD'/><backend type='passt'/>"
            "</interface></devices></domain>"
        ),
        Domain(interfaces=(Interface(MAC, network="default", model="virtio"),)),
        (
            "<domain><devices><interface type='network'><mac address='52:54:0:FC:10:BD'/>"
            "<source network='default'/><model type='virtio'/></interface></devices></domain>"
        ),
    ),
    "a note of the system beside others": (
        "<domain><metadata><a xmlns='urn:a'/></metadata></domain>",
        Domain(os_variant="x"),
        (
            '<domain><metadata><a xmlns="urn:a"/><libosinfo:libosinfo '
            'xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0"><libosinfo:os id="x"/>'
            "</libosinfo:libosinfo></metadata></domain>"
        ),
    ),
    "another machine, while no device has an address": (
        "<domain><os><type machine='pc'>hvm</type></os></domain>",
        Domain(machine="q35"),
        "<domain><os><type machine='q35'>hvm</type></os></domain>",
    ),
}


@pytest.mark.parametrize(("xml", "wish", "merged"), SHARED.values(), ids=SHARED)
def test_what_is_not_owned_follows_where_it_must(xml: str, wish: Domain, merged: str) -> None:
    assert merge(xml, wish) == merged
    assert merge(merged, wish) == merged
    assert differences(wish, read(merged)) == ()


def test_nvdimms_find_their_places_by_slot_and_else_by_path() -> None:
    swapped = merge(DOMAIN, Domain(nvdimm=(Nvdimm("/dev/dax1.0", size=GIB, slot=0),)))
    wish = Domain(nvdimm=(Nvdimm("/dev/cxlstate/cxl0", slot=0), Nvdimm("/dev/dax1.0", slot=1)))
    found = read(merge(swapped, wish)).nvdimm or ()
    assert [(one.slot, one.path, one.size) for one in found] == [
        (1, "/dev/dax1.0", 2 * GIB),
        (0, "/dev/cxlstate/cxl0", GIB),
    ]


TWO_CELLS = merge(DOMAIN, Domain(cells=(Cell(0, cpus(0, 1), 2 * GIB), Cell(1, cpus(2, 3), 2 * GIB))))
IN_CELL_1 = merge(TWO_CELLS, Domain(nvdimm=(Nvdimm("/dev/dax1.0", size=GIB, node=1),)))
PATH = "/dev/cxlstate/cxl0"

EXPANDER = "<controller type='pci'><target><node>1</node></target></controller>"


def test_a_model_in_other_letters_is_the_same() -> None:
    plug = "<interface><mac address='52:54:00:00:00:01'/><model type='ViRtIo'/></interface>"
    xml = f"<domain><devices>{plug}</devices></domain>"
    wish = Domain(interfaces=(Interface("52:54:00:00:00:01", model="virtio", link=False),))
    assert merge(xml, wish) == xml.replace("</interface>", "<link state='down'/></interface>")


REFUSED = {
    "a bus of a cell goes": (
        TWO_CELLS.replace(
            "<devices>", "<devices><controller type='pci'><target><node>1</node></target></controller>"
        ),
        Domain(cells=(Cell(0, cpus(0, 1, 2, 3), GIB),)),
        "a controller device is in NUMA cell 1",
    ),
    "which of two cells gets it": (TWO_CELLS, Domain(memory=GIB), "2 NUMA cells with 4GiB in all"),
    "a cell with a device goes": (IN_CELL_1, Domain(cells=read(DOMAIN).cells), "in NUMA cell 1, which"),
    "another topology": (DOMAIN, Domain(vcpu=8), "is one of 4 vCPUs, and the maximum is 8"),
    "cells of more vCPUs": (
        TWO_CELLS,
        Domain(vcpu=2, topology=Topology(1, 2, 1)),
        "the NUMA cells have vCPUs 0-3, and there are 0-1",
    ),
    "cells of fewer vCPUs": (
        DOMAIN,
        Domain(cells=(Cell(0, cpus(0, 2), GIB),)),
        "have vCPUs 0,2, and there are",
    ),
    "more vCPUs than interrupts": (
        "<domain><vcpu>4</vcpu></domain>",
        Domain(max_vcpu=256),
        "256 vCPUs need an IOMMU with extended interrupts",
    ),
    "a pin of nobody": (DOMAIN, Domain(vcpupin=((4, cpus(0)),)), "vcpupin names vCPU 4, and there are 4"),
    "an I/O thread in use": (
        DOMAIN.replace("queues='2'/>\n      <source file", "iothread='2'/>\n      <source file"),
        Domain(iothreads=1),
        "uses I/O thread 2",
    ),
    "custom without a model": (
        merge(DOMAIN, Domain(cpu_mode="maximum")),
        Domain(cpu_mode="custom"),
        "needs a model",
    ),
    "a mode without nodes": (
        "<domain><numatune/></domain>",
        Domain(numa_mode="strict"),
        "a mode and no nodes",
    ),
    "restrictive for one alone": (DOMAIN, Domain(numa_mode="restrictive"), "one of all cells or of none"),
    "nodes of cells where libvirt chooses": (
        "<domain><numatune><memory mode='strict' placement='auto'/></numatune></domain>",
        Domain(memnodes=(MemNode(0, "strict", cpus(0)),)),
        "without the nodes of all cells",
    ),
    "hugepages of anonymous memory": (
        "<domain><memoryBacking><source type='anonymous'/></memoryBacking></domain>",
        Domain(hugepages=0),
        "has <source type='anonymous'/>",
    ),
    "an NVDIMM of nothing": (DOMAIN, Domain(nvdimm=(Nvdimm(slot=0, size=GIB),)), "needs a size"),
    "an NVDIMM without a size": (DOMAIN, Domain(nvdimm=(Nvdimm("/a"),)), "needs a size"),
    "one device twice": (IN_CELL_1, Domain(nvdimm=(Nvdimm(PATH, slot=0, size=GIB), Nvdimm(slot=1))), PATH),
    "one slot twice": (
        DOMAIN.replace("model='nvdimm' access='shared'", "model='dimm'"),
        Domain(nvdimm=(Nvdimm("/a", slot=1, size=GIB),)),
        "two memory devices would be in slot 1",
    ),
    "an NVDIMM of a domain without memory": (
        "<domain/>",
        Domain(nvdimm=(Nvdimm("/a", size=GIB),)),
        "nothing says how much memory",
    ),
    "a disk of nothing": (
        DOMAIN,
        Domain(disks=(Disk("vdc", format="raw"),)),
        "target vdc .it has vda, vdb, sda., and a new one needs path and format",
    ),
    "a new CD-ROM drive on virtio": (
        DOMAIN,
        Domain(disks=(Disk("vdc", device="cdrom", bus="virtio"),)),
        "vdc cannot be a CD-ROM drive on virtio",
    ),
    "a new disk on SATA that nothing protects": (
        DOMAIN,
        Domain(disks=(Disk("vdc", path="/a", format="raw", bus="sata", readonly=True),)),
        "vdc cannot be readonly",
    ),
    "a disk that nothing protects": (
        DOMAIN.replace("device='cdrom'", "device='disk'").replace("<readonly/>", ""),
        Domain(disks=(Disk("sda", readonly=True),)),
        "sda cannot be readonly",
    ),
    "a disk that others write to": (
        DOMAIN.replace("<iotune>", "<shareable/><iotune>").replace("qcow2'", "raw'"),
        Domain(disks=(Disk("vda", format="qcow2"),)),
        "vda is shareable",
    ),
    "an interface to nowhere": (
        DOMAIN,
        Domain(interfaces=(Interface(NEW),)),
        f"mac {NEW} .it has .* needs network or bridge",
    ),
    "another chipset": (DOMAIN, Domain(machine="pc"), "pc-q35-10.0 cannot become pc: the devices"),
    "no domain": ("<network/>", Domain(), "not a domain: it begins with <network>"),
    "a number of which there are not so many": (
        "<domain><vcpu>4000000000</vcpu></domain>",
        Domain(),
        "the number of vCPUs is 4000000000, and libvirt has at most 16383",
    ),
    "threads of which there are not so many": (
        "<domain><iothreads>99999999999</iothreads></domain>",
        Domain(),
        "the number of I/O threads is",
    ),
    "no number": ("<domain><vcpu>four</vcpu></domain>", Domain(), "the number of vCPUs is no number: 'four'"),
}


@pytest.mark.parametrize(("xml", "wish", "why"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_had_without_touching_more_is_refused(xml: str, wish: Domain, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        merge(xml, wish)


def test_the_cure_of_a_mode_of_all_cells_cures_it() -> None:
    with pytest.raises(Impossible) as refused:
        merge(DOMAIN, Domain(numa_mode="restrictive"))
    there = read(DOMAIN).memnodes or ()
    assert refused.value.path == ("numatune", "mode")
    for one in there:
        entry = f"{{cellid: {one.cellid}, mode: restrictive, nodeset: '{format_cpus(one.nodeset)}'}}"
        assert entry in (refused.value.cure or "")
    memnodes = tuple(replace(one, mode="restrictive") for one in there)
    merge(DOMAIN, Domain(numa_mode="restrictive", memnodes=memnodes))


@pytest.mark.parametrize("name", LEFT)
def test_what_only_the_old_connection_or_bus_has_goes(name: str) -> None:
    left = LEFT[name]
    merged = merge(left.before(), left.wish)
    assert differences(left.wish, read(merged)) == ()
    complete(merged, {}, ovmf=False)


@pytest.mark.parametrize("name", TOLD)
def test_what_somebody_has_to_decide_is_refused(name: str) -> None:
    left, why = TOLD[name]
    with pytest.raises(ValueError, match=why):
        merge(left.before(), left.wish)


TUNED = "<vcpu>2</vcpu><numatune><memory mode='strict' nodeset='0'/></numatune>"
ALONE = f"<domain>{TUNED}{{}}<devices>{{}}</devices></domain>"
CELL = "<cpu><numa><cell id='0' cpus='0-1' memory='1048576'/></numa></cpu>"
BIOS = "<os><type>hvm</type><bios useserial='yes'/></os>"
NODE = MemNode(3, "strict", frozenset({0}))


@pytest.mark.parametrize(
    ("inside", "devices", "wish", "why"),
    [
        # "-append only allowed with -kernel option" of QEMU
        ("", "", Domain(cmdline="quiet"), "has cmdline and no kernel"),
        ("", "", Domain(initrd="/boot/initrd"), "has initrd and no kernel"),
        ("", "", Domain(kernel="", cmdline="quiet"), "has cmdline and no kernel"),
        # "must correspond to existing guest's NUMA cell"
        ("", "", Domain(memnodes=(NODE,)), "names NUMA cell 3 of the VM, and it has none"),
        (CELL, "", Domain(memnodes=(NODE,)), "names NUMA cell 3 of the VM, and its cells are 0"),
        # "need at least one serial port to use BIOS serial output"
        (BIOS, "<serial type='pty'/>", Domain(console=False), "the firmware of the VM writes to a serial"),
    ],
)
def test_what_libvirt_or_qemu_would_refuse_later(inside: str, devices: str, wish: Domain, why: str) -> None:
    with pytest.raises(Impossible, match=why):
        merge(ALONE.format(inside, devices), wish)


def test_there_is_no_processor_to_pass_through_without_kvm() -> None:
    """libvirt: "CPU mode 'host-passthrough' for x86_64 qemu domain … is not supported by hypervisor"."""
    emulated = ALONE.format("", "").replace("<domain>", "<domain type='qemu'>")
    with pytest.raises(Impossible, match="of KVM alone"):
        merge(emulated, Domain(cpu_mode="host-passthrough"))
    merge(emulated, Domain(cpu_mode="maximum"))


def test_an_nvdimm_of_another_size_is_not_held_in_its_place() -> None:
    """QEMU: "address range conflicts with memory device"."""
    source = "<source><path>/nv</path></source><target><size unit='GiB'>2</size><node>0</node></target>"
    one = f"<memory model='nvdimm'>{source}<address type='dimm' slot='0' base='0x100000000'/></memory>"
    merged = merge(ALONE.format(CELL, one), Domain(nvdimm=(Nvdimm(slot=0, size=4 << 30),)))
    assert "<address type='dimm' slot='0'/>" in merged


def test_a_device_of_the_host_becomes_a_virtio_interface() -> None:
    source = "<source><address type='pci' domain='0' bus='1' slot='16' function='1'/></source>"
    one = f"<interface type='hostdev'><mac address='52:54:00:00:00:01'/>{source}</interface>"
    wish = Domain(interfaces=(Interface("52:54:00:00:00:01", network="default"),))
    assert "<model type='virtio'/>" in merge(ALONE.format("", one), wish)


def test_a_vm_has_four_serial_ports() -> None:
    ports = "".join(f"<serial type='file'><target port='{port}'/></serial>" for port in (3, 0, 2))
    text = f"<domain><devices>{ports}<serial type='file'/></devices></domain>"
    with pytest.raises(ValueError, match="has 4 serial ports, and so no room"):
        merge(text, Domain(console=True))
    free = merge(text.replace("<serial type='file'/>", ""), Domain(console=True))
    assert "<serial type='pty'><target type='isa-serial' port='1'/></serial>" in free


@pytest.mark.parametrize("firmware", ["efi", "bios"])
@pytest.mark.parametrize(
    "loader",
    [
        "<loader type='rom'>/usr/share/ovmf/OVMF.fd</loader>",
        "<loader stateless='yes'>/usr/share/OVMF/OVMF.amdsev.fd</loader>",
        "<loader>/usr/share/seabios/bios.bin</loader>",
    ],
)
def test_a_rom_that_was_named_by_hand_stays(firmware: str, loader: str) -> None:
    text = f"<domain><os><type>hvm</type>{loader}</os></domain>"
    wish = Domain(firmware=firmware)
    assert differences(wish, read(text)) == ()
    assert merge(text, wish) == text


def test_name_uuid_and_networks_are_told() -> None:
    assert identity(DOMAIN) == ("cxl_vmx", "6c1f0e6e-1b0a-4d0e-9d52-5a4c2e0f7a11")
    assert identity(BARE) == ("bare", None)
    assert networks(DOMAIN) == ("default",)
    assert networks(BARE) == ()


@pytest.mark.parametrize(
    ("wish", "driver", "source"),
    [
        (Disk("vda", format="raw"), "<driver name='qemu' type='raw'/>", "<source file='/srv/a'/>"),
        (
            Disk("vda", path="/srv/b"),
            "<driver name='qemu' type='qcow2'><metadata_cache/></driver>",
            "<source file='/srv/b'/>",
        ),
    ],
)
def test_what_only_the_old_image_or_format_has_goes(wish: Disk, driver: str, source: str) -> None:
    """The schema of libvirt 9.0 knows no `<dataStore>`."""
    data = "<dataStore type='file'><format type='raw'/><source file='/srv/a.data'/></dataStore>"
    text = (
        "<domain><devices><disk type='file' device='disk'>{}{}<target dev='vda' bus='virtio'/></disk>"
        "</devices></domain>"
    )
    before = text.format(
        "<driver name='qemu' type='qcow2'><metadata_cache/></driver>",
        f"<source file='/srv/a'>{data}</source>",
    )
    assert merge(before, Domain(disks=(wish,))) == text.format(driver, source)
