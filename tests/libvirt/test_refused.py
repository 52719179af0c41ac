"""What libvirt refuses, the simulator refuses in the same words: vCPUs, I/O threads, their places."""

from __future__ import annotations

import pytest

from cxlstate.formats.domain_xml import read
from cxlstate.simulator.libvirt import refused
from cxlstate.simulator.libvirt.complete import complete
from cxlstate.simulator.libvirt.text import written
from tests.libvirt.oracle import Oracle, Refused

DOMAIN = """\
<domain type='qemu'>
  <name>fact</name>
  <memory unit='MiB'>64</memory>
  {}
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  {}
  <devices>{}</devices>
</domain>
"""
ONE = "<vcpu id='{}' enabled='{}' hotpluggable='{}'{}/>"


def states(*told: str) -> str:
    each = (one if one.startswith("<") else ONE.format(*one.split(" "), "") for one in told)
    return f"<vcpu>4</vcpu><vcpus>{''.join(each)}</vcpus>"


def tuned(vcpu: str, tune: str) -> str:
    return f"{vcpu}<cputune>{tune}</cputune>"


def topology(attributes: str) -> str:
    return f"<cpu><topology {attributes}/></cpu>"


DISK = (
    "<disk type='file' device='disk'><driver name='qemu' iothread='{}'/><source file='/a'/>"
    "<target dev='{}' bus='{}'/></disk>"
)
PAGES = "<memoryBacking><hugepages><page size='2' unit='MiB' nodeset='1'/></hugepages></memoryBacking>"
FILE = "<disk type='file' device='disk'><source file='/a'/>{}</disk>"
PLUG = "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/>{}</interface>"
DIRECT = "<interface type='direct'><source dev='eth0' mode='bridge'/>{}</interface>"
# vCPUs and tuning, the processor, devices.
ONE_VCPU = "<vcpu>1</vcpu>"
HUGE = "<memoryBacking><hugepages/>{}</memoryBacking>"
TAKEN = {
    "huge pages with a source that is a file": (ONE_VCPU + HUGE.format("<source type='file'/>"), "", ""),
    "huge pages that are shared": (ONE_VCPU + HUGE.format("<access mode='shared'/>"), "", ""),
    "all plugged in": ("<vcpu>4</vcpu>", "", ""),
    "two of four": ("<vcpu current='2'>4</vcpu>", "", ""),
    "255": ("<vcpu>255</vcpu>", "", ""),
    "four of four": ("<vcpu current='4'>4</vcpu>", "", ""),
    "one by one": (states("0 yes no", "1 yes no", "3 yes yes", "2 no yes"), "", ""),
    "some without a word": (states("<vcpu id='0' enabled='yes'/>"), "", ""),
    "the maximum has the topology": (
        "<vcpu current='2'>6</vcpu>",
        topology("sockets='1' cores='3' threads='2'"),
        "",
    ),
    "dies": ("<vcpu>8</vcpu>", topology("sockets='1' dies='2' cores='2' threads='2'"), ""),
    "pins up to the maximum": (
        tuned("<vcpu current='1'>3</vcpu>", "<vcpupin vcpu='2' cpuset='0'/><vcpupin vcpu='3' cpuset='0'/>"),
        "",
        "",
    ),
    "threads with numbers": (
        tuned(
            "<vcpu>1</vcpu><iothreads>3</iothreads>"
            "<iothreadids><iothread id='5'/><iothread id='1'/></iothreadids>",
            "<iothreadpin iothread='5' cpuset='0'/><iothreadpin iothread='2' cpuset='0'/>",
        ),
        "",
        "",
    ),
    "numbers without a count": (
        tuned(
            "<vcpu>1</vcpu><iothreadids><iothread id='7'/></iothreadids>",
            "<iothreadpin iothread='7' cpuset='0'/>",
        ),
        "",
        "",
    ),
}
MEMNODE = "<memnode cellid='3' mode='strict' nodeset='0'/>"
REFUSED = {
    "huge pages on demand": (ONE_VCPU + HUGE.format("<allocation mode='ondemand'/>"), "", ""),
    "huge pages of anonymous memory": (ONE_VCPU + HUGE.format("<source type='anonymous'/>"), "", ""),
    "memory of a cell that there is not": (
        f"<vcpu>1</vcpu><numatune><memory nodeset='0'/>{MEMNODE}</numatune>",
        "",
        "",
    ),
    "more than 255 without interrupts of an IOMMU": ("<vcpu>256</vcpu>", "", ""),
    "more than the maximum": ("<vcpu current='5'>4</vcpu>", "", ""),
    "another topology": ("<vcpu>4</vcpu>", topology("sockets='1' cores='4' threads='2'"), ""),
    "the topology of those plugged in": (
        "<vcpu current='4'>8</vcpu>",
        topology("sockets='1' cores='4' threads='1'"),
        "",
    ),
    "the topology without its dies": (
        "<vcpu>8</vcpu>",
        topology("sockets='1' dies='2' cores='4' threads='2'"),
        "",
    ),
    "a pin of no thread": (
        tuned("<vcpu>1</vcpu>", "<iothreadpin iothread='1' cpuset='0'/>"),
        "",
        "",
    ),
    "a pin of another thread": (
        tuned(
            "<vcpu>1</vcpu><iothreadids><iothread id='5'/><iothread id='6'/></iothreadids>",
            "<iothreadpin iothread='1' cpuset='0'/>",
        ),
        "",
        "",
    ),
    "two pins of a thread": (
        tuned(
            "<vcpu>1</vcpu><iothreads>1</iothreads>",
            "<iothreadpin iothread='1' cpuset='0'/><iothreadpin iothread='1' cpuset='1'/>",
        ),
        "",
        "",
    ),
    "a schedule of no thread": (
        tuned("<vcpu>1</vcpu>", "<iothreadsched iothreads='1' scheduler='batch'/>"),
        "",
        "",
    ),
    "a schedule of no vCPU": (
        tuned("<vcpu>2</vcpu>", "<vcpusched vcpus='0-2' scheduler='batch'/>"),
        "",
        "",
    ),
    "two schedules of a vCPU": (
        tuned(
            "<vcpu>2</vcpu>",
            "<vcpusched vcpus='0-1' scheduler='batch'/><vcpusched vcpus='1' scheduler='batch'/>",
        ),
        "",
        "",
    ),
    "one number twice": (
        "<vcpu>1</vcpu><iothreadids><iothread id='5'/><iothread id='5'/></iothreadids>",
        "",
        "",
    ),
    "a disk of no thread": ("<vcpu>1</vcpu>", "", DISK.format(1, "vda", "virtio")),
    "a thread for another bus": ("<vcpu>1</vcpu><iothreads>1</iothreads>", "", DISK.format(1, "sda", "sata")),
    "pages of no cell": (
        f"{PAGES}<vcpu>1</vcpu>",
        "<cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>",
        "",
    ),
    "an emulator that is not there": (
        "<vcpu>1</vcpu>",
        "",
        "<emulator>/usr/bin/qemu-system-s390x</emulator>",
    ),
    "tuning of a cache without KVM": (
        tuned(
            "<vcpu>1</vcpu>",
            "<cachetune vcpus='0'><cache id='0' level='3' type='both' size='3'/></cachetune>",
        ),
        "",
        "",
    ),
    "a NUMA node left out": (
        "<vcpu>1</vcpu>",
        "<cpu><numa><cell id='1' cpus='0' memory='64' unit='MiB'/></numa></cpu>",
        "",
    ),
    "memory of a node of none": (
        "<vcpu>1</vcpu><numatune><memnode cellid='0' mode='strict' nodeset='0'/></numatune>",
        "",
        "",
    ),
    "one node is not restrictive": (
        (
            "<vcpu>1</vcpu><numatune><memory mode='restrictive' nodeset='0'/>"
            "<memnode cellid='0' mode='strict' nodeset='0'/></numatune>"
        ),
        "<cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>",
        "",
    ),
    "a partition": ("<vcpu>1</vcpu>", "", FILE.format("<target dev='vda1' bus='virtio'/>")),
    "a drive at a PCI address": (
        "<vcpu>1</vcpu>",
        "",
        FILE.format("<target dev='sda' bus='sata'/><address type='pci' bus='0' slot='7'/>"),
    ),
    "an MTU of macvtap": ("<vcpu>1</vcpu>", "", DIRECT.format("<mtu size='1400'/>")),
    "coalescing of macvtap": (
        "<vcpu>1</vcpu>",
        "",
        DIRECT.format("<coalesce><rx><frames max='7'/></rx></coalesce>"),
    ),
    "a queue that is no power of two": (
        "<vcpu>1</vcpu>",
        "",
        PLUG.format("<model type='virtio'/><driver rx_queue_size='777'/>"),
    ),
    "a port without a type": (
        "<vcpu>1</vcpu>",
        "",
        PLUG.format("<virtualport><parameters profileid='p'/></virtualport>"),
    ),
    "an isolated port of Open vSwitch": (
        "<vcpu>1</vcpu>",
        "",
        PLUG.format("<virtualport type='openvswitch'/><port isolated='yes'/>"),
    ),
    "off and fixed": (states("0 yes no", "1 no no"), "", ""),
    "the first is off": (states("0 no yes", "1 yes yes"), "", ""),
    "the first can be unplugged": (states("0 yes yes"), "", ""),
    "fixed behind one that is not": (states("0 yes no", "1 yes yes", "2 yes no"), "", ""),
    "out of range": (states("0 yes no", "4 yes yes"), "", ""),
    "an order of some": (
        states(ONE.format(0, "yes", "no", " order='1'"), "1 yes yes"),
        "",
        "",
    ),
    "first in order, and second": (states(ONE.format(0, "yes", "no", " order='2'")), "", ""),
}


# Attributes of <os>, and what stands in it.
Q35 = "<type machine='q35'>hvm</type>"
BOOTED = """\
<domain type='qemu'>
  <name>a</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os {}>{}</os>
  <features><acpi/></features>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices>
</domain>
"""
OS_REFUSED = {
    "another processor": ("", "<type arch='aarch64' machine='virt'>hvm</type>"),
    "a machine that is too new": ("", "<type arch='x86_64' machine='pc-q35-99.0'>hvm</type>"),
    "keys without secure boot": (
        "firmware='efi'",
        (
            f"{Q35}<firmware><feature enabled='yes' name='enrolled-keys'/>"
            "<feature enabled='no' name='secure-boot'/></firmware>"
        ),
    ),
    "features of a firmware that is named": (
        "",
        (
            f"{Q35}<firmware><feature enabled='no' name='secure-boot'/></firmware>"
            "<loader type='pflash'>/a</loader>"
        ),
    ),
    "variables of a BIOS": ("firmware='bios'", f"{Q35}<loader stateless='no'/><nvram>/a</nvram>"),
    "a loader without a path": ("", f"{Q35}<loader type='pflash'/>"),
    "variables of what keeps none": (
        "",
        f"{Q35}<loader readonly='yes' type='pflash' stateless='yes'>/a</loader><nvram>/b</nvram>",
    ),
    "a ROM that keeps variables": ("", f"{Q35}<loader type='rom' stateless='no'>/a</loader>"),
}


@pytest.fixture(scope="module")
def oracle():
    with Oracle() as found:
        yield found


def simulated(xml: str) -> str:
    return written(complete(xml, {}, ovmf=True))


@pytest.mark.parametrize("parts", TAKEN.values(), ids=TAKEN)
def test_both_take_it_and_make_the_same_of_it(oracle: Oracle, parts: tuple[str, str, str]) -> None:
    xml = DOMAIN.format(*parts)
    real, ours = read(oracle.define(xml)), read(simulated(xml))
    for word in ("vcpu", "max_vcpu", "vcpupin", "iothreads", "iothreadpin"):
        assert getattr(ours, word) == getattr(real, word), word


@pytest.mark.parametrize("os", OS_REFUSED.values(), ids=OS_REFUSED)
def test_both_refuse_what_boots_it(oracle: Oracle, os: tuple[str, str]) -> None:
    xml = BOOTED.format(*os)
    with pytest.raises(Refused) as real:
        oracle.define(xml)
    with pytest.raises(refused.Refused) as ours:
        simulated(xml)
    assert str(ours.value) == str(real.value)


@pytest.mark.parametrize("parts", REFUSED.values(), ids=REFUSED)
def test_both_refuse_it_in_the_same_words(oracle: Oracle, parts: tuple[str, str, str]) -> None:
    xml = DOMAIN.format(*parts)
    with pytest.raises(Refused) as real:
        oracle.define(xml)
    with pytest.raises(refused.Refused) as ours:
        simulated(xml)
    assert str(ours.value) == str(real.value)
