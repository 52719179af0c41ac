"""Whether what a VM opens by its path is there, can be reached, and outlives the next boot."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cxlstate.core.answers import Answers
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exit_status import NOT_FOUND
from cxlstate.core.path import Path
from cxlstate.core.read import Read
from cxlstate.core.units import format_size
from cxlstate.formats import disk_use, restore, storage
from cxlstate.formats.disk_use import Use
from cxlstate.formats.storage import Stat, Way
from cxlstate.resources.vm.devices import MODULE, is_written_to, loses
from cxlstate.resources.vm.spec import VmSpec


@dataclass(frozen=True, slots=True)
class Opened:
    """What is at a path (None: nothing), and the folders to it; `use` is what the host makes of a device."""

    stat: Stat | None
    way: Way
    use: Use | None = None


def named(spec: VmSpec) -> Iterator[tuple[Path, str]]:
    """Disks that a guest writes to, and NVDIMMs, which are named by a path."""
    for number, disk in enumerate(spec.disks or ()):
        if disk.path and disk.state == "present" and is_written_to(disk):
            yield ("disks", number, "path"), disk.path
    for number, one in enumerate(spec.nvdimm or ()):
        if one.path and one.state == "present":
            yield ("nvdimm", number, "path"), one.path


def opened(spec: VmSpec) -> Iterator[tuple[Path, str]]:
    """Those, and what is only read: other disks, a kernel and its initrd."""
    yield from named(spec)
    for number, disk in enumerate(spec.disks or ()):
        if disk.path and disk.state == "present" and not is_written_to(disk):
            yield ("disks", number, "path"), disk.path
    for word in ("kernel", "initrd"):
        if path := getattr(spec.os, word, None):
            yield ("os", word), path


def reads(spec: VmSpec) -> Iterator[Read]:
    """Each file, and the folders on the way to it."""
    for _, path in opened(spec):
        yield storage.stat(path)
        yield from storage.way_reads(path)
    for path in _devices(spec):
        yield from disk_use.reads(path)


def _devices(spec: VmSpec) -> tuple[str, ...]:
    """What a guest writes to that is no file."""
    return tuple(path for _, path in named(spec) if is_device(path))


def is_device(path: str) -> bool:
    """Whether it names one, and none that we link to."""
    return path.startswith("/dev/") and not path.startswith(f"{restore.LINKS}/")


def seen(spec: VmSpec, answers: Answers) -> Mapping[str, Opened]:
    """By path; without those of which the machine said nothing."""
    devices = _devices(spec)
    blocks = disk_use.blocks(devices, answers) if devices else None
    return {
        path: Opened(
            storage.stat_of(path, answers),
            storage.way(path, answers),
            blocks.use(path) if blocks and path in devices else None,
        )
        for _, path in opened(spec)
        if answers.raw(storage.stat(path)).status != NOT_FOUND
    }


def diagnose(spec: VmSpec, found: Mapping[str, Opened]) -> Iterator[Diagnostic]:
    """Of a VM that does not run: what has a process is open already."""
    severity = Severity.ERROR if spec.state == "running" else Severity.WARNING
    for path, name in named(spec):
        one = found.get(name)
        if one is None:
            continue
        device = is_device(name)
        if device and (one.stat is None or not one.stat.device):
            yield _no_device(path, name, one.stat, severity)
        elif device and one.use:
            yield _used(path, name, one.use, severity)
        elif (memory := one.way.memory) and not device and not (one.stat and one.stat.device):
            yield Diagnostic(
                "CXQ350",
                f"{loses(path)} would be lost at the next boot",
                # QEMU makes the file of an NVDIMM that is not there.
                Severity.WARNING if one.stat else severity,
                path=path,
                found=f"{name} in {memory}",
                expected="a path on a disk",
                hint="write path: /var/lib/libvirt/images/NAME",
            )
    yield from _out_of_reach(spec, found, severity)


def too_small(spec: VmSpec, found: Mapping[str, Opened]) -> Iterator[Diagnostic]:
    """Files of NVDIMMs that are there, and that QEMU does not make larger (qemu_ram_alloc_from_fd)."""
    for number, one in enumerate(spec.nvdimm or ()):
        seen = found.get(one.path or "")
        stat = seen.stat if seen and one.state == "present" else None
        if stat is None or not stat.regular or not one.size or not 0 < stat.size < one.size:
            continue
        fits = stat.size // MODULE * MODULE
        yield Diagnostic(
            "CXQ304",
            "the NVDIMM is larger than the file that it is",
            path=("nvdimm", number, "size"),
            found=format_size(one.size),
            expected=f"at most {format_size(stat.size)}, the size of {one.path}",
            hint=f"write size: {format_size(fits)}"
            if fits
            else f"remove it, if nothing is in it, and QEMU makes it: rm {shlex.quote(one.path or '')}",
        )


def _out_of_reach(spec: VmSpec, found: Mapping[str, Opened], severity: Severity) -> Iterator[Diagnostic]:
    for path, name in opened(spec):
        if name in found and (closed := found[name].way.closed):
            folder, stat = closed
            yield Diagnostic(
                "CXQ360",
                f"QEMU cannot reach {name}",
                severity,
                path=path,
                found=f"{folder} has owner {stat.owner}:{stat.group} and mode {stat.permissions}",
                expected=f"folders that {found[name].way.qemu} can enter",
                hint="move the file to /var/lib/libvirt/images and write that path; "
                f"or let everybody enter: chmod o+x {shlex.quote(folder)}",
            )


def _mounted(path: Path, name: str, device: str, point: str, severity: Severity) -> Diagnostic:
    own = point.split("/")[1] in _OF_THE_HOST
    return Diagnostic(
        "CXQ353",
        f"the host has mounted {name}",
        severity,
        path=path,
        found=f"{device} on {point}",
        expected="a device that nobody else writes to",
        hint="choose another one"
        + ("" if own else f"; or, if it is the VM's, unmount it for good: umount {shlex.quote(point)}"),
    )


def _used(path: Path, name: str, use: Use, severity: Severity) -> Diagnostic:
    """A device that is only assembled may be made of what the guest wrote there: the host finds that, too."""
    if use.on:
        return _mounted(path, name, use.device, use.on, severity)
    cure = f": lsblk {shlex.quote(name)} shows what is on it"
    if use.swap:
        cure = f"; or, if it is the VM's, take it out of the swap space: swapoff {use.device}"
    return Diagnostic(
        "CXQ353",
        f"the host {'swaps to' if use.swap else 'has a device made of'} {name}",
        severity if use.swap else Severity.WARNING,
        path=path,
        found=f"{use.device} is swap space" if use.swap else f"{use.device}, in /sys/class/block/*/holders",
        expected="a device that nobody else writes to",
        hint="choose another one" + cure,
    )


_OF_THE_HOST: Final = ("", "boot", "efi", "home", "opt", "usr", "var")
"""Folders of the root that are the host's own system."""


def _no_device(path: Path, name: str, stat: Stat | None, severity: Severity) -> Diagnostic:
    hint = "a logical volume is activated by lvchange -ay VG/LV"
    if path[0] == "nvdimm":
        hint = "name the device by its own resource, dax: dax.NAME: the VM then waits for it"
    return Diagnostic(
        "CXQ351",
        f"{name} is not a device",
        severity,
        path=path,
        found="a file in memory" if stat and stat.regular else "another kind of file" if stat else "nothing",
        expected="a block device" if path[0] == "disks" else "a dax or block device",
        hint=f"remove it: rm {name}; {hint}" if stat and stat.regular else hint,
    )
