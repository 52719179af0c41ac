"""Wishes for the domains of `domains.py`, as the rules for a spec let them through."""

from __future__ import annotations

from hypothesis import strategies as st

from cxlstate.core.domain import Cell, Disk, Domain, Interface, MemNode, Nvdimm, Topology
from tests.formats.domain_parts import MACS, NVDIMM_PATHS, TARGETS
from tests.formats.domains import MIB, Guest

GIB = 1 << 30
TRUE = st.sampled_from([True])
EITHER = st.none() | st.booleans()
CMDLINE = "console=ttyS0 x='1 2' <>&\""
VARIANTS = ("http://debian.org/debian/12", "http://ubuntu.com/ubuntu/24.04")

cpusets = st.frozensets(st.integers(0, 1), min_size=1)
nodesets = st.just(frozenset({0}))


def perhaps(*choices: object) -> st.SearchStrategy[object]:
    return st.sampled_from([None, *choices])


def _unique(one: st.SearchStrategy[object], key: str, at_most: int) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(one, unique_by=lambda each: getattr(each, key), max_size=at_most).map(tuple)


@st.composite
def wishes(draw: st.DrawFn, guest: Guest) -> Domain:
    """Some of the fields; those together that depend on each other."""
    cpus = draw(_cpus(guest))
    count = cpus.vcpu or guest.vcpu
    cells = len(cpus.cells) if cpus.cells else max(guest.cells, 1)
    nvdimm = draw(st.none() | _nvdimms(cells, guest))
    has_cells = cpus.cells or guest.cells or any(not one.absent for one in nvdimm or ())
    mode = draw(perhaps("strict", "preferred", "interleave", "restrictive"))
    memnode = st.builds(MemNode, st.integers(0, cells - 1), st.just(mode), nodesets)
    iothreads, kernel = draw(perhaps(1, 2, 5)), draw(perhaps("", "/srv/vmlinuz"))
    return Domain(
        memory=cpus.memory,
        vcpu=cpus.vcpu,
        vcpupin=draw(st.none() | _pins(0, count - 1)),
        emulatorpin=draw(st.none() | cpusets),
        iothreads=iothreads,
        iothreadpin=draw(_pins(1, iothreads)) if iothreads else None,
        numa_mode=mode,
        numa_nodeset=frozenset({0}) if mode else draw(st.none() | nodesets),
        memnodes=draw(st.none() | _unique(memnode, "cellid", 3)) if mode and has_cells else None,
        cpu_mode=draw(perhaps("host-passthrough", "host-model", "maximum")),
        topology=cpus.topology,
        cells=cpus.cells,
        hugepages=draw(perhaps(0, 2 * MIB, GIB)),
        nvdimm=nvdimm,
        disks=draw(st.none() | _unique(disks, "target", 3)),
        interfaces=draw(st.none() | _unique(interfaces, "mac", 2)),
        machine=draw(perhaps("q35", "pc-q35-9.0")),
        firmware=draw(perhaps("bios", "efi")),
        kernel=kernel,
        initrd=draw(perhaps("", "/srv/initrd")) if kernel else None,
        cmdline=draw(perhaps("", CMDLINE)) if kernel else None,
        os_variant=draw(perhaps(*VARIANTS)),
        console=draw(EITHER),
    )


@st.composite
def _cpus(draw: st.DrawFn, guest: Guest) -> Domain:
    """vCPUs, cells, memory and topology. Devices of no wish may be in any cell, so none of them goes."""
    vcpu = draw(perhaps(1, 2, 3, 5, 9))
    count = vcpu or guest.vcpu
    cells = draw(_cells(count, guest.cells)) if draw(st.booleans()) or (vcpu and guest.cells > 1) else None
    memory = None
    if cells:
        memory = draw(st.sampled_from([None, sum(cell.memory for cell in cells)]))
    elif guest.cells <= 1:
        memory = draw(st.none() | st.integers(64 << 10, 1 << 20).map(lambda kib: kib << 10))
    return Domain(
        vcpu=vcpu,
        memory=memory,
        cells=cells,
        topology=draw(st.sampled_from([None, Topology(1, count, 1), Topology(count, 1, 1)])),
    )


@st.composite
def _cells(draw: st.DrawFn, vcpu: int, at_least: int) -> tuple[Cell, ...]:
    count = draw(st.integers(max(1, at_least), 3))
    sizes = [draw(st.integers(64, 512)) * MIB for _ in range(count)]
    return tuple(
        Cell(number, frozenset(range(number, vcpu, count)), size) for number, size in enumerate(sizes)
    )


@st.composite
def _pins(draw: st.DrawFn, low: int, high: int) -> tuple[tuple[int, frozenset[int]], ...]:
    numbers = draw(st.lists(st.integers(low, high), unique=True, max_size=3))
    return tuple((number, draw(cpusets)) for number in sorted(numbers))


@st.composite
def _nvdimms(draw: st.DrawFn, cells: int, guest: Guest) -> tuple[Nvdimm, ...]:
    """New ones in slots that are free; some of those that are there, by their path."""
    sizes = st.integers(1, 64).map(lambda number: number * 4 * MIB)
    free = sorted({0, 1, 2, 3, 6, 7} - guest.slots)
    new = st.builds(
        Nvdimm,
        path=st.sampled_from([f"/dev/cxlstate/cxl{number}" for number in (5, 6, 7)]),
        size=sizes,
        label=perhaps(128 << 10, 2 * MIB),
        alignsize=perhaps(2 * MIB, 4 << 10),
        pmem=EITHER,
        access=perhaps("shared", "private"),
        node=st.none() | st.integers(0, cells - 1),
        slot=st.sampled_from(free or [0]),
    )
    gone = st.builds(Nvdimm, path=st.sampled_from(NVDIMM_PATHS), absent=TRUE)
    changed = st.builds(Nvdimm, path=st.sampled_from(NVDIMM_PATHS), pmem=TRUE, size=sizes)
    news = st.lists(new, unique_by=(lambda each: each.slot, lambda each: each.path), max_size=2)
    return (*(draw(news) if free else ()), *draw(_unique(gone | changed, "path", 2)))


disks = (
    st.builds(
        Disk,
        target=st.sampled_from(TARGETS),
        path=st.sampled_from(["/images/new.qcow2", "/dev/vg/lv", "/images/vda.qcow2"]),
        format=perhaps("raw", "qcow2"),
        bus=perhaps("virtio", "usb"),
        cache=perhaps("none", "writeback", "default", "unsafe"),
        device=perhaps("disk"),
    )
    | st.builds(Disk, st.just("vdb"), st.just("/images/b.raw"), readonly=EITHER)
    | st.builds(Disk, st.sampled_from(["sda", "sdc"]), perhaps("/a.iso"), device=st.just("cdrom"))
    | st.builds(Disk, st.sampled_from(TARGETS), absent=TRUE)
)
interfaces = (
    st.builds(
        Interface,
        mac=st.sampled_from(MACS),
        network=st.sampled_from(["default", "lab"]),
        model=perhaps("virtio", "e1000e"),
        link=EITHER,
    )
    | st.builds(Interface, st.sampled_from(MACS), bridge=st.just("br1"))
    | st.builds(Interface, st.sampled_from(MACS), absent=TRUE)
)
