"""Domains for hypothesis, as libvirt writes them and as people do.

They are made so that libvirt's QEMU driver takes them; `tests/libvirt` proves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent

from hypothesis import strategies as st

from cxlstate.formats.domain_xml.read import document
from tests.formats.domain_parts import (
    BACKING,
    BOOTS,
    CPUS,
    DEVICES,
    FEATURES,
    KERNELS,
    LOADERS,
    MACS,
    METADATA,
    NAMESPACE,
    NOTES,
    NVDIMM_PATHS,
    OF_A_DISK,
    OF_A_SCSI_DISK,
    OF_Q35,
    SERIALS,
    SOURCES,
    TARGETS,
    TOP,
)

MIB = 1 << 20


@dataclass(frozen=True)
class Guest:
    """A domain's XML, and what a wish for it has to know. `slots` are those of all memory devices."""

    xml: str
    vcpu: int
    cells: int
    slots: frozenset[int]


def known(xml: str) -> Guest:
    """The same of a text that libvirt made."""
    root = document(xml)
    slots = frozenset(int(one.get("slot", "0"), 0) for one in root.findall("devices/memory/address"))
    return Guest(xml, int(root.findtext("vcpu") or 1), len(root.findall("cpu/numa/cell")), slots)


@st.composite
def guests(draw: st.DrawFn) -> Guest:
    """A domain as libvirt writes it, or as a person does."""
    vcpu = draw(st.integers(1, 8))
    cells = draw(st.integers(0, min(3, vcpu)))
    sizes = [draw(st.integers(64, 512)) * MIB for _ in range(max(cells, 1))]
    modules = draw(_modules(cells))
    total = sum(sizes) + sum(size for _, size, _ in modules)
    boot, vcpus = draw(_os()), draw(_vcpus(vcpu))
    devices = [
        *draw(_disks(has_threads=any("<iothreads>" in part for part in vcpus))),
        *draw(_interfaces(has_order="<boot" not in boot)),
        draw(st.sampled_from(SERIALS)),
        *draw(_some(DEVICES if "'pc'" in boot else DEVICES + OF_Q35, 6)),
        *(text for text, _, _ in modules),
    ]
    xml = _element(
        "domain",
        [
            "<name>guest</name>",
            *sorted(draw(_some(TOP, 4)), key=TOP.index),  # libxml2 refuses some orders of a valid document
            *_if_any("metadata", draw(_some(METADATA, 2))),
            *draw(_memory(total, max((slot for _, _, slot in modules), default=None), cells)),
            draw(st.sampled_from(BACKING)),
            *vcpus,
            *draw(_numatune(cells)),
            boot,
            _element("features", ["<acpi/>", *draw(_some(FEATURES, 2))]),
            *draw(_cpu(vcpu, sizes if cells else [])),
            _element("devices", devices),
            draw(st.sampled_from(["", NAMESPACE])),
        ],
        " type='kvm'",
    )
    return Guest(draw(_by_hand(xml + "\n")), vcpu, cells, frozenset(slot for _, _, slot in modules))


def _some(choices: tuple[str, ...], at_most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(choices), unique=True, max_size=at_most)


def _element(tag: str, parts: list[str], attributes: str = "") -> str:
    inner = "".join(indent(part, "  ") + "\n" for part in parts if part)
    return f"<{tag}{attributes}>\n{inner}</{tag}>" if inner else f"<{tag}{attributes}/>"


def _if_any(tag: str, parts: list[str]) -> list[str]:
    return [_element(tag, parts)] if any(parts) else []


@st.composite
def _by_hand(draw: st.DrawFn, xml: str) -> str:
    """What a person may do to it: comments, instructions, other quotes, a declaration, no line breaks."""
    if draw(st.booleans()):
        return xml
    for mark in ("</name>", "<devices>", "</os>"):
        xml = xml.replace(mark, mark + draw(st.sampled_from(NOTES)))
    xml = xml.replace("</devices>", draw(st.sampled_from(NOTES)) + "</devices>")
    xml = draw(st.sampled_from(["", "<?xml version='1.0' encoding='utf-8'?>\n", "<!-- WARNING -->\n"])) + xml
    if draw(st.booleans()):
        xml = xml.replace("='1'", '="1"').replace("/>", " />")
    if draw(st.booleans()):
        xml = xml.replace("</domain>", "</domain><!-- end --><?really?>")
    return xml.replace("\n    ", " ") if draw(st.integers(0, 3)) == 0 else xml


@st.composite
def _memory(draw: st.DrawFn, total: int, highest_slot: int | None, cells: int) -> list[str]:
    slots = (highest_slot or 0) + 1
    kib = total >> 10
    if draw(st.booleans()):
        maximum = [f"<maxMemory slots='{slots}' unit='KiB'>{2 * kib}</maxMemory>"] if cells else []
        return [*maximum, f"<memory unit='b'>{total}</memory>"]
    maximum = [f"<maxMemory slots='{slots}' unit='KiB'>{kib}</maxMemory>"] if highest_slot is not None else []
    current = f"<currentMemory unit='KiB'>{kib}</currentMemory>"
    return [*maximum, f"<memory unit='KiB'>{kib}</memory>", current]


@st.composite
def _modules(draw: st.DrawFn, cells: int) -> list[tuple[str, int, int]]:
    """Memory devices: text, size and slot."""
    found = []
    for slot in draw(st.lists(st.integers(0, 5), unique=True, max_size=3 if cells else 0)):
        size = draw(st.integers(1, 64)) * 4 * MIB
        target = [f"<size unit='KiB'>{size >> 10}</size>", f"<node>{draw(st.integers(0, cells - 1))}</node>"]
        base = draw(st.sampled_from(["", f" base='{0x100000000 + slot * 0x20000000:#x}'"]))
        address = f"<address type='dimm' slot='{slot}'{base}/>"
        source, attributes = [], " model='dimm'"
        if draw(st.booleans()):
            path = (
                f"/dev/dax9.{slot}" if draw(st.booleans()) else f"{NVDIMM_PATHS[slot % 3]}{slot // 3 or ''}"
            )
            more = draw(st.sampled_from(["", "<alignsize unit='KiB'>2048</alignsize>", "<pmem/>"]))
            source = [f"<path>{path}</path>", more]
            target.append(draw(st.sampled_from(["", "<label>\n  <size unit='KiB'>128</size>\n</label>"])))
            attributes = " model='nvdimm'" + draw(st.sampled_from(["", " access='shared'"]))
        parts = [*_if_any("source", source), _element("target", target), address]
        found.append((_element("memory", parts, attributes), size, slot))
    return found


_cpusets = st.sampled_from(["0", "0-1", "0-3,^2", "1", "0,1"])


@st.composite
def _vcpus(draw: st.DrawFn, vcpu: int) -> list[str]:
    current = draw(st.sampled_from(["", f" current='{max(1, vcpu // 2)}'", f" current='{vcpu}'"]))
    placement = draw(st.sampled_from(["static", "static", "auto"]))
    threads = draw(st.integers(0, 4))
    states = [
        f"<vcpu id='{one}' enabled='yes' hotpluggable='{'no' if one == 0 else 'yes'}'/>"
        for one in range(vcpu)
    ]
    ids = [f"<iothread id='{number}'/>" for number in range(1, threads + 1)]
    return [
        f"<vcpu placement='{placement}'{current}>{vcpu}</vcpu>",
        *(_if_any("vcpus", states) if f"'{vcpu}'" in current and draw(st.booleans()) else []),
        f"<iothreads>{threads}</iothreads>" if threads else "",
        *(_if_any("iothreadids", ids) if draw(st.booleans()) else []),
        *_if_any("cputune", draw(_cputune(vcpu, threads))),
    ]


@st.composite
def _cputune(draw: st.DrawFn, vcpu: int, threads: int) -> list[str]:
    pinned = draw(st.lists(st.integers(0, vcpu - 1), unique=True, max_size=4).map(sorted))
    last = vcpu - 1
    cache = "<cache id='0' level='3' type='both' size='3' unit='MiB'/>"
    parts = [
        draw(st.sampled_from(["", "<shares>2048</shares>", "<period>100000</period>"])),
        *(f"<vcpupin vcpu='{one}' cpuset='{draw(_cpusets)}'/>" for one in pinned),
        draw(st.sampled_from(["", "<emulatorpin cpuset='0-1'/>"])),
        draw(st.sampled_from(["", f"<vcpusched vcpus='{last}' scheduler='fifo' priority='1'/>"])),
        draw(st.sampled_from(["", f"<cachetune vcpus='{last}'>\n  {cache}\n</cachetune>"])),
    ]
    if threads:
        parts.append(draw(st.sampled_from(["", f"<iothreadpin iothread='{threads}' cpuset='0'/>"])))
        parts.append(draw(st.sampled_from(["", "<iothreadsched iothreads='1' scheduler='batch'/>"])))
    return parts


@st.composite
def _numatune(draw: st.DrawFn, cells: int) -> list[str]:
    kind = draw(st.sampled_from(["none", "memory", "auto", "nodes" if cells else "none"]))
    mode = draw(st.sampled_from(["strict", "preferred", "interleave", "restrictive"]))
    if kind == "none":
        return []
    if kind == "auto":
        return [_element("numatune", ["<memory mode='preferred' placement='auto'/>"])]
    nodes = [f"<memnode cellid='{one}' mode='{mode}' nodeset='0'/>" for one in range(cells)]
    memory = f"<memory mode='{mode}' nodeset='0'/>"
    return [_element("numatune", [memory, *(nodes if kind == "nodes" else [])])]


@st.composite
def _os(draw: st.DrawFn) -> str:
    machine = draw(st.sampled_from(["q35", "pc-q35-8.0", "pc"]))
    parts = [
        f"<type arch='x86_64' machine='{machine}'>hvm</type>",
        *draw(st.sampled_from(LOADERS)),
        *draw(st.sampled_from(KERNELS)),
        *draw(st.sampled_from(BOOTS)),
    ]
    return _element("os", parts)


@st.composite
def _cpu(draw: st.DrawFn, vcpu: int, sizes: list[int]) -> list[str]:
    if not sizes and draw(st.booleans()):
        return []
    cells = []
    for number, size in enumerate(sizes):
        cpus = f"{number}-{vcpu - 1}" if number == len(sizes) - 1 and number < vcpu - 1 else str(number)
        more = " memAccess='shared' discard='yes'" if number == len("ab") else ""
        inner = [_element("distances", [f"<sibling id='{number}' value='10'/>"])] if number == 1 else []
        attributes = f" id='{number}' cpus='{cpus}' memory='{size >> 10}' unit='KiB'{more}"
        cells.append(_element("cell", inner, attributes))
    attributes, inner_ = draw(st.sampled_from(CPUS))
    return [_element("cpu", [inner_, *_if_any("numa", cells)], attributes)]


@st.composite
def _disks(draw: st.DrawFn, *, has_threads: bool) -> list[str]:
    found = []
    for target in draw(st.lists(st.sampled_from(TARGETS), unique=True, max_size=3)):
        is_virtio = target.startswith("vd")
        bus = "virtio" if is_virtio else draw(st.sampled_from(["sata", "scsi"]))
        driver = draw(st.sampled_from(["", " cache='none' io='native'", " cache='writeback'"]))
        if is_virtio:
            thread = " iothread='1'" if has_threads else ""
            driver += draw(st.sampled_from(["", " queues='4' event_idx='off'", thread]))
        rate = draw(st.sampled_from(["", "" if is_virtio else " rotation_rate='1'"]))
        kind = draw(st.sampled_from(sorted(SOURCES)))
        parts = [
            f"<driver name='qemu' type='raw'{driver}/>",
            SOURCES[kind].format(target),
            f"<target dev='{target}' bus='{bus}'{rate}/>",
            *(part.format(target) for part in draw(_some(OF_A_DISK, 2))),
            *draw(_some(OF_A_SCSI_DISK, 2 if bus == "scsi" else 0)),
        ]
        found.append(_element("disk", parts, f" type='{kind}' device='disk'"))
    return found


@st.composite
def _interfaces(draw: st.DrawFn, *, has_order: bool) -> list[str]:
    found: list[str] = []
    for mac in draw(st.lists(st.sampled_from(MACS), unique=True, max_size=2)):
        kind = draw(st.sampled_from(["network", "bridge", "user"]))
        source = {
            "network": ["<source network='default' portgroup='web'/>"],
            "bridge": ["<source bridge='br0'/>", "<virtualport type='openvswitch'/>"],
            "user": [],
        }[kind]
        model = draw(st.sampled_from(["virtio", "e1000e"]))
        driver = "<driver name='vhost' queues='2'/>" if model == "virtio" else ""
        parts = [
            f"<mac address='{mac.upper() if draw(st.booleans()) else mac}'/>",
            *source,
            f"<model type='{model}'/>",
            draw(st.sampled_from(["", driver])),
            draw(st.sampled_from(["", "<link state='down'/>"])),
            "<boot order='1'/>" if has_order and not found else "",
            draw(st.sampled_from(["", "" if kind == "user" else "<mtu size='9000'/>"])),
        ]
        found.append(_element("interface", parts, f" type='{kind}'"))
    return found
