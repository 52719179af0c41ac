"""What a real libvirt says to the domains that we write, and what it makes of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxlstate.core.domain import Cell, Disk, Domain, Interface, MemNode, Nvdimm, Topology
from cxlstate.formats.domain_xml import differences, merge, new, read
from cxlstate.formats.xml import parse, serialise
from cxlstate.simulator.libvirt.complete import complete
from cxlstate.simulator.libvirt.refused import Refused as Unsupported
from tests.formats.domains import guests, known
from tests.formats.leftovers import LEFT, REFUSED
from tests.formats.wishes import wishes
from tests.libvirt.oracle import Oracle, Refused

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

pytestmark = pytest.mark.slow  # to ask QEMU what it can takes libvirt seconds, once


@pytest.fixture(scope="module")
def libvirt() -> Iterator[Oracle]:
    with Oracle() as oracle:
        yield oracle


def here(libvirt: Oracle, xml: str) -> str:
    """Where there is no KVM, the same guest is emulated."""
    if libvirt.has_kvm:
        return xml
    return xml.replace("type='kvm'", "type='qemu'").replace("host-passthrough", "maximum")


def wished_here(libvirt: Oracle, wish: Domain) -> Domain:
    emulated = not libvirt.has_kvm and wish.cpu_mode == "host-passthrough"
    return replace(wish, cpu_mode="maximum") if emulated else wish


def defined_and_in_sync(libvirt: Oracle, xml: str, wish: Domain) -> str:
    """What libvirt makes of it: nothing that differs, and nothing to do."""
    defined = libvirt.define(xml)
    assert differences(wish, read(defined)) == ()
    assert merge(defined, wish) == defined
    return defined


def edited(libvirt: Oracle, xml: str, wish: Domain, seen: Counter[str]) -> str | None:
    """A merge that libvirt takes, or one that was refused before it was asked."""
    try:
        merged = merge(xml, wish)
    except ValueError:
        seen["refused by us"] += 1
        return None
    seen["defined"] += 1
    return defined_and_in_sync(libvirt, merged, wish)


def edits(libvirt: Oracle, data: Any, seen: Counter[str]) -> None:
    """What libvirt took, it takes with what is wished; and its own words for that, too."""
    guest = data.draw(guests())
    seen["guests"] += 1
    libvirt.define(here(libvirt, guest.xml))  # what we generate is a domain in libvirt's eyes
    wish = wished_here(libvirt, data.draw(wishes(guest)))
    defined = edited(libvirt, here(libvirt, guest.xml), wish, seen)
    if defined is None:
        return
    assert serialise(parse(defined), defined) == defined
    edited(libvirt, defined, wished_here(libvirt, data.draw(wishes(known(defined)))), seen)


def test_a_vm_just_defined_is_in_sync(libvirt: Oracle) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def law(data: Any) -> None:
        edits(libvirt, data, seen)

    law()
    assert seen["defined"] > seen["guests"]  # that is, most of the first and many of the second wishes


# What is left behind ----------------------------------------------------------------------------------

BOTH = LEFT | {name: left for name, (left, _) in REFUSED.items()}


@pytest.mark.parametrize("name", BOTH)
def test_what_an_edit_looks_at_libvirt_would_have_refused(libvirt: Oracle, name: str) -> None:
    """And the simulator with it; what an edit makes of it, it takes."""
    left = BOTH[name]
    libvirt.define(left.before())
    if left.why:  # of a newer element, an older one reads nothing
        with pytest.raises(Refused, match=re.escape(left.why)):
            libvirt.define(left.after())
        with pytest.raises(Unsupported, match=re.escape(left.why)):
            complete(left.after(), {}, ovmf=False)
    if name in LEFT:
        defined_and_in_sync(libvirt, merge(left.before(), left.wish), left.wish)


# New ones ---------------------------------------------------------------------------------------------


def cpus(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


NEW = {
    "as little as may be": Domain(memory=64 * MIB),
    "the other chipset and firmware": Domain(memory=64 * MIB, machine="pc", firmware="bios", console=False),
    "the one of the handbook": Domain(
        memory=96 * GIB,
        vcpu=16,
        vcpupin=tuple((number, cpus(2 * number + 1)) for number in range(16)),
        numa_mode="strict",
        numa_nodeset=cpus(0),
        cpu_mode="host-passthrough",
        cells=(Cell(0, cpus(*range(16)), 96 * GIB),),
        nvdimm=(
            Nvdimm(
                "/dev/cxlstate/cxl0", 96 * GIB, 16 * MIB, 2 * MIB, pmem=True, access="shared", node=0, slot=1
            ),
        ),
        disks=(Disk("vda", "/var/lib/libvirt/images/cxl_vmx.qcow2", "qcow2"),),
        interfaces=(Interface("52:54:00:fc:10:bd", network="default", model="virtio"),),
    ),
    "much of everything": Domain(
        memory=3 * GIB,
        vcpu=4,
        emulatorpin=cpus(0),
        iothreads=2,
        iothreadpin=((1, cpus(0)), (2, cpus(1))),
        numa_mode="preferred",
        numa_nodeset=cpus(0),
        memnodes=(MemNode(1, "preferred", cpus(0)),),
        cpu_mode="host-model",
        topology=Topology(2, 2, 1),
        cells=(Cell(0, cpus(0, 1), GIB), Cell(1, cpus(2, 3), 2 * GIB)),
        hugepages=2 * MIB,
        nvdimm=(Nvdimm("/dev/dax0.0", GIB, node=1), Nvdimm("/dev/dax1.0", GIB, slot=3)),
        disks=(
            Disk("vda", "/dev/vg/lv", "raw", cache="none", readonly=True),
            Disk("sda", "/a.iso", device="cdrom"),
            Disk("sdb", "/b.raw", "raw", bus="scsi"),
        ),
        interfaces=(
            Interface("52:54:00:00:00:01", bridge="br0", model="e1000e", link=False),
            Interface("52:54:00:00:00:02", network="default", link=True),
        ),
        kernel="/boot/vmlinuz",
        initrd="/boot/initrd",
        cmdline="root=/dev/vda1 x='<&>\"'",
        os_variant="http://debian.org/debian/12",
    ),
}


@pytest.mark.parametrize("wish", NEW.values(), ids=NEW)
def test_a_new_vm_is_taken_and_in_sync(libvirt: Oracle, wish: Domain) -> None:
    wish = wished_here(libvirt, wish)
    defined_and_in_sync(libvirt, here(libvirt, new("made", wish)), wish)


# Running ones -----------------------------------------------------------------------------------------

STARTED = {
    "odd memory and pins": Domain(
        memory=131073 * KIB,
        vcpu=2,
        vcpupin=((1, cpus(0)),),
        emulatorpin=cpus(0),
        iothreads=1,
        iothreadpin=((1, cpus(0)),),
        cpu_mode="maximum",
    ),
    "odd cells": Domain(
        memory=(65537 + 65539) * KIB,
        vcpu=2,
        topology=Topology(1, 2, 1),
        cells=(Cell(0, cpus(0), 65537 * KIB), Cell(1, cpus(1), 65539 * KIB)),
        cpu_mode="maximum",
    ),
    "an NVDIMM of odd size": Domain(
        memory=64 * MIB,
        nvdimm=(Nvdimm("FOLDER/nvdimm", 130000 * KIB, 128 * KIB, 2 * MIB, access="shared", slot=1),),
        cpu_mode="maximum",
    ),
    "a CPU like the host's": Domain(memory=64 * MIB, cpu_mode="host-model", machine="pc"),
}


@pytest.mark.parametrize("wish", STARTED.values(), ids=STARTED)
def test_a_vm_just_started_is_in_sync(libvirt: Oracle, wish: Domain) -> None:
    """Emulated: where tests run, KVM is often there and does not work."""
    nvdimm = tuple(
        replace(one, path=str(one.path).replace("FOLDER", str(libvirt.folder))) for one in wish.nvdimm or ()
    )
    wish = replace(wish, nvdimm=nvdimm)
    xml = new("started", wish).replace("type='kvm'", "type='qemu'")
    inactive, active = libvirt.define(xml), libvirt.run(xml)
    assert differences(wish, read(active), running=True) == ()
    assert differences(read(inactive), read(active), running=True) == ()
    assert differences(wish, read(active)) != ()  # which is why a running one is compared in its own way


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ("<domain type='qemu'><name>x</name></domain>", "an os <type> must be specified"),
        ("<domain type='qemu'><name>x</name><memory>1</memory><nonsense/></domain>", "schema"),
    ],
)
def test_the_libvirt_that_is_asked_can_say_no(libvirt: Oracle, xml: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        libvirt.define(xml)
