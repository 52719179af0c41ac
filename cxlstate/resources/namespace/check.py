"""What cannot be right with a namespace: by the spec and its VM, and now that the machine was seen."""

from __future__ import annotations

from collections.abc import Iterator

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import NvdimmOfVm
from cxlstate.core.units import format_address, format_size
from cxlstate.formats import dax
from cxlstate.formats.dax import Device
from cxlstate.formats.ndctl import Namespace, Region
from cxlstate.resources.namespace.probe import Live, Use, hidden
from cxlstate.resources.namespace.spec import PAGED, NamespaceSpec

REGION_ALIGN = 16 << 20
"""What a region has unless somebody wrote another (`MEMREMAP_COMPAT_ALIGN_MAX` in `region_devs.c`)."""


def beforehand(spec: NamespaceSpec, given: NvdimmOfVm | None) -> Iterator[Diagnostic]:
    """By what the spec and its VM say: no machine is needed for it."""
    size = given.usable if given and spec.wanted else None
    if given and size and spec.mode in PAGED and size % REGION_ALIGN:
        said = f"{format_size(given.size or 0)} less a label of {format_size(given.label)}"
        yield _misaligned(spec, size, REGION_ALIGN, said)


def located(spec: NamespaceSpec, found: tuple[Region, ...], live: Live) -> Iterator[Diagnostic]:
    """Whether there is one region, with one namespace at most."""
    if not found:
        yield Diagnostic(
            "CXA301",
            "no region of persistent memory matches",
            path=_identity(spec),
            found=_listed(live.regions) or "no region",
            expected="a region with the address or NVDIMM that is written",
            hint="`ndctl list -RDi` shows the regions and their NVDIMMs",
        )
    elif len(found) > 1:
        yield Diagnostic(
            "CXA302",
            "several regions match",
            path=_identity(spec),
            found=_listed(found),
            expected="one region",
            hint=f"name it by its address: region: {found[0].start or 0:#x}",
        )
    elif unseen := hidden(found[0], live):
        yield Diagnostic(
            "CXA315",
            f"{unseen[0]} is disabled: what is in it cannot be seen",
            path=_identity(spec),
            found=f"{found[0].name}: {_where(found[0])}",
            expected="a region and a namespace that are enabled",
            hint=unseen[1],
        )
    elif len(found[0].namespaces) > 1:
        yield Diagnostic(
            "CXA304",
            f"{found[0].name} has several namespaces",
            found=", ".join(f"{one.name} ({said(one)})" for one in found[0].namespaces),
            expected="one, or none",
            hint="save what is in them, and `ndctl destroy-namespace` those that are not wanted",
        )


def drivers(spec: NamespaceSpec, region: Region, live: Live) -> Iterator[Diagnostic]:
    """What the running kernel does not have, to drive what is wanted, or to see what is there."""
    hidden = any(not one.enabled for one in region.namespaces)
    wanted = [name for name in live.missing if name == "nd_pmem" or spec.mode == "devdax"]
    needed = live.missing if hidden else wanted if spec.wanted else ()
    if needed:
        yield Diagnostic(
            "CXA305",
            f"the running kernel has no module {needed[0]}",
            path=("mode",) if spec.wanted else (),
            found=f"modinfo finds no {' and no '.join(needed)}",
            expected="a kernel with the drivers of persistent memory",
            hint="on Ubuntu add to packages: linux-modules-extra- and what `uname -r` prints; "
            "Debian has them in the kernel's own package, but not in linux-image-cloud-*",
        )


def working(there: Namespace, live: Live) -> Iterator[Diagnostic]:
    """Whether the dax device of a namespace that is as wished says the same."""
    device = live.device(there)
    if there.mode != "devdax":
        return
    if device and device.driver == dax.KMEM:
        yield _ram(there, device, live)
    elif path := dict(live.made_ram).get(there.name):
        yield Diagnostic(
            "CXA316",
            f"daxctl makes system RAM of {there.name} at every boot",
            Severity.WARNING,
            found=f"mode = system-ram for its UUID in {path}",
            expected="a device that programs can map",
            hint=f"remove that section from {path}",
        )
    if device is None or (device.align, device.size) != (there.align, there.size):
        yield Diagnostic(
            "CXA314",
            f"ndctl and the kernel disagree about {there.name}",
            found=f"{device.name}: {format_size(device.size)}, align {format_size(device.align)}"
            if device
            else f"no device {there.device or there.dax_name}",
            expected=f"{there.device or there.dax_name}: {format_size(there.size)}, "
            f"align {_size(there.align)}",
            hint=f"if nobody uses it: ndctl disable-namespace {there.name}, and enable-namespace likewise",
        )


def made(spec: NamespaceSpec, align: int | None, region: Region) -> Iterator[Diagnostic]:
    """What keeps ndctl from making it in this region."""
    if spec.mode in PAGED and region.align and region.size % region.align:
        yield _misaligned(spec, region.size, region.align, f"{region.name} has {region.size} bytes")
    if align and region.start is not None and region.start % align:
        yield Diagnostic(
            "CXA309",
            f"{region.name} does not begin at a multiple of the alignment",
            path=("align",) if spec.align else (),
            found=format_address(region.start),
            expected=f"a multiple of {format_size(align)}",
        )


def shared(spec: NamespaceSpec, region: Region, live: Live) -> Iterator[Diagnostic]:
    """What another guest does with the same memory."""
    if spec.writer is False:
        yield Diagnostic(
            "CXA312",
            "another guest has to make this namespace",
            path=("writer",),
            found="writer: false, and the namespace differs",
            expected="the guest with `writer: true` to have made it, and this one started after that",
            hint="apply the spec of the other guest, then restart this one: labels are read at its start",
        )
    if live.relabelled(region):
        yield Diagnostic(
            "CXA310",
            "the labels were written by another guest",
            path=("writer",),
            found=f"labels on {', '.join(region.dimms)} differ from what this kernel read at its start",
            expected="one writer",
            hint="restart this guest to read them again, and plan again",
        )


def in_the_way(namespace: Namespace, live: Live) -> Diagnostic | None:
    """Who uses what would be made anew: ndctl takes even a forced one from no mounted file system."""
    use, device = live.use(namespace), live.device(namespace)
    if device and device.driver == dax.KMEM:
        return _ram(namespace, device, live)
    if not use.users:
        return None
    return Diagnostic(
        "CXA306",
        f"{namespace.name} is in use",
        found="; ".join(use.users),
        expected="nobody who uses it while it is made anew",
        hint="unmount it, close what is made of it, or end the program, and plan again",
    )


def _ram(namespace: Namespace, device: Device, live: Live) -> Diagnostic:
    path = dict(live.made_ram).get(namespace.name)
    first = f"remove the section with its UUID from {path}, and then: " if path else ""
    return Diagnostic(
        "CXA308",
        f"{namespace.name} is system RAM",
        found=f"{device.name} is bound to kmem",
        expected="a device that programs can map",
        hint=f"{first}daxctl reconfigure-device --mode=devdax {device.name}",
    )


def said(namespace: Namespace, use: Use | None = None) -> str:
    """A namespace in a few words: what it is, and what is in it."""
    words = [namespace.mode, format_size(namespace.size)]
    if namespace.uuid:
        words.append(f"uuid {namespace.uuid}")
    if use and use.signature:
        words.append(f"holds {use.signature}")
    return ", ".join(words)


def _misaligned(spec: NamespaceSpec, size: int, align: int, found: str) -> Diagnostic:
    return Diagnostic(
        "CXA303",
        f"mode {spec.mode} needs a region of whole {format_size(align)}",
        path=("mode",),
        found=f"{found}: {size % align} bytes too many",
        expected=f"size less label: a multiple of {format_size(align)}",
        hint="write `label: 16MiB` at the VM's nvdimm, and a size that is a multiple of 16MiB",
    )


def _listed(regions: tuple[Region, ...]) -> str:
    return ", ".join(f"{one.name}: {_where(one)}" for one in regions)


def _where(region: Region) -> str:
    at = "" if region.start is None else f" at {format_address(region.start)}"
    handles = f", handle {', '.join(map(str, region.handles))}" if region.handles else ""
    return f"{format_size(region.size)}{at}{handles}"


def _size(size: int | None) -> str:
    return "none" if size is None else format_size(size)


def _identity(spec: NamespaceSpec) -> tuple[str, ...]:
    words = {"nvdimm": spec.nvdimm, "handle": spec.handle, "region": spec.region}
    return next(((word,) for word, value in words.items() if value is not None), ())
