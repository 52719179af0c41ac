"""Whether what a VM opens by its path is there, and outlives the next boot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.path import Path
from cxlstate.core.read import NOT_FOUND, Answers, Read
from cxlstate.formats import restore, storage
from cxlstate.formats.storage import Stat
from cxlstate.resources.vm.devices import is_written_to, loses
from cxlstate.resources.vm.spec import VmSpec


@dataclass(frozen=True, slots=True)
class Opened:
    """What is at a path (None: nothing), and in which memory it lies, if in any."""

    stat: Stat | None
    memory: str | None


def named(spec: VmSpec) -> Iterator[tuple[Path, str]]:
    """Disks that a guest writes to, and NVDIMMs, which are named by a path."""
    for number, disk in enumerate(spec.disks or ()):
        if disk.path and disk.state == "present" and is_written_to(disk):
            yield ("disks", number, "path"), disk.path
    for number, one in enumerate(spec.nvdimm or ()):
        if one.path and one.state == "present":
            yield ("nvdimm", number, "path"), one.path


def reads(spec: VmSpec) -> Iterator[Read]:
    """Each file, and the folders on the way to it."""
    for _, path in named(spec):
        yield storage.stat(path)
        yield from storage.way_reads(path)


def seen(spec: VmSpec, answers: Answers) -> Mapping[str, Opened]:
    """By path; without those of which the machine said nothing."""
    return {
        path: Opened(storage.stat_of(path, answers), storage.way(path, answers).memory)
        for _, path in named(spec)
        if answers.raw(storage.stat(path)).status != NOT_FOUND
    }


def diagnose(spec: VmSpec, found: Mapping[str, Opened]) -> Iterator[Diagnostic]:
    """Of a VM that does not run: what has a process is open already."""
    severity = Severity.ERROR if spec.state == "running" else Severity.WARNING
    for path, name in named(spec):
        one = found.get(name)
        if one is None:
            continue
        device = name.startswith("/dev/") and not name.startswith(f"{restore.LINKS}/")
        if device and (one.stat is None or not one.stat.device):
            yield _no_device(path, name, one.stat, severity)
        elif one.memory and not device and not (one.stat and one.stat.device):
            yield Diagnostic(
                "CXQ350",
                f"{loses(path)} would be lost at the next boot",
                # QEMU makes the file of an NVDIMM that is not there.
                Severity.WARNING if one.stat else severity,
                path=path,
                found=f"{name} in {one.memory}",
                expected="a path on a disk",
                hint="write path: /var/lib/libvirt/images/NAME",
            )


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
