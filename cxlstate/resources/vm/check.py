"""What cannot be right with a VM, now that the machine was seen."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from cxlstate.core.address import Address
from cxlstate.core.assessment import Later
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.domain import CpuNumbers, Domain
from cxlstate.core.exports import DaxDevice, Inputs
from cxlstate.core.observation import Observation, Unknown
from cxlstate.core.path import Path, show
from cxlstate.core.reconciler import Resource
from cxlstate.core.units import format_cpus, format_size
from cxlstate.formats import domain_xml
from cxlstate.resources.vm import models, paths, placement, sources
from cxlstate.resources.vm.devices import NvdimmSpec
from cxlstate.resources.vm.probe import Host, Live, Missing, Seen
from cxlstate.resources.vm.spec import VmSpec
from cxlstate.resources.vm.wish import KIB, device_of, least_align, path_of

LEAST_MEMORY: Final = 16 << 20
"""Less, no guest of today starts with."""


def diagnose(me: Resource[VmSpec], live: Seen, wished: Domain, inputs: Inputs) -> Iterator[Diagnostic]:
    """Every problem there is; `path` is relative to the resource."""
    spec = me.spec
    if spec.state == "absent":
        if isinstance(live, Live):
            yield from _cannot_go(me.name, live)
        return
    runs = isinstance(live, Live) and live.runs
    yield from placement.diagnose(spec, live.host)
    yield from models.diagnose(spec)
    yield from models.of_the_system(spec)
    yield from _in_kib(spec, live)
    yield from _nvdimms(me, inputs, None if runs else live.host)
    yield from paths.too_small(spec, live.host.opened)
    if not runs:
        yield from paths.diagnose(spec, live.host.opened)
    if isinstance(live, Live) and live.inactive:
        yield from _of_the_old_switch(live, wished)
        yield from sources.diagnose(me.name, spec, live, wished)
    lacking = list(_too_little(spec) if isinstance(live, Missing) else _existing(me, live, wished))
    yield from lacking or _unmakeable(me, live, wished)


def before_it_is_seen(me: Resource[VmSpec], host: Host, inputs: Inputs) -> Iterator[Diagnostic]:
    """What the host and the devices tell already, while libvirt says nothing of the VM."""
    if me.spec.state != "absent":
        yield from placement.diagnose(me.spec, host)
        yield from models.diagnose(me.spec)
        yield from _in_kib(me.spec, None)
        yield from _nvdimms(me, inputs, None)
        yield from paths.diagnose(me.spec, host.opened)


def later(spec: VmSpec, inputs: Inputs, seen: Observation[Seen]) -> Iterator[Later]:
    """Checks that have to wait: for libvirt, or for a device."""
    if spec.state == "absent":
        return
    if isinstance(seen, Unknown):
        yield Later("the definition that there may be, and who has its devices open", seen.cured_by)
    for entry in spec.nvdimm or ():
        device = device_of(entry, inputs) if entry.state == "present" else None
        if device and entry.dax and device.region_align is None:
            yield Later(f"alignsize and size against the region of {entry.dax}", (Address.parse(entry.dax),))


def _of_the_old_switch(live: Live, wish: Domain) -> Iterator[Diagnostic]:
    """What is not named stays, and may be what the new switch does not take."""
    wished = wish.interfaces or ()
    for index, old, tags in domain_xml.kept(live.xml, wished):
        one, named = wished[index], " and ".join(f"<{tag}>" for tag in tags)
        new = one.network or one.bridge
        yield Diagnostic(
            "CXQ384",
            f"{one.mac} keeps {named} from {old}",
            Severity.WARNING,
            path=("interfaces", index, "network" if one.network else "bridge"),
            found=f"{named} in the definition, for the switch behind {old}",
            expected=f"a switch behind {new} that takes them, too",
            hint=f"else write {one.mac} as absent, and another MAC for {new}: a new interface has none",
        )


def _in_kib(spec: VmSpec, live: Seen | None) -> Iterator[Diagnostic]:
    """A bare number is bytes here, and KiB in the XML that `virsh dumpxml` shows."""
    has = live.inactive.memory if isinstance(live, Live) and live.inactive else None
    said = spec.memory or 0
    if said and (said * KIB == has or said < LEAST_MEMORY):
        yield Diagnostic(
            "CXQ332",
            "memory is smaller than a guest can use",
            Severity.WARNING,
            path=("memory",),
            found=format_size(said),
            expected=f"{format_size(said * KIB)}, if the number is one of KiB, as in `virsh dumpxml`",
            hint=f"write memory: {format_size(said * KIB)}",
        )


# Its NVDIMMs ------------------------------------------------------------------------------------------


def _nvdimms(me: Resource[VmSpec], inputs: Inputs, host: Host | None) -> Iterator[Diagnostic]:
    """Without a host nobody asks who has them open: the VM itself may."""
    for number, entry in enumerate(me.spec.nvdimm or ()):
        if entry.state == "absent":
            continue
        path: Path = ("nvdimm", number)
        device = device_of(entry, inputs)
        if device:
            yield from _fits(entry, device, path)
        if host:
            yield from _in_use(me, entry, path_of(entry, inputs), host, path)


def _fits(entry: NvdimmSpec, device: DaxDevice, path: Path) -> Iterator[Diagnostic]:
    """QEMU maps a prefix of a larger device. That one is smaller it may not see.

    It refuses it (`backing store size …`) if it can read the size in sysfs (qemu_fd_getfile_size). AppArmor's
    profile denies that: then the guest starts with memory that is not there.
    """
    has = device.size
    if entry.size and has is not None and entry.size > has:
        yield Diagnostic(
            "CXQ304",
            "the NVDIMM is larger than the device that it is",
            path=(*path, "size"),
            found=format_size(entry.size),
            expected=f"at most {format_size(has)}, the size of {entry.dax}",
        )
    least = least_align(device)
    desired = None if entry.alignsize else device.desired_align
    if desired and device.region_align and desired < device.region_align:
        yield Diagnostic(
            "CXQ390",
            f"{entry.dax} cannot be aligned to {format_size(desired)} for guests",
            path=(*path, "dax"),
            found=f"its region is aligned to {format_size(device.region_align)}",
            expected=f"a region of {format_size(desired)}",
            hint=f"write align: {format_size(device.region_align)} at {entry.dax}; "
            "only another kernel changes the region (`cxlstate explain CXD305`)",
        )
    elif entry.alignsize and least and entry.alignsize < least:
        whose = f"the region of {entry.dax}" if least == device.region_align else f"{entry.dax}"
        yield Diagnostic(
            "CXQ305",
            "alignsize is smaller than the alignment of the dax device",
            path=(*path, "alignsize"),
            found=format_size(entry.alignsize),
            expected=f"at least {format_size(least)}, as {whose}",
            hint=f"write alignsize: {format_size(least)}, or leave it out",
        )
    elif entry.size and least and entry.size % least:
        down, up = format_size(entry.size // least * least), format_size(-(-entry.size // least) * least)
        yield Diagnostic(
            "CXQ352",
            "size is not a multiple of the alignment of the dax device",
            path=(*path, "size"),
            found=format_size(entry.size),
            expected=f"a multiple of {format_size(least)}",
            hint=f"write size: {up if down == '0' else down}",
        )


def _in_use(
    me: Resource[VmSpec], entry: NvdimmSpec, opened: str, host: Host, path: Path
) -> Iterator[Diagnostic]:
    """Who has it already. Two guests of one device write into each other's labels."""
    device = host.links.get(opened, opened.removeprefix("/dev/"))
    others = [one for one in host.holders or () if one.device == device and one.vm != me.name]
    guests = [one for one in others if one.vm]
    if not others or (entry.access == "shared" and len(guests) == len(others)):
        return
    yield Diagnostic(
        "CXQ306",
        "somebody else has the device open",
        path=path,
        found=", ".join(dict.fromkeys(map(str, others))),
        expected="nobody, or guests that share it (access: shared on both)",
        hint="end it, or shut that VM down, and plan again",
    )


# What it takes to make it -----------------------------------------------------------------------------


def _too_little(spec: VmSpec) -> Iterator[Diagnostic]:
    """A VM that is not there is made of the spec alone."""
    lacks = []
    if spec.xml is None:
        has_memory = spec.memory or (spec.cpu and spec.cpu.numa)
        lacks += [] if has_memory else ["memory"]
        lacks += [] if spec.vcpu else ["vcpu"]
    for number, one in enumerate(spec.nvdimm or ()):
        lacks += [] if one.size or one.state == "absent" else [f"nvdimm[{number}].size"]
    for number, disk in enumerate(spec.disks or ()):
        if disk.state == "absent" or disk.image:
            continue
        lacks += [] if disk.path or disk.device == "cdrom" else [f"disks[{number}].path or .image"]
        lacks += [] if disk.format or not disk.path else [f"disks[{number}].format"]
    for number, interface in enumerate(spec.interfaces or ()):
        has = interface.network or interface.bridge or interface.state == "absent"
        lacks += [] if has else [f"interfaces[{number}].network"]
    if lacks:
        yield Diagnostic(
            "CXQ308",
            "the spec lacks what a new VM needs",
            found="missing: " + ", ".join(lacks),
            expected="memory, vcpu, and a source for each disk and interface",
            hint="write them, or name a domain XML in `xml`; `virsh list --all` shows the VMs that exist",
        )


def _unmakeable(me: Resource[VmSpec], live: Seen, wished: Domain) -> Iterator[Diagnostic]:
    """What no definition can be: two devices in one slot, a base that is no domain."""
    base = me.spec.xml
    try:
        if isinstance(live, Live):
            domain_xml.merge(live.xml, wished)
        else:
            domain_xml.new(me.name, wished, base.text if base else None)
    except domain_xml.Impossible as impossible:
        path = _written(me.spec, impossible.path)
        yield Diagnostic(
            "CXQ314",
            "libvirt would refuse the definition of the VM",
            path=path,
            found=str(impossible),
            expected="a spec that fits what the VM has",
            hint=impossible.cure or (f"leave out {show(path)}" if path else None),
        )
    except ValueError as odd:  # only a base can still be: what libvirt itself wrote was read before
        yield Diagnostic(
            "CXQ314",
            "libvirt would refuse the definition of the VM",
            path=("xml",),
            found=str(odd),
            expected="the XML of a domain",
            hint=f"`virt-xml-validate {base.path} domain` shows what is wrong with it" if base else None,
        )


def _written(spec: VmSpec, path: Path) -> Path:
    """As much of a path as stands in the spec: what is in the way may not."""
    value: object = spec
    for depth, step in enumerate(path):
        if isinstance(step, int) and isinstance(value, tuple):
            value = value[step]
        else:
            value = getattr(value, str(step), None)
        if value is None:
            return path[:depth]
    return path


# What is there ----------------------------------------------------------------------------------------


def _existing(me: Resource[VmSpec], live: Live, wished: Domain) -> Iterator[Diagnostic]:
    name, spec = me.name, me.spec
    if live.inactive is None:
        yield Diagnostic(
            "CXQ307",
            "the VM is transient",
            found="a running domain without a persistent definition",
            expected="a persistent domain",
            hint=f"`virsh dumpxml {name} >{name}.xml && virsh define {name}.xml` keeps it after its stop",
        )
        return
    yield from _vcpus(
        name, spec, domain_xml.plugged(live.xml), live.inactive.max_vcpu or live.inactive.vcpu or 1
    )
    if spec.memory and not (spec.cpu and spec.cpu.numa) and len(live.inactive.cells or ()) > 1:
        yield Diagnostic(
            "CXQ310",
            "memory is ambiguous: the VM has several NUMA cells",
            path=("memory",),
            found=f"memory: {format_size(spec.memory)}, {len(live.inactive.cells or ())} cells",
            expected="cpu.numa with the memory of each cell",
        )
    if live.managed_save and not live.runs:
        matters = spec.state == "running" or domain_xml.differences(wished, live.inactive)
        yield Diagnostic(
            "CXQ309",
            "the VM has a managed save image",
            Severity.ERROR if matters else Severity.WARNING,
            found="a saved state, which the next start resumes whatever the definition says",
            expected="none",
            hint=f"`virsh start {name}` resumes it; `virsh managedsave-remove {name}` discards its memory",
        )
    if spec.state == "running" and live.state in _GOES_ON:
        yield Diagnostic(
            "CXQ311",
            f"the VM is {live.state}",
            path=("state",),
            found=live.state,
            expected="running",
            hint=f"`virsh domstate --reason {name}` says why; "
            f"`virsh {_GOES_ON[live.state]} {name}` lets it go on",
        )


_GOES_ON: Final = {"paused": "resume", "crashed": "reset", "pmsuspended": "dompmwakeup"}
"""By its state, the command of virsh; QEMU continues no guest that has panicked before a reset."""


def _vcpus(name: str, spec: VmSpec, plugged: CpuNumbers, maximum: int) -> Iterator[Diagnostic]:
    """How many are pinned and plugged in; `plugged` is not the first ones where `<vcpus>` says others."""
    most = spec.maxvcpus or max(spec.vcpu or 0, maximum)
    least, pins = spec.vcpu or len(plugged), len(spec.vcpupin or ())
    scattered = plugged != frozenset(range(len(plugged))) and spec.vcpu != most
    free = min(frozenset(range(maximum)) - plugged, default=0)
    has = f"{len(plugged)} of {maximum}: {format_cpus(plugged)}"
    if scattered and least != len(plugged):
        yield Diagnostic(
            "CXQ331",
            "the VM's vCPUs are plugged in one by one",
            path=("vcpu",),
            found=has,
            expected=f"vcpu: {len(plugged)}, as it is, or vcpu: {most}, which is all",
            hint=f"`virsh setvcpu {name} {free} --enable --config` plugs in a certain one",
        )
    if scattered and pins not in (0, most):
        yield Diagnostic(
            "CXQ331",
            "the VM's vCPUs are plugged in one by one",
            path=("vcpupin",),
            found=f"{pins} entries; plugged in are {has}",
            expected=f"{most} entries: the nth is for vCPU n, plugged in or not",
        )
    elif pins and not least <= pins <= most:
        yield Diagnostic(
            "CXQ312",
            "vcpupin does not fit the vCPUs that the VM has",
            path=("vcpupin",),
            found=f"{pins} for {least if pins < least else most} vCPUs",
            expected=f"{least if least == most else f'{least} to {most}'}: the nth entry is for vCPU n",
        )


def _cannot_go(name: str, live: Live) -> Iterator[Diagnostic]:
    if live.inactive is None:
        yield Diagnostic(
            "CXQ307",
            "the VM is transient",
            path=("state",),
            found="a running domain without a persistent definition",
            expected="a persistent domain, or none",
            hint=f"`virsh shutdown {shlex.quote(name)}` ends it, and nothing of it is left then",
        )
    kept = [*(["a managed save image"] if live.managed_save else []), *([live.keeps] if live.keeps else [])]
    if kept:
        yield Diagnostic(
            "CXQ313",
            "libvirt keeps snapshots or a saved state of the VM",
            path=("state",),
            found=", ".join(kept),
            expected="none",
            hint="`virsh managedsave-remove`, `snapshot-delete` or `checkpoint-delete` removes them",
        )
