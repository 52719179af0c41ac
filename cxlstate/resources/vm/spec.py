"""What may be said of a virtual machine. The words are those of libvirt's domain XML."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from cxlstate.core.model import BesideText, Model, problem
from cxlstate.core.units import CpuSet, Size, format_cpus, format_size
from cxlstate.resources.vm.devices import DiskSpec, HostPath, InterfaceSpec, NvdimmSpec

MAX_VCPUS: Final = 4096
CELL_STEP: Final = 1 << 20
"""libvirt rounds the memory of a guest's cell up to this when the domain starts."""

NAME_MOST: Final = 243
"""libvirt has no limit of its own. Its longest file name of a VM is NAME_VARS.qcow2, of 255 bytes at most."""

_NAME: Final = f"[A-Za-z0-9_][A-Za-z0-9_.:@+-]{{0,{NAME_MOST - 1}}}"

T = TypeVar("T")


def _name(text: str) -> str:
    if not re.fullmatch(_NAME, text):
        raise problem(
            "CXQ201",
            "invalid VM name",
            found=text if len(text) <= NAME_MOST else f"{text[:40]}… of {len(text)} characters",
            expected=f"letters, digits and _ . : @ + -, at most {NAME_MOST} of them",
            hint="`virsh domrename OLD NEW` renames a domain that is off",
        )
    return text


VmName = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})]
Nodes = CpuSet
MemoryMode = Literal["strict", "preferred", "interleave", "restrictive"]


class MemNodeSpec(Model):
    """Where the memory of one cell of the guest comes from."""

    cellid: Annotated[int, Field(ge=0, le=127)]
    """The cell of the guest."""

    mode: MemoryMode
    """How strictly."""

    nodeset: Nodes
    """Nodes of the host."""


class NumatuneSpec(Model):
    """Where the host takes the memory of the VM from."""

    mode: MemoryMode | None = None
    """`strict`: from these nodes or not at all."""

    nodeset: Nodes | None = None
    """NUMA nodes of the host."""

    memnode: Annotated[tuple[MemNodeSpec, ...] | None, Field(min_length=1)] = None
    """For single cells of the guest."""


class CellSpec(Model):
    """A NUMA node of the guest; the first is number 0."""

    cpus: CpuSet
    """Its vCPUs."""

    memory: Size
    """Its plain RAM."""


class TopologySpec(Model):
    """How the guest sees its vCPUs laid out."""

    sockets: Annotated[int, Field(ge=1, le=MAX_VCPUS)] = 1
    """Sockets."""

    dies: Annotated[int | None, Field(ge=1, le=MAX_VCPUS)] = None
    """Dies a socket; without it, as many as the VM has, and one for a new VM."""

    clusters: Annotated[int | None, Field(ge=1, le=MAX_VCPUS)] = None
    """Clusters a die; likewise."""

    cores: Annotated[int, Field(ge=1, le=MAX_VCPUS)] = 1
    """Cores a cluster."""

    threads: Annotated[int, Field(ge=1, le=MAX_VCPUS)] = 1
    """Threads a core."""


class CpuSpec(Model):
    """The processor that the guest sees."""

    mode: Literal["host-passthrough", "host-model", "maximum"] | None = None
    """The host's own (`host-passthrough`), a named model close to it, or all that can be emulated."""

    topology: TopologySpec | None = None
    """Its layout: the product of all is `maxvcpus`, or `vcpu` where no more can be plugged in."""

    numa: Annotated[tuple[CellSpec, ...] | None, Field(min_length=1)] = None
    """The NUMA nodes of the guest. With an NVDIMM there has to be one."""


class OsSpec(Model):
    """What it starts from."""

    machine: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = Field(None, examples=["q35"])
    """The emulated machine. `q35` is satisfied by any version of it."""

    firmware: Literal["bios", "efi"] | None = None
    """The firmware; libvirt picks the file."""

    kernel: HostPath | None = None
    """A kernel on the host, started without a boot loader."""

    initrd: HostPath | None = None
    """Its initial file system."""

    cmdline: str | None = None
    """Its arguments."""


class VmSpec(Model):
    """One virtual machine of libvirt. What is not written stays as it is."""

    state: Literal["running", "shut-off", "absent"] | None = None
    """`absent` undefines it; its disks are kept."""

    autostart: bool | None = None
    """Started with the host."""

    memory: Size | None = None
    """Plain RAM. `<memory>`, `<currentMemory>` and `<maxMemory>` are derived from it and the NVDIMMs."""

    vcpu: Annotated[int | None, Field(ge=1, le=MAX_VCPUS)] = None
    """How many vCPUs it starts with."""

    maxvcpus: Annotated[int | None, Field(ge=1, le=MAX_VCPUS)] = None
    """How many it may have, those counted in that can be plugged in while it runs."""

    vcpupin: Annotated[tuple[CpuSet, ...] | None, Field(min_length=1)] = Field(None, examples=[[1, 3, "5-7"]])
    """The nth entry: the CPUs of the host that vCPU n runs on, plugged in or not."""

    emulatorpin: CpuSet | None = None
    """The CPUs of the host that QEMU's other threads run on."""

    iothreads: Annotated[int | None, Field(ge=0, le=256)] = None
    """How many I/O threads."""

    iothreadpin: Annotated[tuple[CpuSet, ...] | None, Field(min_length=1)] = None
    """The nth entry: the CPUs of the host that I/O thread n+1 runs on (libvirt counts them from 1)."""

    numatune: NumatuneSpec | None = None
    """Where its memory comes from."""

    cpu: CpuSpec | None = None
    """The processor that it sees."""

    hugepages: Size | Literal[True] | None = None
    """Huge pages for its RAM, of this size or (`true`) of the host's usual one."""

    nvdimm: tuple[NvdimmSpec, ...] | None = None
    """Memory that it sees as persistent."""

    disks: tuple[DiskSpec, ...] | None = None
    """Disks. Others that it has stay."""

    interfaces: tuple[InterfaceSpec, ...] | None = None
    """Network interfaces. Others that it has stay."""

    os: OsSpec | None = None
    """What it starts from."""

    os_variant: Annotated[str | None, Field(min_length=1, max_length=200)] = Field(
        None, examples=["ubuntu22.04"]
    )
    """The system in it, as libosinfo calls it: a short name or the URL."""

    console: bool | None = None
    """A serial console, for `virsh console`."""

    shutdown_timeout: Annotated[int, Field(ge=1, le=3600)] = 120
    """Seconds that it is given to shut down."""

    xml: BesideText | None = None
    """A domain XML beside the spec: what a new VM begins with, for all that has no word here."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        _check_vcpus(self)
        _check_cells(self)
        _check_nvdimms(self)
        _unique("disks", "target", self.disks or (), lambda disk: disk.target)
        _unique("interfaces", "MAC address", self.interfaces or (), lambda one: one.mac)
        return self


def _check_vcpus(spec: VmSpec) -> None:
    """What holds for every VM. A pin or a topology of more than `vcpu` may be right: see `check.py`."""
    if spec.vcpu and spec.maxvcpus and spec.vcpu > spec.maxvcpus:
        raise problem(
            "CXQ330",
            "vcpu exceeds maxvcpus",
            found=f"vcpu: {spec.vcpu}, maxvcpus: {spec.maxvcpus}",
            expected=f"at most {spec.maxvcpus}",
        )
    pins, least, most = len(spec.vcpupin or ()), spec.vcpu, spec.maxvcpus
    if pins and ((least and pins < least) or (most and pins > most)):
        raise problem(
            "CXQ202",
            "vcpupin lacks a CPU set for each vCPU" if least and pins < least else "vcpupin exceeds maxvcpus",
            found=f"{pins} for {most if most and pins > most else least} vCPUs",
            expected=from_to(least, most) + ": the nth entry is for vCPU n",
        )
    if spec.iothreads is not None and spec.iothreadpin and len(spec.iothreadpin) > spec.iothreads:
        raise problem(
            "CXQ203",
            "iothreadpin exceeds iothreads",
            found=f"{len(spec.iothreadpin)} for {spec.iothreads}",
            expected=f"at most {spec.iothreads}",
            hint=f"write iothreads: {len(spec.iothreadpin)}",
        )
    if spec.cpu and spec.cpu.topology:
        _check_topology(spec.cpu.topology, least, most)


def from_to(least: int | None, most: int | None) -> str:
    """`2 to 8`, or the one number that there is."""
    return f"{least} to {most}" if least and most and least != most else str(least or most)


def _check_topology(topology: TopologySpec, vcpu: int | None, maximum: int | None) -> None:
    product = topology.sockets * (topology.dies or 1) * (topology.clusters or 1)
    product *= topology.cores * topology.threads
    if (maximum and product != maximum) or (not maximum and vcpu and product < vcpu):
        wanted = maximum or vcpu or 1
        dies = wanted // product if topology.dies is None and wanted % product == 0 else None
        raise problem(
            "CXQ204",
            "the topology does not match the vCPUs",
            found=f"{' * '.join(str(factor) for factor in _factors(topology))} = {product}",
            expected=f"a product of {wanted}",
            hint=f"a VM with several dies needs them in its spec: dies: {dies}" if dies else None,
        )


def _factors(one: TopologySpec) -> list[int]:
    return [one.sockets, *filter(None, (one.dies, one.clusters)), one.cores, one.threads]


def _check_cells(spec: VmSpec) -> None:
    cells = (spec.cpu.numa if spec.cpu else None) or ()
    if not cells:
        return
    seen: frozenset[int] = frozenset()
    for cell in cells:
        if twice := seen & cell.cpus:
            raise problem(
                "CXQ205",
                "a vCPU is in two NUMA cells",
                found=format_cpus(twice),
                expected="each vCPU in one cell",
            )
        seen |= cell.cpus
    wanted = frozenset(range(spec.maxvcpus or spec.vcpu or 0))
    if wanted - seen or (spec.maxvcpus and seen - wanted):
        raise problem(
            "CXQ205",
            "the NUMA cells do not cover the vCPUs",
            found=format_cpus(seen),
            expected=format_cpus(wanted),
        )
    total = sum(cell.memory for cell in cells)
    if spec.memory and total != spec.memory:
        raise problem(
            "CXQ206",
            "the NUMA cells do not add up to memory",
            found=" + ".join(format_size(cell.memory) for cell in cells) + f" = {format_size(total)}",
            expected=format_size(spec.memory),
            hint="leave NVDIMMs out of both",
        )


def _check_nvdimms(spec: VmSpec) -> None:
    entries = spec.nvdimm or ()
    _unique("nvdimm", "slot", [one for one in entries if one.slot is not None], lambda one: one.slot)
    _unique("nvdimm", "device", entries, lambda one: one.dax or one.path)
    cells = spec.cpu.numa if spec.cpu else None
    for one in entries:
        if one.state == "present" and cells and one.node is not None and one.node >= len(cells):
            raise problem(
                "CXQ208",
                "an NVDIMM is in a NUMA cell that does not exist",
                found=f"node: {one.node}",
                expected=f"0 to {len(cells) - 1}",
            )


def _unique(word: str, what: str, entries: Sequence[T], key: Callable[[T], Hashable]) -> None:
    seen = set()
    for entry in entries:
        value = key(entry)
        if value in seen:
            raise problem(
                "CXQ207",
                f"two entries of {word} have the same {what}",
                found=str(value),
                expected=f"each {what} once",
            )
        seen.add(value)
