"""What may be said of a virtual machine. The words are those of libvirt's domain XML."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from math import prod
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, Field, WithJsonSchema

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import BesideText, Model, check, problem, readable
from cxlstate.core.path import Path
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

    @property
    def factors(self) -> list[int]:
        """What is multiplied, without what is not written."""
        return [self.sockets, *filter(None, (self.dies, self.clusters)), self.cores, self.threads]

    @property
    def product(self) -> int:
        """How many vCPUs it is for."""
        return prod(self.factors)


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

    @check
    def _vcpus_are_within_the_maximum(self) -> Iterator[Diagnostic]:
        if self.vcpu and self.maxvcpus and self.vcpu > self.maxvcpus:
            yield Diagnostic(
                "CXQ330",
                "vcpu exceeds maxvcpus",
                path=("vcpu",),
                found=f"vcpu: {self.vcpu}, maxvcpus: {self.maxvcpus}",
                expected=f"at most {self.maxvcpus}",
            )

    @check
    def _each_vcpu_is_pinned(self) -> Iterator[Diagnostic]:
        pins = len(self.vcpupin or ())
        if pins and self.vcpu and pins < self.vcpu:
            expected = f"one entry per vCPU ({self.vcpu})"
            yield _bad_pins("vcpupin lacks a CPU set for each vCPU", pins, expected)

    @check
    def _pins_are_within_the_maximum(self) -> Iterator[Diagnostic]:
        """More than `vcpu` may be right: see `check.py`."""
        pins = len(self.vcpupin or ())
        if self.maxvcpus and pins > self.maxvcpus:
            yield _bad_pins("vcpupin exceeds maxvcpus", pins, f"at most {self.maxvcpus}")

    @check
    def _iothread_pins_are_of_iothreads(self) -> Iterator[Diagnostic]:
        pins = len(self.iothreadpin or ())
        if self.iothreads is not None and pins > self.iothreads:
            yield Diagnostic(
                "CXQ203",
                "iothreadpin exceeds iothreads",
                path=("iothreadpin",),
                found=f"{pins} for {self.iothreads}",
                expected=f"at most {self.iothreads}",
                hint=f"write iothreads: {pins}",
            )

    @check
    def _topology_is_of_the_vcpus(self) -> Iterator[Diagnostic]:
        """A topology of more than `vcpu` may be right: see `check.py`."""
        if self.cpu and (topology := self.cpu.topology):
            wanted = self.maxvcpus or self.vcpu or 1
            if topology.product != wanted if self.maxvcpus else topology.product < wanted:
                yield _bad_topology(topology, wanted)

    @check
    def _cells_are_apart(self) -> Iterator[Diagnostic]:
        seen: frozenset[int] = frozenset()
        for number, cpus in readable(self.cells, lambda cell: cell.cpus):
            if twice := seen & cpus:
                yield _bad_cells(
                    "a vCPU is in two NUMA cells", (number, "cpus"), twice, "each vCPU in one cell"
                )
            seen |= cpus

    @check
    def _cells_hold_the_vcpus(self) -> Iterator[Diagnostic]:
        counts = readable(("maxvcpus", "vcpu"), lambda word: getattr(self, word))
        wanted = frozenset(range(next((count for _, count in counts if count), 0)))
        held = frozenset[int]().union(*(cell.cpus for cell in self.cells))
        if self.cells and not wanted <= held:
            where = (0, "cpus") if len(self.cells) == 1 else ()
            yield _bad_cells("the NUMA cells do not cover the vCPUs", where, held, format_cpus(wanted))

    @check
    def _cells_hold_no_more(self) -> Iterator[Diagnostic]:
        for number, cpus in readable(self.cells if self.maxvcpus else (), lambda cell: cell.cpus):
            if cpus - (wanted := frozenset(range(self.maxvcpus or 0))):
                yield _bad_cells("a NUMA cell exceeds maxvcpus", (number, "cpus"), cpus, format_cpus(wanted))

    @check
    def _cells_add_up(self) -> Iterator[Diagnostic]:
        total = sum(cell.memory for cell in self.cells)
        if self.cells and self.memory and total != self.memory:
            yield Diagnostic(
                "CXQ206",
                "the NUMA cells do not add up to memory",
                path=("cpu", "numa", *((0, "memory") if len(self.cells) == 1 else ())),
                found=" + ".join(format_size(cell.memory) for cell in self.cells)
                + f" = {format_size(total)}",
                expected=format_size(self.memory),
                hint=f"write memory: {format_size(total)}; NVDIMMs count in neither",
            )

    @check
    def _nvdimms_are_in_cells(self) -> Iterator[Diagnostic]:
        last = len(self.cells) - 1
        nodes = readable(self.nvdimm or (), lambda one: one.node if one.state == "present" else None)
        for number, node in nodes if self.cells else ():
            if node is not None and node > last:
                yield Diagnostic(
                    "CXQ208",
                    "an NVDIMM is in a NUMA cell that does not exist",
                    path=("nvdimm", number, "node"),
                    found=f"node: {node}",
                    expected=f"0 to {last}",
                )

    @check
    def _slots_are_unique(self) -> Iterator[Diagnostic]:
        yield from _unique("nvdimm", "slot", self.nvdimm, lambda one: ("slot", one.slot))

    @check
    def _nvdimms_are_unique(self) -> Iterator[Diagnostic]:
        yield from _unique(
            "nvdimm", "device", self.nvdimm, lambda one: ("dax", one.dax) if one.dax else ("path", one.path)
        )

    @check
    def _disks_are_unique(self) -> Iterator[Diagnostic]:
        yield from _unique("disks", "target", self.disks, lambda one: ("target", one.target))

    @check
    def _interfaces_are_unique(self) -> Iterator[Diagnostic]:
        yield from _unique("interfaces", "MAC address", self.interfaces, lambda one: ("mac", one.mac))

    @property
    def cells(self) -> tuple[CellSpec, ...]:
        """Its NUMA nodes, as far as they are written."""
        return (self.cpu.numa if self.cpu else None) or ()


def _bad_pins(message: str, pins: int, expected: str) -> Diagnostic:
    found = f"{pins} {'entry' if pins == 1 else 'entries'}"
    return Diagnostic("CXQ202", message, path=("vcpupin",), found=found, expected=expected)


def _bad_topology(topology: TopologySpec, wanted: int) -> Diagnostic:
    product = topology.product
    dies = wanted // product if topology.dies is None and wanted % product == 0 else None
    return Diagnostic(
        "CXQ204",
        "the topology does not match the vCPUs",
        path=("cpu", "topology"),
        found=f"{' * '.join(str(factor) for factor in topology.factors)} = {product}",
        expected=f"a product of {wanted}",
        hint=f"write cpu.topology.dies: {dies}, if the VM has that many" if dies else None,
    )


def _bad_cells(message: str, path: Path, found: frozenset[int], expected: str) -> Diagnostic:
    return Diagnostic(
        "CXQ205", message, path=("cpu", "numa", *path), found=format_cpus(found), expected=expected
    )


def _unique(
    word: str, what: str, entries: Sequence[T] | None, key: Callable[[T], tuple[str, Hashable]]
) -> Iterator[Diagnostic]:
    """`key` is the word in which the entries have to differ, and its value."""
    seen = set()
    for number, (leaf, value) in readable(entries or (), key):
        if value is not None and value in seen:
            yield Diagnostic(
                "CXQ207",
                f"two entries of {word} have the same {what}",
                path=(word, number, leaf),
                found=str(value),
                expected=f"each {what} once",
            )
        seen.add(value)
