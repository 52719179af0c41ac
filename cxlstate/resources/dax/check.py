"""What cannot be right with a device, now that the machine was seen."""

from __future__ import annotations

from collections.abc import Iterator

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Given, KernelArguments
from cxlstate.core.reconciler import Resource
from cxlstate.core.units import format_address, format_size
from cxlstate.formats import dax, mtrr
from cxlstate.formats.dax import Device, Holder
from cxlstate.resources.dax.probe import Live, Missing, kept_out
from cxlstate.resources.dax.spec import DaxSpec

_SOURCES = {"hmem": "drivers/dax/hmem/hmem.c", "cxl": "drivers/dax/cxl.c"}


def diagnose(me: Resource[DaxSpec], live: Live, given: Given) -> Iterator[Diagnostic]:
    """Every problem there is; `path` is relative to the resource."""
    spec, device = me.spec, live.device
    if live.others:
        yield _several(spec, live)
        return
    if spec.range and (spec.range.start, spec.range.size) != (device.start, device.size):
        yield _other_size(spec, device)
    if spec.device:
        yield _name_is_no_identity(device)
    if not spec.wanted:
        return
    if not live.kmem_kept_out and not _will_be_kept_out(given) and device.region != "pmem":
        yield _kmem()
    if spec.align:
        yield from _align(spec.align, device)
    if device.driver not in (None, dax.DEVDAX, dax.KMEM):
        yield _other_driver(device)
    if live.bound and not live.types and live.effective == mtrr.UNCACHABLE:
        yield _unproven(live)


def missing(live: Missing) -> Diagnostic:
    """Nothing can be made of what is not there."""
    return Diagnostic(
        "CXD303",
        "there is no such dax device",
        found=live.instead,
        expected="a device with the memory, node or name that is written",
        hint="`grep -i -e soft -e dax /proc/iomem` and `daxctl list` tell what there is; "
        "Soft Reserved memory without a device needs the module dax_hmem",
    )


def in_the_way(holders: tuple[Holder, ...], name: str) -> Diagnostic | None:
    """Processes that are no guests: nobody can tell what stopping them would do."""
    others = [one for one in holders if one.vm is None]
    if not others:
        return None
    return Diagnostic(
        "CXD306",
        f"dax.{name} is in use, and cannot be taken out of use for what is to be done",
        found=", ".join(map(str, others)),
        expected="nobody, or guests that may be stopped",
        hint="end it, and plan again",
    )


def _will_be_kept_out(given: Given) -> bool:
    return any(kept_out(arguments.texts) for _, arguments in given.all(KernelArguments))


def _several(spec: DaxSpec, live: Live) -> Diagnostic:
    found = [f"{one.name} at {_memory(one)}" for one in (live.device, *live.others)]
    return Diagnostic(
        "CXD307",
        "more than one dax device is meant",
        path=("target_node",) if spec.target_node is not None else ("range",),
        found=", ".join(found),
        expected="one device",
        hint=f"name it by its memory: range: {{start: {live.device.start:#x}, "
        f"size: {format_size(live.device.size)}}}",
    )


def _other_size(spec: DaxSpec, device: Device) -> Diagnostic:
    wanted = spec.range
    return Diagnostic(
        "CXD308",
        "the device there has other memory than the spec says",
        path=("range",),
        found=f"{device.name} at {_memory(device)}",
        expected=f"{format_size(wanted.size)} at {format_address(wanted.start)}" if wanted else None,
        hint="write what is there, if that is the device; its contents may be needed as they are",
    )


def _name_is_no_identity(device: Device) -> Diagnostic:
    return Diagnostic(
        "CXD301",
        "the kernel's name of a device may be another one's after the next boot",
        Severity.WARNING,
        path=("device",),
        found=device.name,
        expected="where its memory is",
        hint=f"write range: {{start: {device.start:#x}, size: {format_size(device.size)}}}",
    )


def _kmem() -> Diagnostic:
    return Diagnostic(
        "CXD302",
        "nothing keeps kmem from making system RAM of the device",
        found="no modprobe.blacklist=kmem on the kernel command line",
        expected="kmem kept out at every boot",
        hint="add to host.modules: kmem: absent",
    )


def _align(align: int, device: Device) -> Iterator[Diagnostic]:
    """`align_store` in `drivers/dax/bus.c`; a region of pmem is static."""
    fits = device.region != "pmem" and not device.size % align and not device.start % align
    if align != device.align and not fits:
        yield Diagnostic(
            "CXD304",
            "the device cannot have this alignment",
            path=("align",),
            found=f"{device.name}, {_memory(device)}, aligned on {format_size(device.align)}",
            expected=f"a device of the kernel's own, at a multiple of {format_size(align)}",
            hint="the alignment of a pmem device is that of its namespace (ndctl)",
        )
    elif device.region_align is not None and align < device.region_align:
        source = _SOURCES.get(device.region, "the driver of its region")
        yield Diagnostic(
            "CXD305",
            "the region of the device has a larger alignment, which QEMU asks of its guests",
            Severity.WARNING,
            path=("align",),
            found=f"region {format_size(device.region_align)} ({device.region})",
            expected=format_size(align),
            hint=f"only another kernel changes it: PMD_SIZE in alloc_dax_region(), {source}",
        )


def _other_driver(device: Device) -> Diagnostic:
    return Diagnostic(
        "CXD309",
        "another driver has the device",
        found=f"{device.name} is bound to {device.driver}",
        expected="device_dax, kmem or none",
        hint="unbind it by hand, if nobody needs it so",
    )


def _unproven(live: Live) -> Diagnostic:
    return Diagnostic(
        "CXD310",
        "it could not be proven that the device is mapped uncachable",
        Severity.WARNING,
        found=live.unproven or "no record of its memory",
        expected="a record of the kernel in /sys/kernel/debug/x86/pat_memtype_list",
        hint="debugfs is not mounted, or closed by kernel lockdown; the MTRRs themselves are right",
    )


def _memory(device: Device) -> str:
    return f"{format_size(device.size)} at {format_address(device.start)}"
