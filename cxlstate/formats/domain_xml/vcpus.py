"""Edits of vCPUs, I/O threads and what they are pinned to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cxlstate.core.domain import CpuNumbers, Domain
from cxlstate.core.units import format_cpus
from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.meaning import cpus
from cxlstate.formats.domain_xml.read import iothreads, max_vcpu, number, vcpu
from cxlstate.formats.xml import (
    Element,
    child,
    element,
    place,
    set_attribute,
    take_out,
    take_out_all,
    take_out_if_empty,
)

# Where vCPUs and I/O threads are numbered: parent, element, attribute.
_OF_VCPUS: Final = (
    ("cputune", "vcpupin", "vcpu"),
    ("cputune", "vcpusched", "vcpus"),
    ("cputune", "cachetune/monitor", "vcpus"),
    ("cputune", "cachetune", "vcpus"),
    ("cputune", "memorytune/monitor", "vcpus"),
    ("cputune", "memorytune", "vcpus"),
)
_OF_IOTHREADS: Final = (
    ("iothreadids", "iothread", "id"),
    ("cputune", "iothreadpin", "iothread"),
    ("cputune", "iothreadsched", "iothreads"),
)


def edit(root: Element, wish: Domain) -> None:
    """All of `<vcpu>`, `<iothreads>` and `<cputune>`."""
    _vcpu(root, wish.vcpu)
    _iothreads(root, wish.iothreads)
    for index, cpuset in wish.vcpupin or ():
        if index >= max_vcpu(root):  # libvirt would leave it out, and say nothing
            raise ValueError(f"vcpupin names vCPU {index}, and there are {max_vcpu(root)}, from 0")
        _pin(root, "vcpupin", cpuset, "vcpu", index)
    if wish.emulatorpin is not None:
        _pin(root, "emulatorpin", wish.emulatorpin)
    for index, cpuset in wish.iothreadpin or ():
        _pin(root, "iothreadpin", cpuset, "iothread", index)


def _vcpu(root: Element, wished: int | None) -> None:
    if wished is None:
        return
    is_new = root.find("vcpu") is None
    if not is_new and max_vcpu(root) == wished == vcpu(root):
        return
    one = child(root, "vcpu", order.DOMAIN)
    if is_new:
        one.set("placement", "static")
    one.text = str(wished)
    set_attribute(one, "current", None)
    take_out_all(root, "vcpus")  # says which of them are plugged in: now all are
    _forget(root, _OF_VCPUS, frozenset(range(wished)))


def _iothreads(root: Element, wished: int | None) -> None:
    had = iothreads(root) or 0
    if wished is None or had == wished:
        return
    kept = _ids(root, had)[:wished]
    if wished:
        child(root, "iothreads", order.DOMAIN).text = str(wished)
    else:
        take_out_all(root, "iothreads", "defaultiothread")
    if wished < had:
        _forget_threads(root, frozenset(kept))


def _ids(root: Element, count: int) -> list[int]:
    """The numbers of all I/O threads: those written down, then the lowest ones that are free."""
    ids = [number(one.get("id"), "the id of an I/O thread") for one in root.findall("iothreadids/iothread")]
    free = [candidate for candidate in range(1, count + 1) if candidate not in ids]
    return [*ids, *free[: count - len(ids)]]


def _forget_threads(root: Element, kept: CpuNumbers) -> None:
    """What is said of I/O threads that are no more. ValueError where a device needs one."""
    for device in root.iterfind("devices//*[@iothread]"):
        if number(device.get("iothread"), "the I/O thread of a device") not in kept:
            raise ValueError(f"a device uses I/O thread {device.get('iothread')}, which would be gone")
    _forget(root, _OF_IOTHREADS, kept)


def _forget(root: Element, what: Sequence[tuple[str, str, str]], kept: CpuNumbers) -> None:
    """What is said of numbers that are no more: an element goes with the last of its own."""
    for parent, path, key in what:
        for one in root.findall(f"{parent}/{path}"):
            there = cpus(one.get(key))
            if not there & kept:
                take_out(one)
                take_out_if_empty(root.find(parent))
            elif there - kept:
                one.set(key, format_cpus(there & kept))


def _pin(root: Element, tag: str, wished: CpuNumbers, key: str | None = None, which: int = 0) -> None:
    """Pin one thread; pins of others stay."""
    tune = child(root, "cputune", order.DOMAIN)
    for one in tune.findall(tag):
        if key is None or number(one.get(key), f"the {key} of a {tag}") == which:
            if cpus(one.get("cpuset")) != wished:
                one.set("cpuset", format_cpus(wished))
            return
    named = {key: str(which)} if key else {}
    place(tune, element(tag, {**named, "cpuset": format_cpus(wished)}), order.CPUTUNE, by=key)
