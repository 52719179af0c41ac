"""Where a VM runs: CPUs, nodes and huge pages that the host has, and memory that is near them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.domain import CpuNumbers
from cxlstate.core.path import Path
from cxlstate.core.units import format_cpus, format_size
from cxlstate.resources.vm.probe import Host
from cxlstate.resources.vm.spec import VmSpec


def diagnose(spec: VmSpec, host: Host) -> Iterator[Diagnostic]:
    """Pins and nodes that are not there, and pins far from the memory."""
    yield from _pins(spec, host)
    yield from _nodes(spec, host)
    yield from _far_away(spec, host)
    yield from _huge_pages(spec, host)


def _pinned(spec: VmSpec) -> Iterator[tuple[Path, CpuNumbers]]:
    for number, cpus in enumerate(spec.vcpupin or ()):
        yield ("vcpupin", number), cpus
    for number, cpus in enumerate(spec.iothreadpin or ()):
        yield ("iothreadpin", number), cpus
    if spec.emulatorpin:
        yield ("emulatorpin",), spec.emulatorpin


def _pins(spec: VmSpec, host: Host) -> Iterator[Diagnostic]:
    """Any number is taken by libvirt; QEMU's thread then stays where it is."""
    for path, cpus in _pinned(spec):
        if missing := cpus - host.cpus:
            yield Diagnostic(
                "CXQ301",
                "the host has no such CPU online",
                path=path,
                found=format_cpus(missing),
                expected=f"of {format_cpus(host.cpus)}",
            )


def _nodesets(spec: VmSpec) -> Iterator[tuple[Path, CpuNumbers]]:
    if spec.numatune and spec.numatune.nodeset:
        yield ("numatune", "nodeset"), spec.numatune.nodeset
    for number, one in enumerate((spec.numatune.memnode if spec.numatune else None) or ()):
        yield ("numatune", "memnode", number, "nodeset"), one.nodeset


def _nodes(spec: VmSpec, host: Host) -> Iterator[Diagnostic]:
    for path, nodes in _nodesets(spec):
        if missing := nodes - frozenset(host.nodes):
            yield Diagnostic(
                "CXQ302",
                "the host has no such NUMA node",
                path=path,
                found=format_cpus(missing),
                expected=f"of {format_cpus(frozenset(host.nodes))}",
            )


def _far_away(spec: VmSpec, host: Host) -> Iterator[Diagnostic]:
    """Every access would cross the sockets: seldom wished, and easily written where CPUs are interleaved."""
    numatune = spec.numatune
    if not (spec.vcpupin and numatune and numatune.nodeset and numatune.mode == "strict"):
        return
    near = _cpus_of(numatune.nodeset, host)
    pinned = frozenset[int]().union(*spec.vcpupin)
    if not near or pinned & near or not pinned <= host.cpus:
        return
    there = frozenset(node for node, cpus in host.nodes.items() if cpus & pinned)
    yield Diagnostic(
        "CXQ303",
        "the vCPUs are pinned away from their memory",
        Severity.WARNING,
        path=("vcpupin",),
        found=f"CPUs {format_cpus(pinned)} of node {format_cpus(there)}, "
        f"memory of node {format_cpus(numatune.nodeset)}",
        expected=f"CPUs of node {format_cpus(numatune.nodeset)}: {format_cpus(near)}",
        hint=f"or memory from node {format_cpus(there)}, if that has enough",
    )


def _cpus_of(nodes: Iterable[int], host: Host) -> CpuNumbers:
    return frozenset[int]().union(*(host.nodes.get(node, frozenset()) for node in nodes))


def _huge_pages(spec: VmSpec, host: Host) -> Iterator[Diagnostic]:
    """QEMU ends where there are too few: "unable to map backing store for guest RAM".

    A warning, since the spec may reserve them on the kernel command line, for after a reboot.
    """
    size, pools = spec.hugepages, host.huge_pages
    if not size or not pools:
        return
    sizes = ", ".join(format_size(one) for one in sorted(pools))
    if size is not True and size not in pools:
        yield Diagnostic(
            "CXQ336",
            "the host has no huge pages of this size",
            path=("hugepages",),
            found=format_size(size),
            expected=f"one of {sizes}",
            hint=f"write hugepages: {format_size(max(pools, key=lambda one: one * pools[one]))}",
        )
        return
    most = max(one * count for one, count in pools.items() if size is True or one == size)
    needed = spec.memory or sum(cell.memory for cell in spec.cells)
    if needed > most:
        page = max(pools) if size is True else size
        count, argument = -(-needed // page), f"{page >> 30}G" if page >> 30 else f"{page >> 20}M"
        of = "of any size" if size is True else f"of {format_size(size)}"
        yield Diagnostic(
            "CXQ336",
            "the host has too few huge pages for the VM",
            Severity.WARNING,
            path=("hugepages",),
            found=f"{format_size(most) if most else 'no memory'} in huge pages {of}",
            expected=f"at least {format_size(needed)}",
            hint=f"add to host.grub.args: hugepagesz={argument} hugepages={count}; or now, if they are free: "
            f"echo {count} > /sys/kernel/mm/hugepages/hugepages-{page >> 10}kB/nr_hugepages",
        )
