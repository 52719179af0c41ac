"""What cannot be right with a device, now that the machine was seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Inputs, KernelArguments, ModuleKeptOut
from cxlstate.core.reconciler import Resource
from cxlstate.core.units import format_address, format_size
from cxlstate.formats import dax, kernel_patches, modprobe
from cxlstate.formats.dax import Device, Holder
from cxlstate.formats.iomem import covered
from cxlstate.resources.dax import next_boot
from cxlstate.resources.dax.probe import Live, Missing
from cxlstate.resources.dax.spec import ALIGNS, DaxSpec

_SOURCES = {"hmem": "drivers/dax/hmem/hmem.c", "cxl": "drivers/dax/cxl.c"}


def diagnose(me: Resource[DaxSpec], live: Live, inputs: Inputs) -> Iterator[Diagnostic]:
    """Every problem there is; `path` is relative to the resource."""
    spec, device = me.spec, live.device
    if live.others:
        yield _several(spec, live)
        return
    if spec.memory and spec.memory != device.ranges:
        yield _other_size(spec, live)
    yield from _after_a_boot(spec, live)
    if not spec.wanted:
        return
    yield from next_boot.diagnose(live, inputs)
    if device.region != "pmem":
        yield from _kmem(live, inputs)
    if spec.align:
        yield from _align(spec.align, device)
    if device.driver not in (None, dax.DEVDAX, dax.KMEM):
        yield _other_driver(device)
    if live.doomed:
        yield write_back(live)
    if live.bound and any(one.unproven for one in live.mapped):
        yield _unproven(live)


def missing(live: Missing) -> Diagnostic:
    """Nothing can be made of what is not there."""
    return Diagnostic(
        "CXD303",
        "dax device not found",
        found=live.instead,
        expected="a device with the memory, node or name that is written",
        hint=_why_missing(live),
    )


_WHY_MISSING: Final = (
    (r"region\d+", ""),
    (
        r"Persistent Memory.*",
        "`ndctl list --namespaces --idle`: only a devdax namespace has a device",
    ),
    (r"Soft Reserved", ""),
    (
        r"CXL Window \d+",
        "`cxl list --regions --decoders`: `cxl create-region` makes a region in it",
    ),
    (r"System RAM", "have the firmware mark it as specific-purpose memory (its setup; on AMD: SPM)"),
)
"""By what the memory is called; the first one that fits. Empty: the machine tells (`made_by_none`)."""


def _why_missing(live: Missing) -> str:
    if live.taken_by and live.taken_by.startswith("efi="):
        return f"add {live.taken_by} to host.grub.absent: it makes RAM of such memory"
    if live.taken_by:
        return f"take {live.taken_by} off the kernel command line: it takes that memory"
    found = (cure for name, cure in _WHY_MISSING if any(re.fullmatch(name, one) for one in live.under))
    return next(found, "`daxctl list -M` shows the devices") or live.made_by_none


def in_the_way(holders: tuple[Holder, ...], name: str) -> Diagnostic | None:
    """Processes that are no guests: nobody can tell what stopping them would do."""
    others = [one for one in holders if one.vm is None]
    if not others:
        return None
    return Diagnostic(
        "CXD306",
        f"dax.{name} is in use",
        found=", ".join(map(str, others)),
        expected="nobody, or guests that may be stopped",
        hint="end it, and plan again",
    )


def write_back(live: Live) -> Diagnostic:
    """A warning while there is a link to take away; then nothing is left that could be done."""
    return Diagnostic(
        "CXD321",
        f"the kernel maps {live.device.name} write-back, whatever its MTRRs are",
        Severity.WARNING if live.link else Severity.ERROR,
        found=live.forced,
        expected="memory that becomes uncached by its MTRRs",
        hint="run `cxlstate explain CXD321` to look for the cause, or take host.mtrr out to use it cached",
    )


def _several(spec: DaxSpec, live: Live) -> Diagnostic:
    found = [f"{one.name}: {one.memory}" for one in (live.device, *live.others)]
    return Diagnostic(
        "CXD307",
        "several dax devices match",
        path=("target_node",) if spec.target_node is not None else _written(spec),
        found=", ".join(found),
        expected="one device",
        hint=f"name it by its memory: {_identity(live.device)}",
    )


def _other_size(spec: DaxSpec, live: Live) -> Diagnostic:
    device = live.device
    said = (f"{format_size(one.size)} at {format_address(one.start)}" for one in spec.memory)
    return Diagnostic(
        "CXD308",
        "device memory differs from the spec",
        path=_written(spec),
        found=f"{device.name}: {device.memory}",
        expected=" and ".join(said),
        hint=f"if that is the device, write {_identity(device)}{_divided(spec, live)}",
    )


def _divided(spec: DaxSpec, live: Live) -> str:
    """Where it is all of its region, and the spec says a part: a boot may have put it together again."""
    device = live.device
    whole = device.size == live.region_size and all(covered(one, device.ranges) for one in spec.memory)
    return "; if daxctl had divided its region, do that again: a boot forgets it" if whole else ""


def _after_a_boot(spec: DaxSpec, live: Live) -> Iterator[Diagnostic]:
    if spec.device:
        yield _name_is_no_identity(live.device)
    if spec.wanted and live.made_by_hand:
        yield _gone_after_a_boot(live)


def _gone_after_a_boot(live: Live) -> Diagnostic:
    """Neither the kernel nor daxctl keeps how a region is divided."""
    return Diagnostic(
        "CXD324",
        f"the next boot does not make {live.device.name} again",
        Severity.WARNING,
        found=f"{live.device.memory}, of a region of {format_size(live.region_size or 0)}",
        expected="a device of all of its region, which is what a boot makes",
        hint="have a unit with `Before=cxlstate-restore.service` run the daxctl commands that made it",
    )


def _name_is_no_identity(device: Device) -> Diagnostic:
    return Diagnostic(
        "CXD301",
        f"{device.name} may be another device after the next boot",
        Severity.WARNING,
        path=("device",),
        found=f"{device.name} of {device.owner}" if device.owner else device.name,
        expected="where its memory is",
        hint=f"write {_identity(device)}",
    )


def _kmem(live: Live, inputs: Inputs) -> Iterator[Diagnostic]:
    """By all the evidence there is, and by what is to be on the command line."""
    to_come = _to_come(inputs)
    name, fate = live.device.name, live.kmem
    if modprobe.by_initcall(modprobe.KMEM, to_come):
        return
    if fate.built_in and not fate.kept_out_by:
        if live.added_offline and live.stays_ram:
            yield _onlined(name)
        elif not (live.added_offline or modprobe.added_offline(to_come)):
            yield _built_in(name)
        return
    listed = modprobe.by_command_line(modprobe.KMEM, to_come) or ""
    kept_out = fate.kept_out_by or (listed and not (fate.pulled and listed.startswith("modprobe.")))
    if kept_out or any(one.name == modprobe.KMEM for _, one in inputs.all(ModuleKeptOut)):
        return
    if fate.doubt:
        yield Diagnostic(
            "CXD323",
            f"cannot tell whether kmem will claim {name}",
            Severity.WARNING,
            found=fate.doubt,
            expected="kmem kept out at every boot",
            hint="add to host.grub.args: module_blacklist=kmem",
        )
        return
    yield Diagnostic(
        "CXD302",
        f"kmem will claim {name} as system RAM",
        found="no modprobe.blacklist=kmem on the kernel command line, and nothing in modprobe.d",
        expected="kmem kept out at every boot",
        hint="add to host.modules: kmem: absent",
    )


def will_be_given_back(live: Live, inputs: Inputs) -> bool:
    """Whether kmem has it and, at the latest after the next boot, has put nothing in it."""
    built_in = live.kmem.built_in and modprobe.added_offline(_to_come(inputs))
    return live.given_back or (live.device.driver == dax.KMEM and built_in)


def _to_come(inputs: Inputs) -> str:
    """What is to be on the kernel command line."""
    return " ".join(text for _, arguments in inputs.all(KernelArguments) for text in arguments.texts)


def _built_in(name: str) -> Diagnostic:
    """No list keeps it out. It gives the device back where its memory stays offline (`dax_kmem_range`)."""
    return Diagnostic(
        "CXD322",
        f"kmem is built into the kernel and claims {name} at every boot",
        found="no memhp_default_state=offline on the kernel command line",
        expected="memory that stays offline, so that the device can be taken back from kmem",
        hint="add to host.grub.args: memhp_default_state=offline",
    )


def _onlined(name: str) -> Diagnostic:
    """Rules of udev come after what the kernel does by itself."""
    return Diagnostic(
        "CXD322",
        f"kmem is built into the kernel, and something onlines the memory of {name}",
        found="online in a zone of the kernel's own, in spite of memhp_default_state=offline",
        expected="memory that stays offline, so that the device can be taken back from kmem",
        hint="add to host.grub.args: initcall_blacklist=dax_kmem_init",
    )


def _align(align: int, device: Device) -> Iterator[Diagnostic]:
    """`align_store` in `drivers/dax/bus.c`; a region of pmem is static."""
    whole = all(not one.size % align and not one.start % align for one in device.ranges)
    fits = device.region != "pmem" and whole
    if align != device.align and not fits:
        yield Diagnostic(
            "CXD304",
            f"{device.name} cannot have this alignment",
            path=("align",),
            found=f"{device.name}, {device.memory}, aligned on {format_size(device.align)}",
            expected=f"a device of the kernel's own, at a multiple of {format_size(align)}",
            hint="the alignment of a pmem device is that of its namespace (ndctl)"
            if device.region == "pmem"
            else f"write align: {format_size(_largest_align(device))}",
        )
    elif device.region_align is not None and align < device.region_align:
        source = _SOURCES.get(device.region, "the driver of its region")
        passed = f"PMD_SIZE in alloc_dax_region(), {source}"
        patch = kernel_patches.BY_DRIVER.get(device.region) if align == kernel_patches.ALIGN else None
        how = f"`host.kernel` with the patch {patch} ({passed})" if patch else passed
        yield Diagnostic(
            "CXD305",
            f"the region of {device.name} has a larger alignment",
            Severity.WARNING,
            path=("align",),
            found=f"region {format_size(device.region_align)} ({device.owner or device.region})",
            expected=format_size(align),
            hint=f"only another kernel changes it: {how}",
        )


def _largest_align(device: Device) -> int:
    """That all of its ranges are multiples of; what it has now is one that it can have."""
    numbers = [number for one in device.ranges for number in (one.start, one.size)]
    fitting = [align for align in ALIGNS if not any(number % align for number in numbers)]
    return max(fitting, default=device.align)


def _other_driver(device: Device) -> Diagnostic:
    return Diagnostic(
        "CXD309",
        f"{device.name} is bound to another driver",
        found=str(device.driver),
        expected="device_dax, kmem or none",
        hint=f"if nobody uses it: echo {device.name} > /sys/bus/dax/drivers/{device.driver}/unbind",
    )


def _unproven(live: Live) -> Diagnostic:
    return Diagnostic(
        "CXD310",
        f"cannot prove that {live.device.name} is mapped uncachable",
        Severity.WARNING,
        found=live.unproven or "no record of its memory",
        expected="a record of the kernel in /sys/kernel/debug/x86/pat_memtype_list",
        hint=live.records,
    )


def _identity(device: Device) -> str:
    """What names it in a spec for good."""
    said = [f"{{start: {one.start:#x}, size: {format_size(one.size)}}}" for one in device.ranges]
    return f"range: {said[0]}" if len(said) == 1 else f"ranges: [{', '.join(said)}]"


def _written(spec: DaxSpec) -> tuple[str, ...]:
    return ("range",) if spec.range else ("ranges",)
