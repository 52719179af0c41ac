"""What may be said of the devices of a VM: NVDIMMs, disks, network interfaces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, check, problem, written
from cxlstate.core.path import Path
from cxlstate.core.units import Size, format_size
from cxlstate.formats.storage import volatile

LABEL_LEAST: Final = 128 << 10
"""Smallest label area (QEMU `hw/mem/nvdimm.c`, libvirt `virDomainMemoryDefValidate`)."""

MODULE: Final = 2 << 20
"""libvirt rounds memory modules up to this when a domain starts (`qemuDomainAlignMemorySizes`)."""

PAGE: Final = 4 << 10

_DAX: Final = r"/dev/(dax[0-9]+\.[0-9]+|cxlstate/[^/]+)"
"""A dax device by the kernel's name, or by a stable link to it."""

_NAME: Final = "[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_MAC: Final = r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}"
_TARGET: Final = r"(vd|sd|hd|fd|xvd|ubd)[a-z]{1,3}"


def _address_of(kind: str) -> Callable[[str], str]:
    """Checks the address of a resource of one kind."""

    def check(text: str) -> str:
        if not re.fullmatch(rf"{kind}\.{_NAME}", text):
            raise problem(
                "CXQ210",
                f"not the address of a resource of the kind {kind}",
                found=text[:80],
                expected=f"{kind}.NAME",
                hint=f"write {kind}.{text}" if re.fullmatch(_NAME, text) else None,
            )
        return text

    return check


def _addresses(kind: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": rf"^{kind}\.{_NAME}$"})


def _path(text: str) -> str:
    if not text.startswith("/") or not text.isprintable() or "/../" in f"{text}/":
        raise problem(
            "CXQ211",
            "not an absolute path",
            found=text[:80] or "nothing",
            expected="a path on the host that begins with / and has no .. in it",
        )
    return text


def _mac(text: str) -> str:
    """As libvirt writes it. The lowest bit of the first byte marks a multicast address."""
    if not re.fullmatch(_MAC, text) or int(text[:2], 16) & 1:
        raise problem(
            "CXQ212",
            "not the MAC address of an interface",
            found=text[:40],
            expected="six bytes in hex such as 52:54:00:fc:10:bd, the first one even",
        )
    return text.lower().replace("-", ":")


def _target(text: str) -> str:
    if not re.fullmatch(_TARGET, text):
        raise problem(
            "CXQ213",
            "not the name of a disk in a guest",
            found=text[:40],
            expected="a name such as vda, sdb or hda",
        )
    return text


def loses(path: Path) -> str:
    """What would be lost with an entry of `disks` or `nvdimm`."""
    return "the disk" if path[0] == "disks" else "the contents of the NVDIMM"


def _check_place(word: str, path: str | None) -> Iterator[Diagnostic]:
    """Below /dev are devices; whether one is there, the machine says."""
    folder = volatile(path) if path else None
    if folder and folder != "/dev":
        yield Diagnostic(
            "CXQ350",
            f"{loses((word,))} would be lost at the next boot",
            path=("path",),
            found=path,
            expected=f"a path outside {folder}, which does not outlive a boot",
            hint="write path: /var/lib/libvirt/images/NAME",
        )


HostPath = Annotated[str, AfterValidator(_path), WithJsonSchema({"type": "string", "pattern": "^/"})]
Mac = Annotated[str, AfterValidator(_mac), WithJsonSchema({"type": "string", "pattern": f"^{_MAC}$"})]
Target = Annotated[
    str, AfterValidator(_target), WithJsonSchema({"type": "string", "pattern": f"^{_TARGET}$"})
]
DaxAddress = Annotated[str, AfterValidator(_address_of("dax")), _addresses("dax")]
ImageAddress = Annotated[str, AfterValidator(_address_of("image")), _addresses("image")]
Here = Literal["present", "absent"]


class NvdimmSpec(Model):
    """Memory that the guest sees as persistent: `<memory model='nvdimm'>`."""

    dax: DaxAddress | None = None
    """The device it is: `dax.NAME`. The VM is given its stable path, never `/dev/dax0.0`."""

    path: HostPath | None = None
    """Or a file, or another device, by path."""

    size: Size | None = None
    """How much of it, label included: a multiple of 2MiB and of `alignsize`."""

    label: Size | None = None
    """The label area at its end, which comes out of `size`. At least 128KiB."""

    alignsize: Size | None = None
    """How QEMU aligns the mapping. Of a dax device, unless written, as it and its region are aligned."""

    pmem: bool | None = None
    """Whether the guest may take it for really persistent. It also keeps libvirt from touching all of it."""

    access: Literal["shared", "private"] | None = None
    """`shared`, unless written, for a dax device: the kernel refuses private mappings of it."""

    node: Annotated[int | None, Field(ge=0, le=127)] = None
    """The NUMA cell of the guest that it belongs to."""

    slot: Annotated[int | None, Field(ge=0, le=255)] = None
    """The DIMM slot. What makes it the same one when its path changes."""

    state: Here = "present"
    """`absent`: taken out of the VM. What is in the memory stays."""

    @check
    def _is_one_thing(self) -> Iterator[Diagnostic]:
        ways = written(self, "dax", "path")
        if len(ways) != 1:
            yield Diagnostic(
                "CXQ220",
                "an NVDIMM is either a dax device or a path",
                path=("path",) if ways else (),
                found="both" if ways else "neither",
                expected="dax: dax.NAME, or path: /…",
            )

    @check
    def _dax_is_shared(self) -> Iterator[Diagnostic]:
        if self.access == "private" and is_dax(self):
            yield Diagnostic(
                "CXQ226",
                "a dax device can be mapped shared only",
                path=("access",),
                found="access: private",
                expected="access: shared",
                hint="the kernel refuses any other mapping of it",
            )

    @check
    def _file_is_kept(self) -> Iterator[Diagnostic]:
        if self.state == "present":
            yield from _check_place("nvdimm", self.path)

    @check
    def _is_aligned_as_qemu_can(self) -> Iterator[Diagnostic]:
        if self.alignsize and not _is_alignment(self.alignsize):
            yield Diagnostic(
                "CXQ221",
                "QEMU does not support this alignment",
                path=("alignsize",),
                found=format_size(self.alignsize),
                expected="a power of two, at least 4KiB",
            )

    @check
    def _size_is_aligned(self) -> Iterator[Diagnostic]:
        size, align = self.size, self.alignsize or 0
        step = max(MODULE, align if _is_alignment(align) else 0)
        if size and size % step:
            down, up = format_size(size // step * step), format_size(-(-size // step) * step)
            yield Diagnostic(
                "CXQ222",
                "the size of an NVDIMM does not fit its alignment",
                path=("size",),
                found=format_size(size),
                expected=f"a multiple of {format_size(step)}",
                hint=f"write {up}" if down == "0" else f"write {down} or {up}",
            )

    @check
    def _label_is_large_enough(self) -> Iterator[Diagnostic]:
        if self.label and self.label < LABEL_LEAST:
            yield _bad_label(self.label)

    @check
    def _label_fits(self) -> Iterator[Diagnostic]:
        if self.label and self.size and self.label >= max(self.size, LABEL_LEAST):
            yield _bad_label(self.label)


def is_dax(spec: NvdimmSpec) -> bool:
    """Whether it is a dax device, by its resource or by its path."""
    return spec.dax is not None or re.fullmatch(_DAX, spec.path or "") is not None


def _is_alignment(size: int) -> bool:
    return size >= PAGE and size & (size - 1) == 0


def _bad_label(label: int) -> Diagnostic:
    return Diagnostic(
        "CXQ223",
        "QEMU does not support this label area",
        path=("label",),
        found=format_size(label),
        expected="at least 128KiB, and less than the size of the NVDIMM",
    )


class DiskSpec(Model):
    """A disk, by its name in the guest."""

    target: Target = Field(examples=["vda"])
    """Its name in the guest, which is how it is found in an existing VM."""

    image: ImageAddress | None = None
    """Where it is: an image of this spec, `image.NAME`."""

    path: HostPath | None = None
    """Or a file or a block device of the host."""

    format: Literal["qcow2", "raw"] | None = None
    """How the file is laid out. An image of this spec says it by itself."""

    bus: Literal["virtio", "scsi", "sata", "ide", "usb", "fdc"] | None = None
    """How the guest sees it."""

    cache: Literal["none", "writeback", "writethrough", "directsync", "unsafe", "default"] | None = None
    """The host's page cache for it."""

    readonly: bool | None = None
    """Not to be written to by the guest."""

    device: Literal["disk", "cdrom"] | None = None
    """What it is to the guest."""

    state: Here = "present"
    """`absent`: taken out of the VM. The file stays."""

    @check
    def _has_one_source(self) -> Iterator[Diagnostic]:
        if len(written(self, "image", "path")) > 1:
            yield Diagnostic(
                "CXQ224",
                "a disk has two sources",
                path=("path",),
                found="image and path",
                expected="one of them",
            )

    @check
    def _format_is_of_a_path(self) -> Iterator[Diagnostic]:
        if self.format and written(self, "image"):
            yield Diagnostic(
                "CXQ224",
                "the format of an image is said where the image is",
                path=("format",),
                found=f"format: {self.format}",
                expected="no format beside image",
            )

    @check
    def _file_is_kept(self) -> Iterator[Diagnostic]:
        if self.state == "present" and is_written_to(self):
            yield from _check_place("disks", self.path)


def is_written_to(disk: DiskSpec) -> bool:
    """Whether a guest keeps anything in it."""
    return disk.device != "cdrom" and not disk.readonly


class InterfaceSpec(Model):
    """A network interface, by its MAC address."""

    mac: Mac = Field(examples=["52:54:00:fc:10:bd"])
    """Its address, which is how it is found in an existing VM and in the reservations of a network."""

    network: Annotated[str | None, Field(min_length=1, max_length=255, pattern=r"^[^/\n]+$")] = None
    """The libvirt network it is plugged into."""

    bridge: Annotated[str | None, Field(min_length=1, max_length=15, pattern=r"^[^/\s]+$")] = None
    """Or a bridge of the host."""

    model: Annotated[str | None, Field(pattern=r"^[a-zA-Z0-9_-]{1,32}$")] = Field(None, examples=["virtio"])
    """What the guest sees: `virtio`, `e1000e`, …"""

    link: Literal["up", "down"] | None = None
    """Whether its cable is plugged in. Changed while the VM runs."""

    state: Here = "present"
    """`absent`: taken out of the VM."""

    @check
    def _is_plugged_in_once(self) -> Iterator[Diagnostic]:
        if len(written(self, "network", "bridge")) > 1:
            yield Diagnostic(
                "CXQ225",
                "an interface is plugged in twice",
                path=("bridge",),
                found="network and bridge",
                expected="one of them",
            )
