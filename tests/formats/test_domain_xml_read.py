"""What a domain's XML says, in owned words."""

from __future__ import annotations

import pytest

from cxlstate.core.domain import Cell, Disk, Domain, Interface, MemNode, Nvdimm, Topology
from cxlstate.formats.domain_xml import read
from cxlstate.formats.domain_xml.meaning import chipset, cpus, is_machine, mac, size
from tests.formats.domain_example import DOMAIN

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def test_everything_that_a_spec_can_own_is_read() -> None:
    assert read(DOMAIN) == Domain(
        memory=4 * GIB,
        vcpu=4,
        vcpupin=((0, frozenset({1})), (3, frozenset({7}))),
        emulatorpin=frozenset({0}),
        iothreads=2,
        iothreadpin=((2, frozenset({9})),),
        numa_mode="strict",
        numa_nodeset=frozenset({1}),
        memnodes=(MemNode(0, "strict", frozenset({1})),),
        cpu_mode="custom",
        topology=Topology(1, 4, 1, dies=1),
        cells=(Cell(0, frozenset({0, 1, 2, 3}), 4 * GIB),),
        hugepages=2 * MIB,
        nvdimm=(
            Nvdimm(
                path="/dev/cxlstate/cxl0",
                size=2 * GIB,
                label=16 * MIB,
                alignsize=2 * MIB,
                pmem=True,
                access="shared",
                node=0,
                slot=1,
            ),
        ),
        disks=(
            Disk("vda", "/images/a.qcow2", "qcow2", "virtio", "none", readonly=False, device="disk"),
            Disk("vdb", None, "raw", "virtio", readonly=False, device="disk"),
            Disk("sda", None, "raw", "sata", readonly=True, device="cdrom"),
        ),
        interfaces=(
            Interface("52:54:00:fc:10:bd", network="default", model="virtio", link=True),
            Interface("52:54:00:00:00:01", bridge="ovs0", model="virtio", link=False),
        ),
        machine="pc-q35-10.0",
        firmware="bios",
        kernel="/boot/vmlinuz",
        initrd="/boot/initrd",
        cmdline='root=/dev/vda1 x="a b"',
        os_variant="http://ubuntu.com/ubuntu/22.04",
        console=True,
    )


def test_what_the_xml_has_no_word_for_is_nothing() -> None:
    assert read("<domain/>") == Domain(console=False)


def device(text: str) -> str:
    return f"<domain><devices>{text}</devices></domain>"


CASES: dict[str, tuple[str, str, object]] = {
    "memory without cells is without its devices": (
        (
            "<domain><memory unit='MiB'>3</memory><devices><memory model='dimm'><target><size>1024</size>"
            "</target></memory></devices></domain>"
        ),
        "memory",
        2 * MIB,
    ),
    "memory with cells is theirs": (
        (
            "<domain><memory>1</memory><cpu><numa><cell memory='1' unit='MiB'/><cell memory='1024'/></numa>"
            "</cpu></domain>"
        ),
        "memory",
        2 * MIB,
    ),
    "cells stand by their number": (
        (
            "<domain><cpu><numa><cell id='1' memory='1'/><cell id='0' cpus='0' memory='2'/></numa></cpu>"
            "</domain>"
        ),
        "cells",
        (Cell(0, frozenset({0}), 2 * KIB), Cell(1, frozenset(), KIB)),
    ),
    "the vCPUs that it starts with": ("<domain><vcpu current='2'>8</vcpu></domain>", "vcpu", 2),
    "I/O threads that are only named": (
        "<domain><iothreadids><iothread id='4'/></iothreadids></domain>",
        "iothreads",
        1,
    ),
    "more I/O threads than are named": (
        "<domain><iothreads>3</iothreads><iothreadids><iothread id='4'/></iothreadids></domain>",
        "iothreads",
        3,
    ),
    "nodes that libvirt chooses": (
        "<domain><numatune><memory placement='auto'/></numatune></domain>",
        "numa_nodeset",
        None,
    ),
    "a mode that is not said": (
        "<domain><numatune><memory nodeset='0'/></numatune></domain>",
        "numa_mode",
        "strict",
    ),
    "a CPU of which only the model is said": (
        "<domain><cpu><model>x</model></cpu></domain>",
        "cpu_mode",
        "custom",
    ),
    "a CPU of which nothing is said": ("<domain><cpu><numa/></cpu></domain>", "cpu_mode", None),
    "pages of the default size": (
        "<domain><memoryBacking><hugepages/></memoryBacking></domain>",
        "hugepages",
        0,
    ),
    "pages of single cells": (
        (
            "<domain><memoryBacking><hugepages><page size='1' unit='G' nodeset='0'/></hugepages>"
            "</memoryBacking></domain>"
        ),
        "hugepages",
        None,
    ),
    "no pages": ("<domain><memoryBacking><locked/></memoryBacking></domain>", "hugepages", None),
    "an NVDIMM that says little, in a slot in hex": (
        device(
            "<memory model='nvdimm'><source><path>/a</path></source><address type='dimm' slot='0x1'/>"
            "</memory>"
        ),
        "nvdimm",
        (Nvdimm("/a", pmem=False, slot=1),),
    ),
    "a disk that says nothing": (
        device("<disk/>"),
        "disks",
        (Disk("", readonly=False, device="disk"),),
    ),
    "a block device": (
        device("<disk type='block'><source dev='/dev/a'/><target dev='sda'/></disk>"),
        "disks",
        (Disk("sda", "/dev/a", readonly=False, device="disk"),),
    ),
    "an interface that says nothing": (
        device("<interface type='user'/>"),
        "interfaces",
        (Interface("", link=True),),
    ),
    "the bridge of a running one's network": (
        device("<interface type='bridge'><source network='lan' portid='1' bridge='br0'/></interface>"),
        "interfaces",
        (Interface("", network="lan", link=True),),
    ),
    "a port to a file": (device("<serial type='file'/>"), "console", False),
    "a console alone": (device("<console type='pty'/>"), "console", True),
    "firmware that is named by hand": (
        "<domain><os><loader type='pflash'>/x</loader></os></domain>",
        "firmware",
        "efi",
    ),
    "a ROM that is named by hand": (
        "<domain><os><loader type='rom'>/x</loader></os></domain>",
        "firmware",
        "rom",
    ),
    "a ROM, as a loader is without a type": (
        "<domain><os><loader stateless='yes'>/OVMF.amdsev.fd</loader></os></domain>",
        "firmware",
        "rom",
    ),
    "no loader": ("<domain><os><loader/></os></domain>", "firmware", "bios"),
    "firmware that libvirt looks for": ("<domain><os firmware='efi'/></domain>", "firmware", "efi"),
    "an empty kernel": ("<domain><os><kernel/></os></domain>", "kernel", None),
}


@pytest.mark.parametrize(("xml", "field", "value"), CASES.values(), ids=CASES)
def test_a_field_is_read_by_its_meaning(xml: str, field: str, value: object) -> None:
    assert getattr(read(xml), field) == value


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ("<memory>much</memory>", "not a size: 'much'"),
        ("<memory/>", "not a size: ''"),
        ("<memory unit='Gi'>1</memory>", "not a unit that libvirt knows: 'gi'"),
        ("<memory>-1</memory>", "not a size"),
        ("<vcpu>٣</vcpu>", "the number of vCPUs is no number"),
        ("<cputune><vcpupin vcpu='0' cpuset='3-1'/></cputune>", "not a set of numbers: '3-1'"),
        ("<cputune><vcpupin cpuset='1'/></cputune>", "the vcpu of a vcpupin is no number: ''"),
        ("<cpu><numa><cell/></numa></cpu>", "not a size"),
        ("<cpu><topology sockets='1'/></cpu>", "cores of the topology is no number"),
        (
            "<devices><memory model='nvdimm'><address type='dimm' slot='x'/></memory></devices>",
            "the slot of an NVDIMM is no number: 'x'",
        ),
    ],
)
def test_what_libvirt_could_not_read_is_not_guessed(xml: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(f"<domain>{xml}</domain>")


@pytest.mark.parametrize(
    ("text", "unit", "number"),
    [
        ("7", None, 7 * KIB),
        (" 7\n", "", 7 * KIB),
        ("7", "b", 7),
        ("7", "bytes", 7),
        ("7", "KB", 7000),
        ("7", "k", 7 * KIB),
        ("7", "kib", 7 * KIB),
        ("7", "M", 7 * MIB),
        ("7", "MB", 7_000_000),
        ("7", "GiB", 7 * GIB),
        ("7", "TB", 7 * 10**12),
        ("7", "E", 7 << 60),
    ],
)
def test_sizes_have_libvirts_units(text: str, unit: str | None, number: int) -> None:
    assert size(text, unit) == number


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0-3,^2", {0, 1, 3}), ("0", {0}), (" 1, 3 - 4\n", {1, 3, 4}), ("", set()), (None, set())],
)
def test_sets_have_libvirts_syntax(text: str | None, numbers: set[int]) -> None:
    assert cpus(text) == numbers


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("52:54:00:FC:10:BD", "52:54:00:fc:10:bd"),
        ("52:54:0:A:b:0", "52:54:00:0a:0b:00"),
        (None, ""),
        ("", ""),
    ],
)
def test_addresses_are_in_lower_case_with_two_digits(text: str | None, normal: str) -> None:
    assert mac(text) == normal


@pytest.mark.parametrize(
    ("wished", "live"),
    [
        ("q35", "pc-q35-10.0"),
        ("q35", "pc-q35-jammy"),
        ("q35", "q35"),
        ("pc", "pc-i440fx-10.0"),
        ("pc-q35-10.0", "pc-q35-10.0"),
        ("microvm", "microvm"),
    ],
)
def test_an_alias_is_any_version_of_its_machine(wished: str, live: str) -> None:
    assert is_machine(wished, live)


@pytest.mark.parametrize(
    ("wished", "live"),
    [
        ("q35", "pc-i440fx-10.0"),
        ("pc", "pc-q35-10.0"),
        ("pc-q35-10.0", "pc-q35-10.1"),
        ("pc-q35-1", "pc-q35-10.0"),
        ("q35", None),
    ],
)
def test_and_no_other_machine(wished: str, live: str | None) -> None:
    assert not is_machine(wished, live)


@pytest.mark.parametrize(
    ("machine", "name"),
    [("q35", "q35"), ("pc-q35-9.2", "q35"), ("pc", "pc"), ("pc-i440fx-9.2", "pc"), ("microvm", "microvm")],
)
def test_the_chipset_is_in_the_name(machine: str, name: str) -> None:
    assert chipset(machine) == name


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("<disk><source file='/a'/></disk>", None),
        ("<disk device='cdrom'/>", None),
        ("<disk type='volume'><source pool='default' volume='a.qcow2'/></disk>", "volume default/a.qcow2"),
        (
            "<disk type='network'><source protocol='https' name='a.iso' query='token=x'/></disk>",
            "network https/a.iso",
        ),
        ("<disk type='vhostuser'><source type='unix' path='/run/b.sock'/></disk>", "vhostuser /run/b.sock"),
        ("<interface type='network'><source network='lan' bridge='virbr1'/></interface>", "network lan"),
        ("<interface type='bridge'><source bridge='br0'/></interface>", "bridge br0"),
        ("<interface type='direct'><source dev='eth0' mode='vepa'/></interface>", "direct eth0"),
        ("<interface type='hostdev'><source><address type='pci'/></source></interface>", "hostdev"),
        ("<interface/>", "user"),
    ],
)
def test_what_a_device_is_connected_to_is_said_in_few_words(device: str, said: str | None) -> None:
    found = read(f"<domain><devices>{device}</devices></domain>")
    (one,) = found.disks or found.interfaces or ()
    assert one.source == said
