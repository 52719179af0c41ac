"""Edits of `<cpu>` without its cells: mode and topology. And what all of it has to come to."""

from __future__ import annotations

from typing import Final

from cxlstate.core.domain import Domain, Topology
from cxlstate.core.units import format_cpus
from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.read import cells, cpu_mode, max_vcpu, number, topology
from cxlstate.formats.xml import Element, child, set_attribute, take_out_all

_OF_THE_HOST: Final = ("host-passthrough", "maximum")
"""Modes in which there is no model to name; only these can be `migratable`."""


def edit(root: Element, wish: Domain) -> None:
    """Mode and topology. Features, cache and what else there is stay."""
    if wish.cpu_mode is not None and wish.cpu_mode != cpu_mode(root):
        _mode(child(root, "cpu", order.DOMAIN), wish.cpu_mode)
    if wish.topology is not None and wish.topology != topology(root):
        _topology(child(root, "cpu", order.DOMAIN), wish.topology)


def check(root: Element, *, cells_are_wished: bool) -> None:
    """ValueError where the vCPUs are not what the topology and the cells make up.

    Those that are in no cell, libvirt puts into the first one (virDomainNumaFillCPUsInNode).
    """
    count = max_vcpu(root)
    one = root.find("cpu/topology")
    if one is not None:
        product = 1
        for name in ("sockets", "dies", "clusters", "cores", "threads"):
            product *= number(one.get(name, "1"), f"{name} of the topology")
        if product != count:
            raise ValueError(f"the CPU topology has {product} vCPUs, and not {count}; say cpu.topology, too")
    found, everyone = cells(root), frozenset(range(count))
    of_cells = frozenset[int]().union(*(cell.cpus for cell in found))
    if of_cells - everyone or (found and cells_are_wished and of_cells != everyone):
        raise ValueError(
            f"the NUMA cells have vCPUs {format_cpus(of_cells)}, and there are {format_cpus(everyone)}; "
            "say cpu.numa, too"
        )


def _mode(cpu: Element, mode: str) -> None:
    if mode == "custom" and cpu.find("model") is None and cpu.find("feature") is not None:
        raise ValueError("a custom CPU with features needs a model, and the XML has none")
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
    values = {"sockets": wished.sockets, "cores": wished.cores, "threads": wished.threads}
    for name, value in values.items():
        set_attribute(one, name, str(value))
