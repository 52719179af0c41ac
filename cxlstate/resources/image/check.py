"""What cannot be right with an image, now that the machine was seen: nothing is mended by writing over it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final, get_args

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.path import Path
from cxlstate.core.units import format_size
from cxlstate.formats.storage import Way
from cxlstate.resources.image.probe import Base, Info, Live, Missing, Seen, base_path
from cxlstate.resources.image.spec import ImageSpec, SourceFormat


def diagnose(spec: ImageSpec, live: Seen) -> Iterator[Diagnostic]:
    """Every problem there is; `path` is relative to the resource."""
    if isinstance(live, Missing):
        yield from _of_source(spec, live.base)
        yield from _in_memory(spec, live)
        yield from _out_of_reach(spec, live)
    elif live.info is None:
        yield _no_file(spec)
    elif not spec.wanted:
        if live.in_use or live.is_read:
            yield _in_use(spec, "writing" if live.in_use else "reading")
    else:
        yield from _of_image(spec, live, live.info)


def before_it_is_seen(spec: ImageSpec, known: Missing) -> Iterator[Diagnostic]:
    """What the folders tell already, while nothing can look into an image."""
    yield from _in_memory(spec, known)
    yield from _out_of_reach(spec, known)
    yield from exposed(known)


def _of_image(spec: ImageSpec, live: Live, info: Info) -> Iterator[Diagnostic]:
    if info.format != spec.format and (info.format, spec.format) != ("luks", "raw"):  # as libvirt calls it
        yield _other_format(spec, info)
        return
    if spec.overlay:
        yield from _other_backing(spec, info)
        if spec.source and spec.source.path and live.base and not live.base.there:
            yield _no_source(live.base)
    if spec.size is not None and spec.size < info.size:
        yield _would_shrink(spec.size, info)
    if spec.size is not None and spec.size > info.size:
        yield from _cannot_grow(spec, live, info)
    if info.corrupt:
        yield _corrupt(spec)
    if live.loop:
        yield _on_the_host(spec, live.loop)
    yield from _in_memory(spec, live)
    yield from _out_of_reach(spec, live)


def exposed(live: Live | Missing) -> Iterator[Diagnostic]:
    """Whether somebody besides root can put a link in the way of what is to be done here as root."""
    if found := live.way.exposed(live.stat if isinstance(live, Live) else None):
        folder, stat = found
        quoted = shlex.quote(folder)
        mend = (
            f"chmod go-w {quoted}" if stat.owner == "root" else f"chown root {quoted} && chmod go-w {quoted}"
        )
        yield Diagnostic(
            "CXI321",
            "users other than root can replace files on the way to the image",
            path=("path",),
            found=f"{folder} has owner {stat.owner}:{stat.group} and mode {stat.permissions}",
            expected="folders that only root can write to",
            hint="write path: /var/lib/libvirt/images/NAME.qcow2; "
            f"or, if nobody but root has to write to {folder}: {mend}",
        )


def _in_memory(spec: ImageSpec, live: Live | Missing) -> Iterator[Diagnostic]:
    """One that is there is told of, one that is not is not made."""
    places: list[tuple[Path, str, Way]] = [(("path",), spec.path, live.way)]
    places += [(("source", "path"), live.base.path, live.base.way)] if live.base else []
    for path, name, way in places:
        if lies := way.memory:
            yield Diagnostic(
                "CXI320",
                "an image here would be lost at the next boot",
                Severity.ERROR if isinstance(live, Missing) else Severity.WARNING,
                path=path,
                found=f"{name} in {lies}",
                expected="a path on a disk",
                hint=f"write path: {_ON_DISK}, or mount a disk there first"
                if path == ("path",)
                else f"`mv {shlex.quote(name)} {_ON_DISK}`, and write path: {_ON_DISK}",
            )


def _out_of_reach(spec: ImageSpec, live: Live | Missing) -> Iterator[Diagnostic]:
    """Root makes it all the same, and no VM starts with it."""
    is_open = isinstance(live, Live) and live.in_use
    if (found := live.way.closed) and not is_open:
        folder, stat = found
        yield Diagnostic(
            "CXI322",
            f"QEMU cannot reach {spec.path}",
            Severity.ERROR if isinstance(live, Missing) else Severity.WARNING,
            path=("path",),
            found=f"{folder} has owner {stat.owner}:{stat.group} and mode {stat.permissions}",
            expected=f"folders that {live.way.qemu} can enter",
            hint="write path: /var/lib/libvirt/images/NAME.qcow2; "
            f"or let everybody enter: chmod o+x {shlex.quote(folder)}",
        )


def _of_source(spec: ImageSpec, base: Base | None) -> Iterator[Diagnostic]:
    """What it would be made from. A download that has yet to come is looked at when it is there."""
    if base is None:
        if spec.size is None:
            yield _nothing_to_make(spec)
        return
    if not base.there and spec.source and spec.source.path:
        yield _no_source(base)
    if base.info and spec.source and spec.source.format not in (None, base.info.format):
        yield from _source_looks_otherwise(spec.source.format or "", base.info.format)
    elif base.info and spec.size is not None and spec.size < base.info.size:
        yield _source_is_larger(spec.size, base.info)
    if base.in_use:
        yield _source_in_use(base)
    if base.info and base.info.encrypted and not spec.overlay:
        yield _encrypted(base.path, ("source", "path"), "copy", "write as: overlay, or copy it by hand")


def _no_file(spec: ImageSpec) -> Diagnostic:
    return Diagnostic(
        "CXI301",
        "the path is a directory or device, not a regular file",
        path=("path",),
        found=f"{spec.path} is a folder, a device or the like",
        expected="a regular file, or nothing",
        hint=f"write path: {_ON_DISK}; a VM names a block device under disks, by its path",
    )


_ON_DISK: Final = "/var/lib/libvirt/images/NAME.qcow2"

_KNOWN: Final = ("qcow2", "raw")


def _other_format(spec: ImageSpec, info: Info) -> Diagnostic:
    return Diagnostic(
        "CXI302",
        "the image has another format",
        path=("format",),
        found=info.format,
        expected=spec.format,
        hint=f"write format: {info.format}"
        if info.format in _KNOWN
        else f"`qemu-img convert -f {info.format} -O qcow2 {spec.path} NEW`, and write path: NEW",
    )


def _other_backing(spec: ImageSpec, info: Info) -> Iterator[Diagnostic]:
    wanted = base_path(spec)
    if info.backing != wanted:
        yield Diagnostic(
            "CXI303",
            "the image has another backing file",
            path=("source",),
            found=info.backing or "none",
            expected=wanted,
            hint="write path: /var/lib/libvirt/images/NAME.qcow2, for a new image: "
            "on another backing file, what is in this one means nothing",
        )
    elif spec.source and spec.source.format and info.backing_format not in (None, spec.source.format):
        yield Diagnostic(
            "CXI303",
            "the image declares another format for its backing file",
            path=("source", "format"),
            found=info.backing_format,
            expected=spec.source.format,
        )


def _would_shrink(size: int, info: Info) -> Diagnostic:
    return Diagnostic(
        "CXI304",
        "the image is larger than size, and images never shrink",
        path=("size",),
        found=format_size(info.size),
        expected=format_size(size),
        hint=f"write size: {format_size(info.size)}, or leave it out; what is behind the end would be lost",
    )


def _no_source(base: Base) -> Diagnostic:
    return Diagnostic(
        "CXI305",
        "the source does not exist",
        path=("source", "path"),
        found=f"no file {base.path} on the host",
        expected="a file",
        hint="put it there, or correct the path; or let the host fetch it: source: {url: …, sha256: …}",
    )


def _nothing_to_make(spec: ImageSpec) -> Diagnostic:
    return Diagnostic(
        "CXI309",
        "the image does not exist, and source and size are missing",
        path=("path",),
        found=f"no file {spec.path} on the host, no source and no size",
        expected="a file, a source, or a size for an empty image",
        hint="write size: 20GiB for an empty image, or a source, or the path of an image that exists",
    )


def _source_looks_otherwise(format_: str, seen: str) -> Iterator[Diagnostic]:
    """Only raw and vpc, in its fixed form, have nothing at their beginning that qemu-img could know them by.

    A guest can write anything into a raw image, so that raw, written out, is believed.
    """
    if (format_, seen) in (("vpc", "raw"), ("raw", "luks")):  # of an encrypted one others tell
        return
    cure = f"write format: {seen}, or leave it out" if seen in get_args(SourceFormat) else "leave out format"
    yield Diagnostic(
        "CXI318",
        f"the source looks like {seen}",
        Severity.WARNING if format_ == "raw" else Severity.ERROR,
        path=("source", "format"),
        found=seen,
        expected=format_,
        hint=cure
        + ("; as raw, the guest would see the container and not the disk in it" if format_ == "raw" else ""),
    )


def _source_is_larger(size: int, info: Info) -> Diagnostic:
    return Diagnostic(
        "CXI306",
        "the source is larger than size",
        path=("size",),
        found=f"a source of {format_size(info.size)}",
        expected=format_size(size),
        hint=f"write size: {format_size(info.size)}, or leave it out",
    )


def _source_in_use(base: Base) -> Diagnostic:
    return Diagnostic(
        "CXI314",
        "the source is in use",
        path=("source", "path"),
        found=f"somebody has {base.path} open for writing",
        expected="a source that stays as it is",
        hint=_WHO,
    )


_WHO: Final = (
    "shut the guest down that runs on it: virsh domblklist DOMAIN shows its disks, "
    "losetup the files of loop devices"
)


def _cannot_grow(spec: ImageSpec, live: Live, info: Info) -> Iterator[Diagnostic]:
    """A guest that runs on it can grow what is encrypted: QEMU has the key."""
    leave = "leave out size"
    if info.encrypted and not live.in_use:
        hint = f"{leave}, or start its guest first: QEMU has the key, and grows it then"
        yield _encrypted(spec.path, ("size",), "grow", hint if info.format == "qcow2" else leave)
    elif live.is_read:
        yield Diagnostic(
            "CXI317",
            "qemu-img cannot grow an image that somebody reads",
            path=("size",),
            found=f"{spec.path} is open for reading: a backing file, or a CD-ROM",
            expected="nobody who reads it",
            hint=f"{leave}: a guest sees the size of its overlay, and that can grow; or {_WHO}",
        )
    elif info.fixed:
        yield Diagnostic(
            "CXI316",
            "qemu-img cannot grow an image of version 2 with snapshots",
            path=("size",),
            found="qcow2 with compat 0.10, and snapshots in it",
            expected="compat 1.1",
            hint=f"with its guest shut down: qemu-img amend -f qcow2 -o compat=1.1 {shlex.quote(spec.path)}",
        )


def _encrypted(name: str, path: Path, verb: str, hint: str) -> Diagnostic:
    return Diagnostic(
        "CXI315",
        f"qemu-img cannot {verb} an encrypted image without its key",
        path=path,
        found=f"{name} is encrypted",
        expected="an image that is not",
        hint=hint,
    )


def _in_use(spec: ImageSpec, does: str) -> Diagnostic:
    return Diagnostic(
        "CXI307",
        "the image is in use",
        path=("state",),
        found=f"somebody has {spec.path} open for {does}",
        expected="nobody",
        hint=_WHO,
    )


def _on_the_host(spec: ImageSpec, loop: str) -> Diagnostic:
    """QEMU's locks are none to the kernel."""
    return Diagnostic(
        "CXI323",
        "the host has the image as a block device",
        Severity.WARNING,
        path=("path",),
        found=f"{spec.path} as {loop}",
        expected="an image that only its guest writes to",
        hint=f"before its guest runs: unmount what `lsblk {loop}` shows, and losetup --detach {loop}",
    )


def _corrupt(spec: ImageSpec) -> Diagnostic:
    return Diagnostic(
        "CXI308",
        "the image is marked as corrupt",
        Severity.WARNING,
        path=("path",),
        found=spec.path,
        expected="an image that QEMU writes to",
        hint=f"with its guest shut down: qemu-img check -r leaks {spec.path}; see its manual before -r all",
    )
