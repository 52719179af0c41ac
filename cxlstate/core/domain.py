"""The words of a libvirt domain that a spec can own, as values. Bytes, CPU numbers, plain text.

One vocabulary for what is wished and what is there. In a wish, None says that the field is nobody's
business of ours: it stays as it is. In what was read it says that the XML has no word for it. Names
and meanings are those of libvirt's formatdomain.html.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CpuNumbers = frozenset[int]


@dataclass(frozen=True, slots=True)
class Cell:
    """`<cpu><numa><cell>`: a NUMA node of the guest. `memory` is plain RAM in bytes."""

    id: int
    cpus: CpuNumbers
    memory: int


@dataclass(frozen=True, slots=True)
class MemNode:
    """`<numatune><memnode>`: where the memory of one guest cell comes from."""

    cellid: int
    mode: str
    nodeset: CpuNumbers


@dataclass(frozen=True, slots=True)
class Topology:
    """`<cpu><topology>`: what one socket, die, cluster and core has of the next smaller thing.

    Without dies or clusters, libvirt takes one of them.
    """

    sockets: int
    cores: int
    threads: int
    dies: int | None = None
    clusters: int | None = None

    @property
    def count(self) -> int:
        """VCPUs in all; libvirt wants the maximum of the domain."""
        return self.sockets * (self.dies or 1) * (self.clusters or 1) * self.cores * self.threads

    def __str__(self) -> str:
        """As a spec says it."""
        parts = {"sockets": self.sockets, "dies": self.dies, "clusters": self.clusters}
        parts |= {"cores": self.cores, "threads": self.threads}
        return ", ".join(f"{name}: {number}" for name, number in parts.items() if number is not None)


@dataclass(frozen=True, slots=True)
class Nvdimm:
    """`<memory model='nvdimm'>`. One is another's equal by `slot`, or, without it, by `path`.

    `size` holds the label too. `least_align`, of a wish without `alignsize`, is what that has to be at
    least, or, `exact`, just that; None: it is as it is. `names` are other paths of the same memory, by which
    a VM may have it. `absent`: to be taken out.
    """

    path: str | None = None
    size: int | None = None
    label: int | None = None
    alignsize: int | None = None
    pmem: bool | None = None
    access: str | None = None
    node: int | None = None
    slot: int | None = None
    least_align: int | None = None
    exact: bool = False
    names: tuple[str, ...] = ()
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """`<disk>`, by its `target` (`vda`). `path` is that of a file or a block device.

    `source`, of one that was read, is what it has in place of a path: `volume default/a.qcow2`.
    """

    target: str
    path: str | None = None
    format: str | None = None
    bus: str | None = None
    cache: str | None = None
    readonly: bool | None = None
    device: str | None = None
    absent: bool = False
    source: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Interface:
    """`<interface>`, by its `mac`, in lower case with colons. `link` is whether its cable is plugged in.

    `source`, of one that was read, is where it is connected: `network default`, `direct eth0`.
    """

    mac: str
    network: str | None = None
    bridge: str | None = None
    model: str | None = None
    link: bool | None = None
    absent: bool = False
    source: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Domain:
    """All of it. Numbered lists (`vcpupin`, `iothreadpin`) are mappings as sorted pairs.

    `vcpu` is how many vCPUs the guest starts with. `max_vcpu` counts those in that can be plugged in; None
    where there are none.
    `memory` is plain RAM: `<memory>` without the memory devices, which is what the guest's cells sum
    up to. `<memory>`, `<currentMemory>` and `<maxMemory slots>` are derived from it. `hugepages` is the
    page size, 0 for the host's default size. `os_variant` is a libosinfo id. `console` is a serial
    console that `virsh console` reaches.
    """

    memory: int | None = None
    vcpu: int | None = None
    max_vcpu: int | None = None
    vcpupin: tuple[tuple[int, CpuNumbers], ...] | None = None
    emulatorpin: CpuNumbers | None = None
    iothreads: int | None = None
    iothreadpin: tuple[tuple[int, CpuNumbers], ...] | None = None
    numa_mode: str | None = None
    numa_nodeset: CpuNumbers | None = None
    memnodes: tuple[MemNode, ...] | None = None
    cpu_mode: str | None = None
    topology: Topology | None = None
    cells: tuple[Cell, ...] | None = None
    hugepages: int | None = None
    nvdimm: tuple[Nvdimm, ...] | None = None
    disks: tuple[Disk, ...] | None = None
    interfaces: tuple[Interface, ...] | None = None
    machine: str | None = None
    firmware: str | None = None
    kernel: str | None = None
    initrd: str | None = None
    cmdline: str | None = None
    os_variant: str | None = None
    console: bool | None = None
