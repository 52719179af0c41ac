"""From what the spec says of a VM to what its domain has to be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from cxlstate.core.address import Address
from cxlstate.core.domain import Cell, CpuNumbers, Disk, Domain, Interface, MemNode, Nvdimm, Topology
from cxlstate.core.exports import DaxDevice, DiskImage, Inputs
from cxlstate.formats import restore
from cxlstate.resources.vm.devices import MODULE, DiskSpec, InterfaceSpec, NvdimmSpec, is_dax
from cxlstate.resources.vm.spec import NumatuneSpec, TopologySpec, VmSpec

KIB: Final = 1 << 10

Links = Mapping[str, str]
"""From the stable paths of dax devices to the kernel's names of those."""

# Short names of libosinfo, as `virt-install --os-variant` takes them, to the ids that the XML holds.
_VARIANTS: Final = (
    (r"ubuntu(\d\d\.\d\d)", "http://ubuntu.com/ubuntu/"),
    (r"debian(\d+|testing)", "http://debian.org/debian/"),
    (r"fedora(\d+)", "http://fedoraproject.org/fedora/"),
    (r"rhel(\d+(?:\.\d+|-unknown)?)", "http://redhat.com/rhel/"),
    (r"centos(\d+(?:\.\d+)?)", "http://centos.org/centos/"),
    (r"centos-stream(\d+)", "http://centos.org/centos-stream/"),
    (r"rocky(\d+)", "http://rockylinux.org/rocky/"),
    (r"almalinux(\d+)", "http://almalinux.org/almalinux/"),
    (r"linux(\d{4})", "http://libosinfo.org/linux/"),
    (r"opensuse(\d+\.\d|tumbleweed)", "http://opensuse.org/opensuse/"),
    (r"alpinelinux(\d\.\d+)", "http://alpinelinux.org/alpinelinux/"),
    (r"win(7|8|8\.1|10|11|2k\d+(?:r2)?)", "http://microsoft.com/win/"),
)


def wish(spec: VmSpec, inputs: Inputs, links: Links) -> Domain:
    """The owned fields of the domain; None where the spec has no word for one."""
    numatune = spec.numatune or NumatuneSpec()
    cpu, os = spec.cpu, spec.os
    return Domain(
        memory=_sum_of_cells(spec) or spec.memory,
        vcpu=spec.vcpu,
        max_vcpu=spec.maxvcpus,
        vcpupin=_numbered(spec.vcpupin, first=0),
        emulatorpin=spec.emulatorpin,
        iothreads=spec.iothreads,
        iothreadpin=_numbered(spec.iothreadpin, first=1),
        numa_mode=numatune.mode,
        numa_nodeset=numatune.nodeset,
        memnodes=_memnodes(numatune),
        cpu_mode=cpu.mode if cpu else None,
        topology=_topology(cpu.topology) if cpu and cpu.topology else None,
        cells=_cells(spec),
        hugepages=_hugepages(spec.hugepages),
        nvdimm=None if spec.nvdimm is None else nvdimms(spec, inputs, links),
        disks=None if spec.disks is None else tuple(_disk(one, inputs) for one in spec.disks),
        interfaces=None if spec.interfaces is None else tuple(map(_interface, spec.interfaces)),
        machine=os.machine if os else None,
        firmware=os.firmware if os else None,
        kernel=os.kernel if os else None,
        initrd=os.initrd if os else None,
        cmdline=os.cmdline if os else None,
        os_variant=variant(spec.os_variant),
        console=spec.console,
    )


def device_of(entry: NvdimmSpec, inputs: Inputs) -> DaxDevice | None:
    """The dax device that an NVDIMM is, as its resource tells of it."""
    told = dict(inputs.all(DaxDevice))
    return told.get(Address.parse(entry.dax)) if entry.dax else None


def path_of(entry: NvdimmSpec, inputs: Inputs) -> str:
    """What the VM opens."""
    if entry.path is not None:
        return entry.path
    device = device_of(entry, inputs)
    return device.link if device else f"{restore.LINKS}/{Address.parse(entry.dax or '').name}"


def _sum_of_cells(spec: VmSpec) -> int:
    """In bytes, each cell rounded up to KiB as libvirt keeps it: the sum is not that of the spec's bytes."""
    return sum(-(-cell.memory // KIB) * KIB for cell in spec.cells)


def _topology(spec: TopologySpec) -> Topology:
    return Topology(spec.sockets, spec.cores, spec.threads, spec.dies, spec.clusters)


def _numbered(
    pins: tuple[CpuNumbers, ...] | None, *, first: int
) -> tuple[tuple[int, CpuNumbers], ...] | None:
    return None if pins is None else tuple(enumerate(pins, first))


def _memnodes(spec: NumatuneSpec) -> tuple[MemNode, ...] | None:
    if spec.memnode is None:
        return None
    return tuple(MemNode(one.cellid, one.mode, one.nodeset) for one in spec.memnode)


def _cells(spec: VmSpec) -> tuple[Cell, ...] | None:
    cells = spec.cpu.numa if spec.cpu else None
    if cells is None:
        return None
    return tuple(Cell(number, cell.cpus, cell.memory) for number, cell in enumerate(cells))


def _hugepages(size: int | Literal[True] | None) -> int | None:
    return 0 if size is True else size


def least_align(device: DaxDevice) -> int | None:
    """The smallest alignment of a mapping that the kernel and QEMU take; None: known once it is there.

    The kernel wants the device's (check_vma in drivers/dax/device.c), QEMU that of its region
    (qemu_ram_alloc_from_file).
    """
    return max((one for one in (device.align, device.region_align) if one is not None), default=None)


def derived_align(spec: NvdimmSpec, inputs: Inputs) -> int | None:
    """The `alignsize` that the user did not write, and that follows from the one line of its device."""
    device = device_of(spec, inputs)
    return device.desired_align if device and not spec.alignsize else None


def nvdimms(spec: VmSpec, inputs: Inputs, links: Links) -> tuple[Nvdimm, ...]:
    """Its NVDIMMs, in the order of the spec."""
    return tuple(_nvdimm(one, inputs, links) for one in spec.nvdimm or ())


def _nvdimm(spec: NvdimmSpec, inputs: Inputs, links: Links) -> Nvdimm:
    """Of a dax device, the kernel takes shared and aligned mappings alone."""
    path, device = path_of(spec, inputs), device_of(spec, inputs)
    names = _other_names(path, links)
    if spec.state == "absent":
        return Nvdimm(path, slot=spec.slot, names=names, absent=True)
    derived = derived_align(spec, inputs)
    return Nvdimm(
        path=path,
        size=spec.size,
        label=spec.label,
        alignsize=spec.alignsize,
        pmem=spec.pmem,
        access=spec.access or ("shared" if is_dax(spec) else None),
        node=spec.node,
        slot=spec.slot,
        least_align=derived or (_least(spec) if device is None else least_align(device)),
        exact=derived is not None,
        names=names,
    )


def _other_names(path: str, links: Links) -> tuple[str, ...]:
    """A VM may have a device by the kernel's name: with the stable one beside it, it would have it twice."""
    device = links.get(path, path.removeprefix("/dev/"))
    names = (f"/dev/{device}", *sorted(link for link, to in links.items() if to == device))
    return tuple(name for name in names if name != path) if device in links.values() else ()


def _least(spec: NvdimmSpec) -> int | None:
    """Of a dax device by its path: 2MiB, as regions are aligned (PMD_SIZE in drivers/dax/hmem/hmem.c)."""
    return MODULE if spec.path and is_dax(spec) else None


def _disk(spec: DiskSpec, inputs: Inputs) -> Disk:
    if spec.state == "absent":
        return Disk(spec.target, absent=True)
    image = dict(inputs.all(DiskImage)).get(Address.parse(spec.image)) if spec.image else None
    return Disk(
        target=spec.target,
        path=image.path if image else spec.path,
        format=image.format if image else spec.format,
        bus=spec.bus,
        cache=spec.cache,
        readonly=spec.readonly,
        device=spec.device,
    )


def _interface(spec: InterfaceSpec) -> Interface:
    if spec.state == "absent":
        return Interface(spec.mac, absent=True)
    return Interface(
        mac=spec.mac,
        network=spec.network,
        bridge=spec.bridge,
        model=spec.model,
        link=None if spec.link is None else spec.link == "up",
    )


def variant(name: str | None) -> str | None:
    """The id that the XML holds; a name that is not known here is taken for one."""
    for pattern, url in _VARIANTS:
        if name and (match := re.fullmatch(pattern, name)):
            return url + match[1]
    return name
