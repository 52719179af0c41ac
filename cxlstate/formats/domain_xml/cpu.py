"""Edits of `<cpu>` without its cells: mode and topology. And what all of it has to come to."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cxlstate.core.domain import Domain, Topology
from cxlstate.core.units import format_cpus
from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.impossible import Impossible
from cxlstate.formats.domain_xml.read import cells, cpu_mode, max_vcpu, topology
from cxlstate.formats.xml import Element, child, take_out_all

_OF_THE_HOST: Final = ("host-passthrough", "maximum")
"""Modes in which there is no model to name; only these can be `migratable`."""

_NEEDED: Final = ("sockets", "cores", "threads")
"""What a `<topology>` has to have (`virCPUDefParseXML` in `src/conf/cpu_conf.c`)."""


def edit(root: Element, wish: Domain) -> None:
    """Mode and topology. Features, cache and what else there is stay."""
    if wish.cpu_mode is not None and wish.cpu_mode != cpu_mode(root):
        _check_accelerator(root, wish.cpu_mode)
        _mode(child(root, "cpu", order.DOMAIN), wish.cpu_mode)
    if wish.topology is not None:
        _topology(child(root, "cpu", order.DOMAIN), wish.topology)


def check(root: Element, *, cells_are_wished: bool) -> None:
    """ValueError where the vCPUs are not what the topology and the cells make up.

    Those that are in no cell, libvirt puts into the first one (virDomainNumaFillCPUsInNode).
    """
    count, layout = max_vcpu(root), topology(root)
    if layout is not None and layout.count != count:
        raise Impossible(
            f"the CPU topology ({layout}) is one of {layout.count} vCPUs, and the maximum is {count}",
            ("cpu", "topology"),
            f"write cpu.topology: {{{_fitting(layout, count)}}}",
        )
    found, everyone = cells(root), frozenset(range(count))
    of_cells = frozenset[int]().union(*(cell.cpus for cell in found))
    if of_cells - everyone or (found and cells_are_wished and of_cells != everyone):
        raise Impossible(
            f"the NUMA cells have vCPUs {format_cpus(of_cells)}, and there are {format_cpus(everyone)}",
            ("cpu", "numa"),
            f"write cpu.numa with the vCPUs {format_cpus(everyone)}",
        )


def _check_accelerator(root: Element, mode: str) -> None:
    """Without KVM there is no processor to pass through (virQEMUCapsIsCPUModeSupported)."""
    if mode == "host-passthrough" and root.get("type") == "qemu":
        raise Impossible(
            "the VM is emulated (<domain type='qemu'>), and host-passthrough is of KVM alone",
            ("cpu", "mode"),
            "write cpu.mode: maximum",
        )


def _mode(cpu: Element, mode: str) -> None:
    if mode == "custom" and cpu.find("model") is None and cpu.find("feature") is not None:
        raise Impossible(
            "a custom CPU with features needs a model, and the XML has none",
            ("cpu", "mode"),
            f"write cpu.mode: {cpu.get('mode')}" if cpu.get("mode") else "leave out cpu.mode",
        )
    dropped = ["mode", "match", "check", "deprecated_features"]
    if mode != "custom":
        take_out_all(cpu, "model", "vendor")
    if mode not in _OF_THE_HOST:
        dropped.append("migratable")
        # Of the others virCPUDefParseXML says that it cannot be used with them.
        take_out_all(cpu, "cache[@mode='passthrough']")
    rest = {key: value for key, value in cpu.attrib.items() if key not in dropped}
    cpu.attrib.clear()
    cpu.attrib.update({"mode": mode, **rest})


def _topology(cpu: Element, wished: Topology) -> None:
    one = child(cpu, "topology", order.CPU)
    for name in ("sockets", "dies", "clusters", "cores", "threads"):
        value, there = getattr(wished, name), one.get(name)
        default = None if name in _NEEDED else "1"
        if value is not None and str(value) != (default if there is None else there):
            one.set(name, str(value))


def _fitting(layout: Topology, count: int) -> Topology:
    """One of that many vCPUs, with another number of cores if that will do."""
    around = replace(layout, cores=1).count
    if around and count % around == 0:
        return replace(layout, cores=count // around)
    return Topology(1, count, 1, dies=1, clusters=1)
