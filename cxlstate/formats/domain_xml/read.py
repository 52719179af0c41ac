"""What the XML of a domain says, in owned words. Pure."""

from __future__ import annotations

from itertools import islice
from typing import Final

from cxlstate.core.domain import Cell, CpuNumbers, Disk, Domain, Interface, MemNode, Nvdimm, Topology
from cxlstate.core.units import MAX_CPU
from cxlstate.formats.domain_xml.meaning import cpus, mac, size
from cxlstate.formats.xml import Element, parse

LIBOSINFO: Final = "http://libosinfo.org/xmlns/libvirt/domain/1.0"
FILES: Final = ("file", "block")
"""Types of disks whose source is a path."""
ROM: Final = "rom"
"""Firmware that somebody named as a ROM: OVMF (which has to be one with SEV, SNP, TDX), SeaBIOS, another."""
NVDIMM: Final = "devices/memory[@model='nvdimm']"


def document(xml: str) -> Element:
    """The `<domain>` of a text; ValueError where it is none."""
    root = parse(xml)
    if root.tag != "domain":
        raise ValueError(f"not a domain: it begins with <{root.tag!s}>")
    for one in root.iter(*_TEXTS):
        _before_comments(one)
    return root


_TEXTS: Final = (
    *("name", "uuid", "memory", "currentMemory", "maxMemory", "vcpu", "iothreads", "size", "node", "path"),
    *("alignsize", "hard_limit", "loader", "kernel", "initrd", "cmdline"),
)
"""Elements that hold a text, which a comment may stand in: libvirt reads what is around it."""


def _before_comments(one: Element) -> None:
    """All of a text in one piece."""
    if len(one) and not any(isinstance(inner.tag, str) for inner in one):
        one.text = "".join([one.text or "", *(inner.tail or "" for inner in one)])
        for inner in one:
            inner.tail = None


def read(xml: str) -> Domain:
    """All that it says. ValueError where libvirt could not read it either."""
    return domain(document(xml))


def identity(xml: str) -> tuple[str, str | None]:
    """Name and UUID; a text for a new domain may have no UUID."""
    root = document(xml)
    uuid = (root.findtext("uuid") or "").strip()
    return root.findtext("name") or "", uuid or None


def plugged(xml: str) -> CpuNumbers:
    """The numbers of the vCPUs that the guest starts with."""
    return plugged_vcpus(document(xml))


def networks(xml: str) -> tuple[str, ...]:
    """The names of libvirt's networks that its interfaces are plugged into."""
    found = {one.network for one in _interfaces(document(xml)) if one.network}
    return tuple(sorted(found))


def domain(root: Element) -> Domain:
    """The same of a document."""
    numatune = root.find("numatune/memory")
    return Domain(
        memory=plain_memory(root),
        vcpu=vcpu(root),
        max_vcpu=None if vcpu(root) in (None, max_vcpu(root)) else max_vcpu(root),
        vcpupin=_pins(root, "vcpupin", "vcpu"),
        emulatorpin=_emulatorpin(root),
        iothreads=iothreads(root),
        iothreadpin=_pins(root, "iothreadpin", "iothread"),
        numa_mode=None if numatune is None else numatune.get("mode", "strict"),
        numa_nodeset=nodeset(numatune),
        memnodes=tuple(memnode(one) for one in root.findall("numatune/memnode")) or None,
        cpu_mode=cpu_mode(root),
        topology=topology(root),
        cells=cells(root) or None,
        hugepages=hugepages(root),
        nvdimm=tuple(nvdimm(one) for one in root.findall(NVDIMM)) or None,
        disks=tuple(disk(one) for one in root.findall("devices/disk")) or None,
        interfaces=_interfaces(root) or None,
        machine=_attribute(root, "os/type", "machine"),
        firmware=firmware(root),
        kernel=root.findtext("os/kernel") or None,
        initrd=root.findtext("os/initrd") or None,
        cmdline=root.findtext("os/cmdline") or None,
        os_variant=_attribute(root, f"metadata/{{{LIBOSINFO}}}libosinfo/{{{LIBOSINFO}}}os", "id"),
        console=console(root),
    )


def number(text: str | None, what: str) -> int:
    """A number that has to be there."""
    digits = (text or "").strip()
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError(f"{what} is no number: {digits[:40]!r}")
    return int(digits)


def _count(text: str, what: str) -> int:
    """A number of which there can be so many, since each is looked at."""
    if (found := number(text, what)) > MAX_CPU:
        raise ValueError(f"{what} is {found}, and libvirt has at most {MAX_CPU}")
    return found


def _attribute(root: Element, path: str, name: str) -> str | None:
    one = root.find(path)
    return None if one is None else one.get(name)


# Memory -----------------------------------------------------------------------------------------------


def sized(one: Element | None) -> int | None:
    """Bytes that an element holds; None where it is not there."""
    return None if one is None else size(one.text or "", one.get("unit"))


def memory_devices(root: Element) -> int:
    """Bytes of all memory devices, which `<memory>` counts in."""
    return sum(sized(one) or 0 for one in root.findall("devices/memory/target/size"))


def plain_memory(root: Element) -> int | None:
    """What the guest's cells sum up to, or `<memory>` without the memory devices."""
    if found := cells(root):
        return sum(cell.memory for cell in found)
    total = sized(root.find("memory"))
    return None if total is None else max(total - memory_devices(root), 0)


def cell_id(one: Element, position: int) -> int:
    """The number of a cell; those without one are counted."""
    return position if one.get("id") is None else number(one.get("id"), "the id of a NUMA cell")


def cells(root: Element) -> tuple[Cell, ...]:
    """The guest's NUMA nodes, by number."""
    found = [
        Cell(cell_id(one, position), cpus(one.get("cpus")), size(one.get("memory", ""), one.get("unit")))
        for position, one in enumerate(root.findall("cpu/numa/cell"))
    ]
    return tuple(sorted(found, key=lambda cell: cell.id))


def hugepages(root: Element) -> int | None:
    """The size of the pages, 0 for the host's default; None also where cells have pages of their own.

    Pages that are said to be those of each cell are those of all (OpenStack writes them so).
    """
    if root.find("memoryBacking/hugepages") is None:
        return None
    pages = root.findall("memoryBacking/hugepages/page")
    if not pages:
        return 0
    sizes = {size(one.get("size", ""), one.get("unit")) for one in pages}
    of_cells = frozenset[int]().union(*(cpus(one.get("nodeset")) for one in pages))
    ids = frozenset(cell.id for cell in cells(root))
    of_all = any(one.get("nodeset") is None for one in pages) or (ids and ids <= of_cells)
    return sizes.pop() if len(sizes) == 1 and of_all else None


def nvdimm(one: Element) -> Nvdimm:
    """One `<memory model='nvdimm'>`."""
    slot = one.find("address[@type='dimm']")
    node = one.findtext("target/node")
    return Nvdimm(
        path=one.findtext("source/path"),
        size=sized(one.find("target/size")),
        label=sized(one.find("target/label/size")),
        alignsize=sized(one.find("source/alignsize")),
        pmem=one.find("source/pmem") is not None,
        access=one.get("access") or _access_of(one, node),
        node=None if node is None else number(node, "the node of an NVDIMM"),
        slot=None if slot is None or slot.get("slot") is None else _slot(slot),
    )


def _access_of(one: Element, node: str | None) -> str | None:
    """That of its cell, else that of all memory (qemuBuildMemoryBackendProps)."""
    root = one.getroottree().getroot()
    for position, cell in enumerate(root.findall("cpu/numa/cell")):
        if str(cell_id(cell, position)) == (node or "").strip() and cell.get("memAccess"):
            return cell.get("memAccess")
    return _attribute(root, "memoryBacking/access", "mode")


def _slot(address: Element) -> int:
    """A number that may be hex (virXMLPropUInt with base 0)."""
    text = address.get("slot", "")
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"the slot of an NVDIMM is no number: {text[:40]!r}") from None


def nodeset(one: Element | None) -> CpuNumbers | None:
    """The nodes of `<numatune><memory>`, unless libvirt chooses them."""
    if one is None or one.get("nodeset") is None or one.get("placement") == "auto":
        return None
    return cpus(one.get("nodeset"))


def memnode(one: Element) -> MemNode:
    """One `<memnode>`."""
    return MemNode(
        number(one.get("cellid"), "the cellid of a memnode"),
        one.get("mode", "strict"),
        cpus(one.get("nodeset")),
    )


# CPUs -------------------------------------------------------------------------------------------------


def max_vcpu(root: Element) -> int:
    """How many the domain may have; one where it does not say."""
    text = root.findtext("vcpu")
    return 1 if text is None else _count(text, "the number of vCPUs")


def vcpu(root: Element) -> int | None:
    """How many vCPUs the guest starts with."""
    return None if root.find("vcpu") is None else len(plugged_vcpus(root))


def plugged_vcpus(root: Element) -> CpuNumbers:
    """The numbers of the vCPUs that the guest starts with.

    Where there is a `<vcpus>`, libvirt goes by that alone, else by `current` (virDomainVcpuParse).
    """
    if states := root.findall("vcpus/vcpu"):
        plugged = (one.get("id") for one in states if one.get("enabled") == "yes")
        return frozenset(number(one, "the id of a vCPU") for one in plugged)
    one = root.find("vcpu")
    current = None if one is None else one.get("current")
    count = max_vcpu(root) if current is None else _count(current, "the current number of vCPUs")
    return frozenset(range(count))


def iothreads(root: Element) -> int | None:
    """How many I/O threads."""
    return len(iothread_ids(root)) or (None if root.find("iothreads") is None else 0)


def iothread_ids(root: Element) -> tuple[int, ...]:
    """The numbers of all I/O threads: those written down, then the lowest ones that are free.

    Source: virDomainIOThreadIDDefArrayInit in `src/conf/domain_conf.c`.
    """
    written = root.findall("iothreadids/iothread")
    ids = [number(one.get("id"), "the id of an I/O thread") for one in written]
    text = root.findtext("iothreads")
    count = 0 if text is None else _count(text, "the number of I/O threads")
    taken = frozenset(ids)
    free = (candidate for candidate in range(1, count + 1) if candidate not in taken)
    return (*ids, *islice(free, max(0, count - len(ids))))


def _pins(root: Element, tag: str, key: str) -> tuple[tuple[int, CpuNumbers], ...] | None:
    found = {
        number(one.get(key), f"the {key} of a {tag}"): cpus(one.get("cpuset"))
        for one in root.findall(f"cputune/{tag}")
    }
    return tuple(sorted(found.items(), key=lambda pin: pin[0])) or None


def _emulatorpin(root: Element) -> CpuNumbers | None:
    one = root.find("cputune/emulatorpin")
    return None if one is None else cpus(one.get("cpuset"))


def cpu_mode(root: Element) -> str | None:
    """The mode; a model without one is a custom CPU."""
    one = root.find("cpu")
    if one is None:
        return None
    return one.get("mode") or (None if one.find("model") is None else "custom")


def topology(root: Element) -> Topology | None:
    """All that is said of it: dies and clusters may be left out."""
    one = root.find("cpu/topology")
    if one is None:
        return None
    sockets, cores, threads = (
        number(one.get(name), f"{name} of the topology") for name in ("sockets", "cores", "threads")
    )
    dies, clusters = (
        None if one.get(name) is None else number(one.get(name), f"{name} of the topology")
        for name in ("dies", "clusters")
    )
    return Topology(sockets, cores, threads, dies, clusters)


# Devices ----------------------------------------------------------------------------------------------


def disk(one: Element) -> Disk:
    """One `<disk>`; what is left out in it has libvirt's meaning."""
    source, target, driver = one.find("source"), one.find("target"), one.find("driver")
    device = one.get("device", "disk")
    path = None
    if source is not None and one.get("type", "file") in FILES:
        path = source.get("file") or source.get("dev")
    return Disk(
        target="" if target is None else target.get("dev", ""),
        path=path,
        format=None if driver is None else driver.get("type"),
        bus=None if target is None else target.get("bus"),
        cache=None if driver is None else driver.get("cache"),
        readonly=device == "cdrom" or one.find("readonly") is not None,
        device=device,
        source=None if path or source is None else _connected(one, "file"),
    )


def _connected(one: Element, usual: str) -> str:
    """What a device is connected to, in few words. Queries and headers may hold secrets, and are left out."""
    source = one.find("source")
    names = [source.get(word) for word in _NAMES] if source is not None else []
    return " ".join(filter(None, (one.get("type", usual), "/".join(filter(None, names)))))


_NAMES: Final = ("network", "bridge", "protocol", "pool", "name", "volume", "dir", "dev", "path")
"""Attributes of a `<source>` that name something."""


def interface(one: Element) -> Interface:
    """One `<interface>`. While it runs, libvirt tells the bridge of its network, too: that is no wish."""
    source = one.find("source")
    network = None if source is None else source.get("network")
    bridge = None if source is None or network else source.get("bridge")
    return Interface(
        mac=mac(_attribute(one, "mac", "address")),
        network=network,
        bridge=bridge,
        model=_attribute(one, "model", "type"),
        link=_attribute(one, "link", "state") != "down",
        source=f"network {network}" if network else _connected(one, "user"),
    )


def _interfaces(root: Element) -> tuple[Interface, ...]:
    return tuple(interface(one) for one in root.findall("devices/interface"))


def console(root: Element) -> bool:
    """Whether `virsh console` reaches it: the first console has to be a pseudo-terminal."""
    one = first_console(root)
    return one is not None and one.get("type") == "pty"


def first_console(root: Element) -> Element | None:
    """The device that `virsh console` opens (qemuDomainOpenConsole).

    The first serial port, where libvirt makes the first console of that (virDomainDefAddConsoleCompat), else
    the first console.
    """
    serial, one = root.find("devices/serial"), root.find("devices/console")
    if serial is None or one is None:
        return serial if one is None else one
    target, kind = one.find("target"), _attribute(serial, "target", "type")
    alias = target is None or target.get("type", "serial") == "serial"
    return serial if alias or kind not in _NO_CONSOLES else one


_NO_CONSOLES: Final = ("pci-serial", "usb-serial", "isa-debug")
"""Serial ports that are no console of themselves."""


# Boot -------------------------------------------------------------------------------------------------


def firmware(root: Element) -> str | None:
    """`efi` also where its image is named by hand, `ROM` where that is one of either kind, else BIOS."""
    one = root.find("os")
    if one is None:
        return None
    by_hand, loader = "bios", one.find("loader")
    if loader is not None and (loader.text or "").strip():
        by_hand = "efi" if loader.get("type", ROM) == "pflash" else ROM
    return one.get("firmware", by_hand)
