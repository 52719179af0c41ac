"""What of a wish is not there, and how that is said."""

from __future__ import annotations

import pytest

from cxlstate.core.domain import Cell, Disk, Domain, Interface, MemNode, Nvdimm, Topology
from cxlstate.formats.domain_xml import Difference, differences, read
from tests.formats.domain_example import DOMAIN

MIB, GIB = 1 << 20, 1 << 30
MAC, NEW = "52:54:00:fc:10:bd", "52:54:00:00:00:02"
PATH = "/dev/cxlstate/cxl0"
LIVE = read(DOMAIN)


def cpus(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


CASES = {
    "memory": (Domain(memory=96 * GIB), [(("memory",), "4GiB", "96GiB")]),
    "vcpu": (Domain(vcpu=16), [(("vcpu",), 4, 16)]),
    "pins": (
        Domain(vcpupin=((0, cpus(1)), (1, cpus(3, 4)), (3, cpus(8))), emulatorpin=cpus(1)),
        [
            (("vcpupin", 1), None, "3-4"),
            (("vcpupin", 2), "7", "8"),
            (("emulatorpin",), "0", "1"),
        ],
    ),
    "I/O threads": (
        Domain(iothreads=3, iothreadpin=((1, cpus(0)), (2, cpus(8)))),
        [(("iothreads",), 2, 3), (("iothreadpin", 0), None, "0"), (("iothreadpin", 1), "9", "8")],
    ),
    "numatune": (
        Domain(
            numa_mode="preferred",
            numa_nodeset=cpus(0, 1),
            memnodes=(MemNode(1, "strict", cpus(0)), MemNode(0, "preferred", cpus(0))),
        ),
        [
            (("numatune", "mode"), "strict", "preferred"),
            (("numatune", "nodeset"), "1", "0-1"),
            (("numatune", "memnode", 0), None, "cell 1 strict from node 0"),
            (("numatune", "memnode", 1, "mode"), "strict", "preferred"),
            (("numatune", "memnode", 1, "nodeset"), "1", "0"),
        ],
    ),
    "no memnode": (
        Domain(memnodes=()),
        [(("numatune", "memnode"), "cell 0 strict from node 1", None)],
    ),
    "CPU": (
        Domain(cpu_mode="host-model", topology=Topology(2, 2, 1)),
        [
            (("cpu", "mode"), "custom", "host-model"),
            (("cpu", "topology"), "sockets 1, cores 4, threads 1", "sockets 2, cores 2, threads 1"),
        ],
    ),
    "cells": (
        Domain(cells=(Cell(0, cpus(0, 1), 3 * GIB), Cell(1, cpus(), GIB))),
        [
            (("cpu", "numa", 0, "cpus"), "0-3", "0-1"),
            (("cpu", "numa", 0, "memory"), "4GiB", "3GiB"),
            (("cpu", "numa", 1), None, "cell 1: CPUs none, 1GiB"),
        ],
    ),
    "no cells": (Domain(cells=()), [(("cpu", "numa"), "cell 0: CPUs 0-3, 4GiB", None)]),
    "pages": (Domain(hugepages=0), [(("hugepages",), "2MiB", "the host's default size")]),
    "an NVDIMM by its slot": (
        Domain(nvdimm=(Nvdimm("/dev/dax0.0", GIB, MIB, 4096, pmem=False, access="private", node=1, slot=1),)),
        [
            (("nvdimm", 0, "path"), PATH, "/dev/dax0.0"),
            (("nvdimm", 0, "size"), "2GiB", "1GiB"),
            (("nvdimm", 0, "label"), "16MiB", "1MiB"),
            (("nvdimm", 0, "alignsize"), "2MiB", "4KiB"),
            (("nvdimm", 0, "pmem"), True, False),
            (("nvdimm", 0, "access"), "shared", "private"),
            (("nvdimm", 0, "node"), 0, 1),
        ],
    ),
    "an NVDIMM by its path": (Domain(nvdimm=(Nvdimm(PATH, slot=4),)), [(("nvdimm", 0, "slot"), 1, 4)]),
    "another NVDIMM": (
        Domain(nvdimm=(Nvdimm(PATH), Nvdimm("/dev/cxlstate/cxl1", 96 * GIB, slot=2), Nvdimm(slot=5))),
        [
            (("nvdimm", 1), None, "96GiB from /dev/cxlstate/cxl1 in slot 2"),
            (("nvdimm", 2), None, "an NVDIMM in slot 5"),
        ],
    ),
    "no NVDIMM": (
        Domain(nvdimm=(Nvdimm("/never", absent=True), Nvdimm(PATH, absent=True))),
        [(("nvdimm", 1), f"2GiB from {PATH} in slot 1", None)],
    ),
    "a disk": (
        Domain(disks=(Disk("vda", "/b", "raw", "scsi", "default", readonly=True, device="cdrom"),)),
        [
            (("disks", 0, "path"), "/images/a.qcow2", "/b"),
            (("disks", 0, "format"), "qcow2", "raw"),
            (("disks", 0, "bus"), "virtio", "scsi"),
            (("disks", 0, "cache"), "none", "default"),
            (("disks", 0, "device"), "disk", "cdrom"),
        ],
    ),
    "a disk that can be readonly": (
        Domain(disks=(Disk("vda", readonly=True), Disk("sda", device="disk", readonly=False))),
        [
            (("disks", 0, "readonly"), False, True),
            (("disks", 1, "readonly"), True, False),
            (("disks", 1, "device"), "cdrom", "disk"),
        ],
    ),
    "disks that come and go": (
        Domain(disks=(Disk("vdc", "/c", "raw"), Disk("vdd", device="cdrom"), Disk("vda", absent=True))),
        [
            (("disks", 0), None, "/c (raw)"),
            (("disks", 1), None, "no path (cdrom)"),
            (("disks", 2), "/images/a.qcow2 (qcow2, virtio)", None),
        ],
    ),
    "an interface": (
        Domain(interfaces=(Interface(NEW, absent=True), Interface(MAC, "lab", None, "e1000e", link=False))),
        [
            (("interfaces", 1, "network"), "default", "lab"),
            (("interfaces", 1, "model"), "virtio", "e1000e"),
            (("interfaces", 1, "link"), "up", "down"),
        ],
    ),
    "interfaces that come and go": (
        Domain(
            interfaces=(
                Interface(NEW, network="lab"),
                Interface("52:54:00:00:00:03", bridge="br0"),
                Interface(MAC, bridge="br0"),
                Interface("52:54:00:00:00:01", absent=True),
                Interface("52:54:00:00:00:04"),
            )
        ),
        [
            (("interfaces", 0), None, f"{NEW} in network lab"),
            (("interfaces", 1), None, "52:54:00:00:00:03 in bridge br0"),
            (("interfaces", 2, "bridge"), "network default", "br0"),
            (("interfaces", 3), "52:54:00:00:00:01 in bridge ovs0", None),
            (("interfaces", 4), None, "52:54:00:00:00:04 in elsewhere"),
        ],
    ),
    "the rest": (
        Domain(machine="pc", firmware="efi", kernel="", initrd="/i", os_variant="x", console=False),
        [
            (("os", "machine"), "pc-q35-10.0", "pc"),
            (("os", "firmware"), "bios", "efi"),
            (("os", "kernel"), "/boot/vmlinuz", None),
            (("os", "initrd"), "/boot/initrd", "/i"),
            (("os_variant",), "http://ubuntu.com/ubuntu/22.04", "x"),
            (("console",), True, False),
        ],
    ),
}


@pytest.mark.parametrize(("wish", "found"), CASES.values(), ids=CASES)
def test_a_difference_has_the_words_of_the_spec(wish: Domain, found: list[tuple[object, ...]]) -> None:
    said = [(one.path, one.old, one.new) for one in differences(wish, LIVE)]
    assert said == found


def test_what_is_not_there_at_all_differs_in_everything() -> None:
    wish = Domain(memory=GIB, vcpu=2, iothreads=0, disks=(Disk("vda", "/a"),), kernel="", console=True)
    assert differences(wish, Domain()) == (
        Difference(("memory",), None, "1GiB"),
        Difference(("vcpu",), None, 2),
        Difference(("disks", 0), None, "/a"),
        Difference(("console",), None, True),  # noqa: FBT003 -- a value
    )


def test_of_two_with_one_name_the_first_is_meant() -> None:
    live = Domain(disks=(Disk("vda", "/a"), Disk("vda", "/b")))
    assert differences(Domain(disks=(Disk("vda", "/a"),)), live) == ()


MODULE = Nvdimm(PATH, 3 * MIB, slot=0)
RUNNING = {
    "cells are rounded up to 1 MiB": (
        Domain(memory=2 * MIB + 2, cells=(Cell(0, cpus(0), MIB + 1), Cell(1, cpus(1), MIB + 1))),
        Domain(memory=4 * MIB, cells=(Cell(0, cpus(0), 2 * MIB), Cell(1, cpus(1), 2 * MIB))),
        [],
    ),
    "memory without cells, too": (Domain(memory=MIB + 1), Domain(memory=2 * MIB), []),
    "but no further": (
        Domain(memory=MIB, cells=(Cell(0, cpus(0), MIB),)),
        Domain(memory=2 * MIB, cells=(Cell(0, cpus(0), 2 * MIB),)),
        [("memory",), ("cpu", "numa", 0, "memory")],
    ),
    "and not down": (Domain(memory=2 * MIB), Domain(memory=MIB), [("memory",)]),
    "modules are rounded up to 2 MiB": (
        Domain(nvdimm=(MODULE,)),
        Domain(nvdimm=(Nvdimm(PATH, 4 * MIB, slot=0),)),
        [],
    ),
    "and no further, either": (
        Domain(nvdimm=(MODULE,)),
        Domain(nvdimm=(Nvdimm(PATH, 5 * MIB, slot=0),)),
        [("nvdimm", 0, "size")],
    ),
    "the host's model is shown as what it came to": (
        Domain(cpu_mode="host-model"),
        Domain(cpu_mode="custom"),
        [],
    ),
    "which is not so of others": (
        Domain(cpu_mode="host-passthrough"),
        Domain(cpu_mode="custom"),
        [("cpu", "mode")],
    ),
}


@pytest.mark.parametrize(("wish", "live", "paths"), RUNNING.values(), ids=RUNNING)
def test_a_running_domain_is_what_libvirt_makes_of_the_wish(
    wish: Domain, live: Domain, paths: list[object]
) -> None:
    assert [one.path for one in differences(wish, live, running=True)] == paths
    assert differences(wish, live) != ()


def test_sizes_are_the_same_if_libvirt_keeps_the_same_of_them() -> None:
    assert differences(Domain(memory=MIB - 1, hugepages=MIB - 1), Domain(memory=MIB, hugepages=MIB)) == ()
    assert differences(Domain(memory=MIB + 1), Domain(memory=MIB)) != ()


@pytest.mark.parametrize(
    ("wished", "there"),
    [
        ("q35", "pc-q35-rhel9.4.0"),
        ("ubuntu-q35", "pc-q35-noble-v2"),
        ("q35", "ubuntu-q35"),
        ("ubuntu", "pc-i440fx-jammy"),
        ("pc", "ubuntu"),
    ],
)
def test_a_machine_of_a_distribution_is_one_of_its_chipset(wished: str, there: str) -> None:
    xml = f"<domain><os><type machine='{there}'>hvm</type></os></domain>"
    assert not differences(Domain(machine=wished), read(xml))
