"""Rules of memory from a dax device through an NVDIMM to a namespace: its alignment, and its labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cxlstate.core.connect import Through
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.reconciler import Resource
from cxlstate.core.units import format_size
from cxlstate.resources.dax.spec import DaxSpec
from cxlstate.resources.namespace.spec import PAGED, NamespaceSpec
from cxlstate.resources.vm.devices import NvdimmSpec
from cxlstate.resources.vm.spec import VmSpec
from cxlstate.rules.memory import device_of, devices_of, memory_of
from cxlstate.rules.words import Resources, Rule, TreeRule, of
from cxlstate.spec.tree import Machine, Tree


def an_nvdimm_is_aligned_as_its_device(resources: Resources) -> Iterator[Diagnostic]:
    """CXQ391: `alignsize` is not smaller than the `align` of the dax device."""
    devices = devices_of(resources)
    for me in of(resources, VmSpec):
        for number, entry in enumerate(me.spec.nvdimm or ()):
            device = device_of(entry, devices)
            least = (device.spec.align or 0) if device else 0
            if device and entry.alignsize and entry.alignsize < least and _is_there(me, entry):
                yield Diagnostic(
                    "CXQ391",
                    f"alignsize is smaller than the alignment of {device.address}",
                    path=(*me.path, "nvdimm", number, "alignsize"),
                    address=me.address,
                    found=format_size(entry.alignsize),
                    expected=f"at least {format_size(least)}",
                    hint=f"{_by_address(entry, device)}leave `alignsize` out: it follows the device",
                )


def a_namespace_is_aligned_as_its_memory(tree: Tree) -> Iterator[Diagnostic]:
    """CXA311: `align` of a namespace is not smaller than that of the dax device behind its NVDIMM."""
    devices = devices_of(tree.host.resources)
    for one in _namespaces(tree):
        device = device_of(one.nvdimm, devices)
        least = (device.spec.align or 0) if device else 0
        if device and one.me.spec.mode in PAGED and one.me.spec.align and one.me.spec.align < least:
            yield Diagnostic(
                "CXA311",
                "namespace alignment is smaller than that of the memory behind it",
                path=(*one.me.path, "align"),
                machine=one.machine.id,
                address=one.me.address,
                found=f"{format_size(one.me.spec.align)}, and {device.address} has {format_size(least)}",
                expected=f"at least {format_size(least)}",
                hint=f"{_by_address(one.nvdimm, device)}leave `align` out: it follows the device",
            )


def one_guest_writes_the_labels(tree: Tree) -> Iterator[Diagnostic]:
    """CXA307: of the guests of one memory, the spec says which one writes its labels."""
    devices = devices_of(tree.host.resources)
    users: dict[str, list[str]] = {}
    for me in of(tree.host.resources, VmSpec):
        for entry in me.spec.nvdimm or ():
            if _is_there(me, entry):
                users.setdefault(memory_of(entry, devices), []).append(str(me.address))
    writers: dict[str, str] = {}
    for one in _namespaces(tree):
        memory = memory_of(one.nvdimm, devices)
        others = [name for name in users[memory] if name != str(one.vm.address)]
        writer = one.me.spec.writer
        first = writers.setdefault(memory, one.machine.id) if writer else one.machine.id
        if others and (writer is None or first != one.machine.id):
            word = ("writer",) if writer else ()
            yield Diagnostic(
                "CXA307",
                f"several VMs write the labels of {memory}",
                path=(*one.me.path, *word),
                machine=one.machine.id,
                address=one.me.address,
                found=f"writer: true, also in {first}" if writer else f"also {', '.join(others)}",
                expected="one of them with `writer: true`, the others with `writer: false`",
                hint="the guest that makes the namespace is the writer",
            )


RULES: Final[tuple[Rule, ...]] = (an_nvdimm_is_aligned_as_its_device,)
BETWEEN: Final[tuple[TreeRule, ...]] = (a_namespace_is_aligned_as_its_memory, one_guest_writes_the_labels)


@dataclass(frozen=True, slots=True)
class _InNvdimm:
    """A namespace that is wanted in a guest, and the entry of its VM's `nvdimm` that it is in."""

    machine: Machine
    me: Resource[NamespaceSpec]
    vm: Resource[VmSpec]
    nvdimm: NvdimmSpec


def _namespaces(tree: Tree) -> Iterator[_InNvdimm]:
    vms = {me.address: me for me in of(tree.host.resources, VmSpec)}
    for guest in tree.guests:
        vm = vms.get(guest.connect.vm) if isinstance(guest.connect, Through) else None
        for me in of(guest.resources, NamespaceSpec) if vm else ():
            entry = _meant(me.spec, vm) if vm and me.spec.wanted else None
            if vm and entry:
                yield _InNvdimm(guest, me, vm, entry)


def _meant(spec: NamespaceSpec, vm: Resource[VmSpec]) -> NvdimmSpec | None:
    """As far as the spec tells it."""
    every = list(enumerate(vm.spec.nvdimm or ()))
    there = [(number, one) for number, one in every if _is_there(vm, one)]
    if spec.region is not None:
        return None
    if spec.nvdimm is not None:
        there = [(number, one) for number, one in there if number == spec.nvdimm]
    elif spec.handle is not None:
        there = [(number, one) for number, one in there if one.slot == spec.handle - 1]
    return there[0][1] if len(there) == 1 else None


def _is_there(vm: Resource[VmSpec], entry: NvdimmSpec) -> bool:
    return vm.spec.state != "absent" and entry.state == "present"


def _by_address(entry: NvdimmSpec, device: Resource[DaxSpec]) -> str:
    """The beginning of a hint: what is named by a path follows nothing."""
    return "" if entry.dax else f"write `dax: {device.address}` in place of `path: {entry.path}`, and "
