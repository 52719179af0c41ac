"""What a wish changes in a domain's XML, line by line."""

from __future__ import annotations

from difflib import unified_diff

import pytest

from cxlstate.core.domain import Cell, Disk, Domain, Interface, MemNode, Nvdimm, Topology
from cxlstate.formats.domain_xml import differences, merge, read
from tests.formats.domain_example import DOMAIN

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MAC, BRIDGED, NEW = "52:54:00:fc:10:bd", "52:54:00:00:00:01", "52:54:00:00:00:02"


def cpus(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


def changed(xml: str, wish: Domain) -> str:
    """The lines that go and those that come; twice the same wish is once."""
    merged = merge(xml, wish)
    assert merge(merged, wish) == merged
    assert differences(wish, read(merged)) == ()
    lines = list(unified_diff(xml.splitlines(), merged.splitlines(), n=0))[2:]
    return "\n".join(f"{line[0]} {line[1:].strip()}" for line in lines if line[0] != "@")


CASES = {
    "a pin of a vCPU that has one": (
        Domain(vcpupin=((0, cpus(2, 3, 5)),)),
        """
- <vcpupin vcpu='0' cpuset='1'/>
+ <vcpupin vcpu='0' cpuset='2-3,5'/>
""",
    ),
    "a pin of one that has none stands by its number": (
        Domain(vcpupin=((2, cpus(5)),), emulatorpin=cpus(4), iothreadpin=((1, cpus(8)),)),
        """
+ <vcpupin vcpu='2' cpuset='5'/>
- <emulatorpin cpuset='0'/>
+ <emulatorpin cpuset='4'/>
+ <iothreadpin iothread='1' cpuset='8'/>
""",
    ),
    "fewer I/O threads": (
        Domain(iothreads=1),
        """
- <iothreads>2</iothreads>
+ <iothreads>1</iothreads>
- <iothreadpin iothread='2' cpuset='9'/>
""",
    ),
    "no I/O threads": (
        Domain(iothreads=0),
        """
- <iothreads>2</iothreads>
- <iothreadpin iothread='2' cpuset='9'/>
""",
    ),
    "more vCPUs with their topology; the only cell has them all": (
        Domain(vcpu=8, topology=Topology(2, 2, 2)),
        """
- <vcpu placement='static'>4</vcpu>
+ <vcpu placement='static'>8</vcpu>
- <topology sockets='1' dies='1' cores='4' threads='1'/>
+ <topology sockets='2' dies='1' cores='2' threads='2'/>
- <cell id='0' cpus='0-3' memory='4194304' unit='KiB' memAccess='shared'/>
+ <cell id='0' cpus='0-7' memory='4194304' unit='KiB' memAccess='shared'/>
""",
    ),
    "fewer vCPUs take their pins along": (
        Domain(vcpu=2, topology=Topology(1, 2, 1)),
        """
- <vcpu placement='static'>4</vcpu>
+ <vcpu placement='static'>2</vcpu>
- <vcpupin vcpu='3' cpuset='7'/>
- <topology sockets='1' dies='1' cores='4' threads='1'/>
+ <topology sockets='1' dies='1' cores='2' threads='1'/>
- <cell id='0' cpus='0-3' memory='4194304' unit='KiB' memAccess='shared'/>
+ <cell id='0' cpus='0-1' memory='4194304' unit='KiB' memAccess='shared'/>
""",
    ),
    "less memory: the room for more stays": (
        Domain(memory=3 * GIB),
        """
- <memory unit='KiB'>6291456</memory>
- <currentMemory unit='KiB'>6291456</currentMemory>
+ <memory unit='KiB'>5242880</memory>
+ <currentMemory unit='KiB'>5242880</currentMemory>
- <cell id='0' cpus='0-3' memory='4194304' unit='KiB' memAccess='shared'/>
+ <cell id='0' cpus='0-3' memory='3145728' unit='KiB' memAccess='shared'/>
""",
    ),
    "more memory than there was room for": (
        Domain(memory=8 * GIB + 1),
        """
- <maxMemory slots='2' unit='KiB'>8388608</maxMemory>
- <memory unit='KiB'>6291456</memory>
- <currentMemory unit='KiB'>6291456</currentMemory>
+ <maxMemory slots='2' unit='b'>10737418241</maxMemory>
+ <memory unit='b'>10737418241</memory>
+ <currentMemory unit='b'>10737418241</currentMemory>
- <cell id='0' cpus='0-3' memory='4194304' unit='KiB' memAccess='shared'/>
+ <cell id='0' cpus='0-3' memory='8589934593' unit='b' memAccess='shared'/>
""",
    ),
    "two cells": (
        Domain(cells=(Cell(0, cpus(0, 1), 2 * GIB), Cell(1, cpus(2, 3), 2 * GIB))),
        """
- <cell id='0' cpus='0-3' memory='4194304' unit='KiB' memAccess='shared'/>
+ <cell id='0' cpus='0-1' memory='2097152' unit='KiB' memAccess='shared'/>
+ <cell id='1' cpus='2-3' memory='2097152' unit='KiB'/>
""",
    ),
    "other pages": (
        Domain(hugepages=GIB),
        """
- <page size='2048' unit='KiB'/>
+ <page size='1048576' unit='KiB'/>
""",
    ),
    "the host's default pages": (
        Domain(hugepages=0),
        """
- <hugepages>
- <page size='2048' unit='KiB'/>
- </hugepages>
+ <hugepages/>
""",
    ),
    "nodes": (
        Domain(numa_mode="preferred", numa_nodeset=cpus(0)),
        """
- <memory mode='strict' nodeset='1'/>
+ <memory mode='preferred' nodeset='0'/>
""",
    ),
    "nodes of cells": (
        Domain(memnodes=(MemNode(0, "preferred", cpus(0)),)),
        """
- <memnode cellid='0' mode='strict' nodeset='1'/>
+ <memnode cellid='0' mode='preferred' nodeset='0'/>
""",
    ),
    "no nodes of cells": (Domain(memnodes=()), "- <memnode cellid='0' mode='strict' nodeset='1'/>"),
    "the host's CPU has no model, and keeps its features": (
        Domain(cpu_mode="host-passthrough"),
        """
- <cpu mode='custom' match='exact' check='partial'>
- <model fallback='allow'>qemu64</model>
+ <cpu mode='host-passthrough'>
""",
    ),
    "an NVDIMM of another size and device in the same slot": (
        Domain(nvdimm=(Nvdimm("/dev/cxlstate/cxl9", size=GIB, slot=1, pmem=False, label=128 * KIB),)),
        """
- <memory unit='KiB'>6291456</memory>
- <currentMemory unit='KiB'>6291456</currentMemory>
+ <memory unit='KiB'>5242880</memory>
+ <currentMemory unit='KiB'>5242880</currentMemory>
- <path>/dev/cxlstate/cxl0</path>
+ <path>/dev/cxlstate/cxl9</path>
- <pmem/>
- <size unit='KiB'>2097152</size>
+ <size unit='KiB'>1048576</size>
- <size unit='KiB'>16384</size>
+ <size unit='KiB'>128</size>
- <address type='dimm' slot='1' base='0x180000000'/>
+ <address type='dimm' slot='1'/>
""",
    ),
    "another slot has another address": (
        Domain(nvdimm=(Nvdimm("/dev/cxlstate/cxl0", slot=4, access="private", alignsize=4 * KIB),)),
        """
- <maxMemory slots='2' unit='KiB'>8388608</maxMemory>
+ <maxMemory slots='5' unit='KiB'>8388608</maxMemory>
- <memory model='nvdimm' access='shared'>
+ <memory model='nvdimm' access='private'>
- <alignsize unit='KiB'>2048</alignsize>
+ <alignsize unit='KiB'>4</alignsize>
- <address type='dimm' slot='1' base='0x180000000'/>
+ <address type='dimm' slot='4'/>
""",
    ),
    "a second NVDIMM": (
        Domain(
            nvdimm=(
                Nvdimm(
                    "/dev/cxlstate/cxl1",
                    size=8 * GIB,
                    label=2 * MIB,
                    alignsize=2 * MIB,
                    pmem=True,
                    access="shared",
                    slot=0,
                ),
            )
        ),
        """
- <maxMemory slots='2' unit='KiB'>8388608</maxMemory>
- <memory unit='KiB'>6291456</memory>
- <currentMemory unit='KiB'>6291456</currentMemory>
+ <maxMemory slots='2' unit='KiB'>14680064</maxMemory>
+ <memory unit='KiB'>14680064</memory>
+ <currentMemory unit='KiB'>14680064</currentMemory>
+ <memory model='nvdimm' access='shared'>
+ <source>
+ <path>/dev/cxlstate/cxl1</path>
+ <alignsize unit='KiB'>2048</alignsize>
+ <pmem/>
+ </source>
+ <target>
+ <size unit='KiB'>8388608</size>
+ <node>0</node>
+ <label>
+ <size unit='KiB'>2048</size>
+ </label>
+ </target>
+ <address type='dimm' slot='0'/>
+ </memory>
""",
    ),
    "no NVDIMM": (
        Domain(nvdimm=(Nvdimm("/dev/cxlstate/cxl0", absent=True),)),
        """
- <memory unit='KiB'>6291456</memory>
- <currentMemory unit='KiB'>6291456</currentMemory>
+ <memory unit='KiB'>4194304</memory>
+ <currentMemory unit='KiB'>4194304</currentMemory>
- <memory model='nvdimm' access='shared'>
- <source>
- <path>/dev/cxlstate/cxl0</path>
- <alignsize unit='KiB'>2048</alignsize>
- <pmem/>
- </source>
- <target>
- <size unit='KiB'>2097152</size>
- <node>0</node>
- <label>
- <size unit='KiB'>16384</size>
- </label>
- </target>
- <address type='dimm' slot='1' base='0x180000000'/>
- </memory>
""",
    ),
    "a disk of another format, with a cache that native I/O cannot have": (
        Domain(disks=(Disk("vda", format="raw", cache="writeback", readonly=True),)),
        """
- <driver name='qemu' type='qcow2' cache='none' io='native' queues='2'/>
+ <driver name='qemu' type='raw' cache='writeback' queues='2'/>
+ <readonly/>
""",
    ),
    "libvirt's default cache is said by silence": (
        Domain(disks=(Disk("vda", cache="default"),)),
        """
- <driver name='qemu' type='qcow2' cache='none' io='native' queues='2'/>
+ <driver name='qemu' type='qcow2' queues='2'/>
""",
    ),
    "a file becomes a block device": (
        Domain(disks=(Disk("vda", path="/dev/vg/lv"),)),
        """
- <disk type='file' device='disk'>
+ <disk type='block' device='disk'>
- <source file='/images/a.qcow2'/>
+ <source dev='/dev/vg/lv'/>
""",
    ),
    "of a network disk nothing is kept": (
        Domain(disks=(Disk("vdb", path="/images/b.raw"),)),
        """
- <disk type='network' device='disk'>
+ <disk type='file' device='disk'>
- <auth username='lab'>
- <secret type='ceph' usage='lab'/>
- </auth>
- <source protocol='rbd' name='pool/b'>
- <host name='ceph' port='6789'/>
- </source>
+ <source file='/images/b.raw'/>
""",
    ),
    "another bus": (
        Domain(disks=(Disk("vda", bus="scsi"),)),
        """
- <driver name='qemu' type='qcow2' cache='none' io='native' queues='2'/>
+ <driver name='qemu' type='qcow2' cache='none' io='native'/>
- <target dev='vda' bus='virtio'/>
+ <target dev='vda' bus='scsi'/>
- <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
+ <controller type='scsi' index='0' model='virtio-scsi'/>
""",
    ),
    "a medium in the drive": (
        Domain(disks=(Disk("sda", path="/images/seed.iso", device="cdrom"),)),
        "+ <source file='/images/seed.iso'/>",
    ),
    "a drive becomes a disk": (
        Domain(disks=(Disk("sda", path="/images/c", device="disk", readonly=False),)),
        """
- <disk type='file' device='cdrom'>
+ <disk type='file' device='disk'>
+ <source file='/images/c'/>
- <readonly/>
""",
    ),
    "a disk becomes a drive, which virtio does not have": (
        Domain(disks=(Disk("vdb", device="cdrom"),)),
        """
- <disk type='network' device='disk'>
+ <disk type='network' device='cdrom'>
- <target dev='vdb' bus='virtio'/>
- <address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>
+ <target dev='vdb' bus='sata'/>
""",
    ),
    "new disks": (
        Domain(disks=(Disk("vdc", path="/c", format="qcow2"), Disk("sdb", path="/dev/d", readonly=False))),
        """
+ <disk type='file' device='disk'>
+ <driver name='qemu' type='qcow2'/>
+ <source file='/c'/>
+ <target dev='vdc' bus='virtio'/>
+ </disk>
+ <disk type='block' device='disk'>
+ <driver name='qemu'/>
+ <source dev='/dev/d'/>
+ <target dev='sdb' bus='sata'/>
+ </disk>
""",
    ),
    "an empty drive": (
        Domain(disks=(Disk("vdc", device="cdrom"),)),
        """
+ <disk type='file' device='cdrom'>
+ <driver name='qemu'/>
+ <target dev='vdc' bus='sata'/>
+ </disk>
""",
    ),
    "no drive": (
        Domain(disks=(Disk("sda", absent=True),)),
        """
- <disk type='file' device='cdrom'>
- <driver name='qemu' type='raw'/>
- <target dev='sda' bus='sata'/>
- <readonly/>
- <address type='drive' controller='0' bus='0' target='0' unit='0'/>
- </disk>
""",
    ),
    "another network has other port groups": (
        Domain(interfaces=(Interface(MAC, network="lab", link=False),)),
        """
- <source network='default' portgroup='web'/>
+ <source network='lab'/>
+ <link state='down'/>
""",
    ),
    "from a bridge into a network, plugged in": (
        Domain(interfaces=(Interface(BRIDGED, network="default", link=True),)),
        """
- <interface type='bridge'>
+ <interface type='network'>
- <source bridge='ovs0'/>
- <virtualport type='openvswitch'>
- <parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/>
- </virtualport>
+ <source network='default'/>
- <link state='down'/>
+ <link state='up'/>
""",
    ),
    "another bridge of the same switch": (
        Domain(interfaces=(Interface(BRIDGED, bridge="ovs1"),)),
        """
- <source bridge='ovs0'/>
+ <source bridge='ovs1'/>
""",
    ),
    "another model": (
        Domain(interfaces=(Interface(MAC, model="e1000e"),)),
        """
- <model type='virtio'/>
+ <model type='e1000e'/>
- <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
""",
    ),
    "a new interface": (
        Domain(interfaces=(Interface(NEW, bridge="br0"),)),
        """
+ <interface type='bridge'>
+ <mac address='52:54:00:00:00:02'/>
+ <source bridge='br0'/>
+ <model type='virtio'/>
+ </interface>
""",
    ),
    "no console": (
        Domain(console=False),
        """
- <serial type='pty'>
- <target type='isa-serial' port='0'>
- <model name='isa-serial'/>
- </target>
- </serial>
- <console type='pty'>
- <target type='serial' port='0'/>
- </console>
""",
    ),
    "another version of the machine": (
        Domain(machine="pc-q35-9.2"),
        """
- <type arch='x86_64' machine='pc-q35-10.0'>hvm</type>
+ <type arch='x86_64' machine='pc-q35-9.2'>hvm</type>
""",
    ),
    "UEFI": (
        Domain(firmware="efi"),
        """
- <os>
+ <os firmware='efi'>
""",
    ),
    "another kernel": (
        Domain(kernel="/srv/vmlinuz", initrd="", cmdline="a='b' <c> & \"d\""),
        """
- <kernel>/boot/vmlinuz</kernel>
- <initrd>/boot/initrd</initrd>
- <cmdline>root=/dev/vda1 x=&quot;a b&quot;</cmdline>
+ <kernel>/srv/vmlinuz</kernel>
+ <cmdline>a=&apos;b&apos; &lt;c&gt; &amp; &quot;d&quot;</cmdline>
""",
    ),
    "another system": (
        Domain(os_variant="http://debian.org/debian/12"),
        """
- <libosinfo:os id="http://ubuntu.com/ubuntu/22.04"/>
+ <libosinfo:os id="http://debian.org/debian/12"/>
""",
    ),
}


@pytest.mark.parametrize(("wish", "lines"), CASES.values(), ids=CASES)
def test_a_wish_changes_these_lines(wish: Domain, lines: str) -> None:
    assert changed(DOMAIN, wish).split("\n") == lines.strip().split("\n")
