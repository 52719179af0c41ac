"""What may be said of the devices of a VM: NVDIMMs, disks, network interfaces."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from cxlstate.core.model import Model, problem
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


def _check_place(word: str, path: str | None) -> None:
    """Below /dev are devices; whether one is there, the machine says."""
    folder = volatile(path) if path else None
    if folder and folder != "/dev":
        raise problem(
            "CXQ350",
            f"{loses((word,))} would be lost at the next boot",
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

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.dax is None) == (self.path is None):
            raise problem(
                "CXQ220",
                "an NVDIMM is either a dax device or a path",
                found="both" if self.dax else "neither",
                expected="dax: dax.NAME, or path: /…",
            )
        if is_dax(self) and self.access == "private":
            raise problem(
                "CXQ226",
                "a dax device can be mapped shared only",
                found="access: private",
                expected="access: shared",
                hint="the kernel refuses any other mapping of it",
            )
        if self.state == "present":
            _check_place("nvdimm", self.path)
        _check_sizes(self)
        return self


def is_dax(spec: NvdimmSpec) -> bool:
    """Whether it is a dax device, by its resource or by its path."""
    return spec.dax is not None or re.fullmatch(_DAX, spec.path or "") is not None


def _check_sizes(spec: NvdimmSpec) -> None:
    if spec.alignsize and (spec.alignsize < PAGE or spec.alignsize & (spec.alignsize - 1)):
        raise problem(
            "CXQ221",
            "not an alignment that QEMU takes",
            found=format_size(spec.alignsize),
            expected="a power of two, at least 4KiB",
        )
    step = max(MODULE, spec.alignsize or 0)
    if spec.size and spec.size % step:
        down, up = format_size(spec.size // step * step), format_size(-(-spec.size // step) * step)
        raise problem(
            "CXQ222",
            "the size of an NVDIMM does not fit its alignment",
            found=format_size(spec.size),
            expected=f"a multiple of {format_size(step)}",
            hint=f"write {up}" if down == "0" else f"write {down} or {up}",
        )
    if spec.label and (spec.label < LABEL_LEAST or (spec.size and spec.label >= spec.size)):
        raise problem(
            "CXQ223",
            "not a label area that QEMU takes",
            found=format_size(spec.label),
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

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.image and self.path:
            raise problem("CXQ224", "a disk has two sources", found="image and path", expected="one of them")
        if self.image and self.format:
            raise problem(
                "CXQ224",
                "the format of an image is said where the image is",
                found=f"format: {self.format}",
                expected="no format beside image",
            )
        if self.state == "present" and is_written_to(self):
            _check_place("disks", self.path)
        return self


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

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.network and self.bridge:
            raise problem(
                "CXQ225",
                "an interface is plugged in twice",
                found="network and bridge",
                expected="one of them",
            )
        return self
