"""What a disk keeps of its old source when it gets another one, and what a new one needs. Pure."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator
from typing import Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.domain import Disk, Domain
from cxlstate.formats import domain_xml
from cxlstate.resources.vm.devices import DiskSpec
from cxlstate.resources.vm.probe import Live
from cxlstate.resources.vm.spec import VmSpec

_FORMATS: Final = {".qcow2": "qcow2", ".raw": "raw", ".iso": "raw"}


def diagnose(name: str, spec: VmSpec, live: Live, wished: Domain) -> Iterator[Diagnostic]:
    """Of disks whose path the spec changes, and of those that it adds to a VM that is there."""
    there = {one.target: one for one in (live.inactive.disks if live.inactive else None) or ()}
    encrypted, backing = domain_xml.encrypted(live.xml), domain_xml.backing(live.xml)
    for number, (disk, wish) in enumerate(zip(spec.disks or (), wished.disks or (), strict=True)):
        old = there.get(disk.target)
        if wish.path is None or disk.state == "absent" or (old and old.path == wish.path):
            continue
        if old and old.path and (wish.path in backing[disk.target] or "snapshots" in live.keeps):
            yield _moved_on(number, disk, old.path, wish.path, live, name=name)
            continue
        if wish.format is None:
            yield from _format(number, disk, old)
        if disk.target in encrypted:
            yield _keeps_encryption(number, disk, wish.path)


def _moved_on(  # noqa: PLR0913  # whose disk, and both of its places
    number: int, disk: DiskSpec, path: str, wished: str, live: Live, *, name: str
) -> Diagnostic:
    """After an external snapshot the old image is a backing file: a write to it destroys its overlay."""
    is_below = wished in domain_xml.backing(live.xml)[disk.target]
    return Diagnostic(
        "CXQ335",
        f"{disk.target} is an overlay of that image" if is_below else f"{disk.target} has snapshots",
        path=("disks", number, "image" if disk.image else "path"),
        found=f"{path} over {wished}" if is_below else f"{path}, and {live.keeps} of the VM",
        expected=f"path: {path}",
        hint=f"write path: {path}; or merge it back while the VM runs: "
        f"`virsh blockcommit {name} {disk.target} --active --pivot --wait`"
        if is_below
        else f"write path: {path}; `virsh snapshot-list {name} --tree` shows the snapshots",
    )


def _format(number: int, disk: DiskSpec, old: Disk | None) -> Iterator[Diagnostic]:
    """Without a word, a new disk is raw (virDomainDiskDefPostParse); one that is there keeps its format."""
    named = _FORMATS.get(posixpath.splitext(disk.path or "")[1])
    kept = (old.format if old else None) or "raw"
    if old is None and (disk.device == "cdrom" or (disk.path or "").startswith("/dev/")):
        return
    if old is not None and named in (None, kept):
        return
    looked = f"`qemu-img info -U {shlex.quote(disk.path or '')}` shows which it is"
    yield Diagnostic(
        "CXQ333",
        f"the format of {disk.target} is not written",
        path=("disks", number, "path"),
        found=f"{disk.path}, which QEMU would take for {kept}",
        expected="format: qcow2 or raw",
        hint=f"write format: {named}; {looked}" if named else looked,
    )


def _keeps_encryption(number: int, disk: DiskSpec, path: str) -> Diagnostic:
    return Diagnostic(
        "CXQ334",
        f"{disk.target} keeps the <encryption> of its old image",
        Severity.WARNING,
        path=("disks", number, "image" if disk.image else "path"),
        found="<encryption> in the definition, with the key of the old image",
        expected=f"an image at {path} that has the same key",
        hint=f"for one without: write {disk.target} as absent, and a new disk of another target",
    )
