"""The active definition of a domain that starts, made from the persistent one; and what is changed in it.

Sources: libvirt 11.3 `qemuProcessPrepareDomain`, `qemuDomainAlignMemorySizes`, `qemuAssignDeviceAliases`;
looked at on Debian 13.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cxlstate.core.units import format_cpus
from cxlstate.formats.domain_xml import meaning
from cxlstate.formats.domain_xml.read import max_vcpu
from cxlstate.formats.xml import Element
from cxlstate.simulator.libvirt import memory
from cxlstate.simulator.libvirt.definitions import drawn_uuid
from cxlstate.simulator.libvirt.devices import mac
from cxlstate.simulator.libvirt.text import add, under

_CELL, _MODULE = meaning.CELL_STEP // meaning.KIB, meaning.MODULE_STEP // meaning.KIB
_FIRST_ADDRESS: Final = 0x100000000
_ALIASES: Final = {
    "disk": "disk",
    "controller": "controller",
    "interface": "net",
    "serial": "serial",
    "console": "serial",
    "channel": "channel",
    "input": "input",
    "video": "video",
    "watchdog": "watchdog",
    "memballoon": "balloon",
    "rng": "rng",
}


def start(root: Element, number: int, bridges: Mapping[str, str]) -> None:
    """Turn the persistent definition into the active one. `bridges` are those of the active networks."""
    root.set("id", str(number))
    _round(root)
    add(under(root, "resource"), "partition", text="/machine")
    cpu = root.find("cpu[@mode='custom']")
    if cpu is not None:
        cpu.set("check", "full")
    for one in root.findall("devices/graphics[@autoport='yes']"):
        one.set("port", "5900")
    for one in root.findall("devices/disk"):
        if one.find("source") is not None:
            under(one, "backingStore")
    for one in root.findall("devices/interface"):
        plug = one.find("source[@network]")
        if plug is not None:
            plug.set("portid", drawn_uuid("port", f"{root.findtext('name')} {mac(one)}", frozenset()))
            if bridge := bridges.get(plug.get("network", "")):
                plug.set("bridge", bridge)
    _aliases(root)


def affinity(root: Element, host: str) -> list[str]:
    """On which CPUs each vCPU's thread runs; `host` are all of them."""
    pins = {one.get("vcpu"): one.get("cpuset", "") for one in root.findall("cputune/vcpupin")}
    one = root.find("vcpu")
    default = host if one is None else one.get("cpuset", host)
    return [pins.get(str(number), default) for number in range(max_vcpu(root))]


def pin(root: Element, tag: str, key: str, number: int, cpus: frozenset[int]) -> None:
    """Write a pin into the active definition."""
    tune = under(root, "cputune")
    path = f"{tag}[@{key}='{number}']" if key else tag
    one = tune.find(path)
    if one is None:
        one = add(tune, tag, {key: str(number)} if key else {})
    one.set("cpuset", format_cpus(cpus))
    tune[:] = sorted(tune, key=lambda one: (str(one.tag), int(one.get(key, "0") if key else 0)))


def _round(root: Element) -> None:
    """Cells to 1 MiB, memory devices to 2 MiB; the balloon gives the guest all of its RAM."""
    modules, before = root.findall("devices/memory"), memory.plain(root)
    for one in memory.cells(root):
        one.set("memory", str(_up(int(one.get("memory", "0")), _CELL)))
    at = _FIRST_ADDRESS
    for one in modules:
        size = one.find("target/size")
        if size is not None:
            size.text = str(_up(int(size.text or "0"), _MODULE))
        address = one.find("address[@type='dimm']")
        if address is not None:
            address.set("base", f"{at:#x}")
        at += memory.kib(one, "target/size") * meaning.KIB
    plain = memory.plain(root) if memory.cells(root) else _up(before, _CELL)
    current = memory.kib(root, "currentMemory")
    memory.set_sums(root, plain + memory.total(modules), plain if current >= before else current)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _aliases(root: Element) -> None:
    counts: dict[str, int] = {}
    for one in root.findall("devices/*"):
        kind = one.get("model") if one.tag == "memory" else _ALIASES.get(str(one.tag))
        if kind and one.find("alias") is None:
            place = counts[kind] = counts.get(kind, -1) + 1
            add(one, "alias", {"name": f"{kind}{place}"})
