"""Edits of vCPUs and I/O threads: how many, and where they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cxlstate.core.domain import CpuNumbers, Domain
from cxlstate.core.units import format_cpus
from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.impossible import Impossible
from cxlstate.formats.domain_xml.meaning import cpus
from cxlstate.formats.domain_xml.read import iothread_ids, max_vcpu, number, plugged_vcpus
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
    ("vcpus", "vcpu", "id"),
)
_OF_IOTHREADS: Final = (
    ("iothreadids", "iothread", "id"),
    ("cputune", "iothreadpin", "iothread"),
    ("cputune", "iothreadsched", "iothreads"),
)


def edit(root: Element, wish: Domain) -> None:
    """All of `<vcpu>`, `<vcpus>`, `<iothreads>` and `<cputune>`."""
    if wish.vcpu is not None or wish.max_vcpu is not None:
        _vcpu(root, wish.vcpu, wish.max_vcpu)
    if wish.iothreads is not None:
        _iothreads(root, wish.iothreads)
    for position, (index, cpuset) in enumerate(wish.vcpupin or ()):
        if index >= max_vcpu(root):  # libvirt would leave it out, and say nothing
            raise Impossible(
                f"vcpupin names vCPU {index}, and there are {max_vcpu(root)}, from 0",
                ("vcpupin", position),
            )
        _pin(root, "vcpupin", cpuset, "vcpu", index)
    if wish.emulatorpin is not None:
        _pin(root, "emulatorpin", wish.emulatorpin)
    for position, (index, cpuset) in enumerate(wish.iothreadpin or ()):
        _check_thread(root, index, position)
        _pin(root, "iothreadpin", cpuset, "iothread", index)


def _vcpu(root: Element, count: int | None, maximum: int | None) -> None:
    """The number plugged in, and the maximum; None is as it is, and the maximum only grows by itself.

    A VM whose vCPUs are all plugged in has as many as it is to have, so that its maximum follows.
    """
    is_new, plugged, most = root.find("vcpu") is None, plugged_vcpus(root), max_vcpu(root)
    count = len(plugged) if count is None else count
    if maximum is None:
        maximum = most if len(plugged) < most and count <= most else count
    if count > maximum:
        raise Impossible(
            f"{count} vCPUs are plugged in, and the maximum would be {maximum}",
            ("maxvcpus",),
            f"write vcpu: {maximum}",
        )
    if maximum > max(most, _WITHOUT_EIM):
        _check_interrupts(root, maximum, "vcpu" if maximum == count else "maxvcpus")
    one = child(root, "vcpu", order.DOMAIN)
    if is_new:
        one.set("placement", "static")
    if maximum != most or is_new:
        one.text = str(maximum)
    set_attribute(one, "current", None if count == maximum else str(count))
    _forget(root, _OF_VCPUS, frozenset(range(maximum)))
    if count == maximum:
        take_out_all(root, "vcpus")  # says which of them are plugged in: now all are
    elif root.find("vcpus") is not None and count != len(plugged):
        _plug(root, plugged, count, maximum)


_WITHOUT_EIM: Final = 255
"""vCPUs that a guest can have without interrupts of its IOMMU (QEMU_MAX_VCPUS_WITHOUT_EIM of libvirt)."""


def _check_interrupts(root: Element, maximum: int, word: str) -> None:
    """qemuValidateDomainVCpuTopology: "more than 255 vCPUs require extended interrupt mode"."""
    if root.find("devices/iommu/driver[@eim='on']") is None:
        raise Impossible(
            f"{maximum} vCPUs need an IOMMU with extended interrupts, and the VM has none",
            (word,),
            "add <ioapic driver='qemu'/> to <features> of its XML, and to <devices> "
            "<iommu model='intel'><driver intremap='on' eim='on'/></iommu>",
        )


def _plug(root: Element, plugged: CpuNumbers, count: int, maximum: int) -> None:
    """Say for each vCPU whether it is plugged in: the first `count` of them are."""
    if plugged != frozenset(range(len(plugged))):
        raise Impossible(
            f"the vCPUs {format_cpus(plugged)} of {max_vcpu(root)} are plugged in one by one: "
            f"which {count} of them should be?",
            ("vcpu",),
            f"write vcpu: {len(plugged)}",
        )
    known = {number(one.get("id"), "the id of a vCPU"): one for one in root.findall("vcpus/vcpu")}
    for index in range(maximum):
        one = known.get(index)
        if one is None:
            one = element("vcpu", {"id": str(index)})
            place(child(root, "vcpus", order.DOMAIN), one, ("vcpu",), by="id")
        elif (one.get("enabled") == "yes") == (index < count):
            continue
        one.set("enabled", "yes" if index < count else "no")
        if index >= count:  # libvirt: "vcpu is both offline and not hotpluggable"
            set_attribute(one, "hotpluggable", "yes")
    for one in root.findall("vcpus/vcpu"):  # qemuDomainDefVcpusPostParse: all have an order or none
        set_attribute(one, "order", None)


def _iothreads(root: Element, wished: int) -> None:
    ids = tuple(iothread_ids(root))
    if wished:
        child(root, "iothreads", order.DOMAIN).text = str(wished)
    else:
        take_out_all(root, "iothreads", "defaultiothread")
    if wished < len(ids):
        _forget_threads(root, ids, frozenset(ids[:wished]))


def _check_thread(root: Element, index: int, position: int) -> None:
    """libvirt: "Cannot find 'iothread' : 1" (virDomainIOThreadPinDefParseXML)."""
    ids = iothread_ids(root)
    if index not in ids:
        there = f"there are {format_cpus(frozenset(ids))}" if ids else "there is none"
        needed = index + sum(1 for number_ in ids if number_ > index)  # libvirt fills the lowest free ones
        raise Impossible(
            f"iothreadpin names I/O thread {index}, and {there}",
            ("iothreadpin", position),
            f"write iothreads: {needed}",
        )


def _forget_threads(root: Element, ids: Sequence[int], kept: CpuNumbers) -> None:
    """What is said of I/O threads that are no more. Impossible where a device needs one."""
    used = [one.get("iothread") for one in root.iterfind("devices//*[@iothread]")]
    used += [one.get("id") for one in root.iterfind("devices//iothreads/iothread")]
    needed = {number(one, "the I/O thread of a device") for one in used} - kept
    if needed:
        raise Impossible(
            f"a device uses I/O thread {format_cpus(frozenset(needed))}, which the spec takes out",
            ("iothreads",),
            f"write iothreads: {max(map(ids.index, needed & {*ids}), default=len(ids) - 1) + 1}",
        )
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
