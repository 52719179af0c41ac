"""What may be said of a namespace: in which memory it is, and what is to be made of that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import Model, check, problem, written
from cxlstate.core.units import MemoryAddress, Size, format_size

_KERNELS: Final = r"(?:namespace|dax|pmem|region)[0-9]+(?:\.[0-9]+)?"
_NAME: Final = rf"(?!{_KERNELS}$)[A-Za-z0-9][A-Za-z0-9_.-]{{0,62}}"

ALIGNS: Final = (4 << 10, 2 << 20, 1 << 30)
"""What ndctl lists for x86 (`ndctl list -RC`)."""

PAGED: Final = ("devdax", "fsdax")
"""Modes with a structure for each page, and so with `map` and `align`."""


def _name(text: str) -> str:
    if not re.fullmatch(_NAME, text):
        raise problem(
            "CXA201",
            "invalid name for a namespace",
            found=text[:80],
            expected="a name of your own: letters, digits, _ . and -, at most 63 of them",
            hint="the kernel's name is another one's after some boot: find it by `nvdimm` or `region`",
        )
    return text


def _align(size: int) -> int:
    if size not in ALIGNS:
        raise problem(
            "CXA202",
            "the kernel does not support this alignment",
            found=format_size(size),
            expected=", ".join(map(format_size, ALIGNS)),
        )
    return size


NamespaceName = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$", "examples": ["cxl"]}),
]


class NamespaceSpec(Model):
    """All of one region as one namespace."""

    nvdimm: Annotated[int | None, Field(ge=0, le=255)] = None
    """Which memory: the entry of the VM's `nvdimm`, counted from 0."""

    handle: Annotated[int | None, Field(ge=0, le=0xFFFFFFFF)] = None
    """Which memory: by the NFIT handle of its NVDIMM, as `ndctl list -D` shows it. QEMU's is the slot + 1."""

    region: MemoryAddress | None = None
    """Which memory: the region that begins at this physical address, as in /proc/iomem."""

    mode: Literal["devdax", "fsdax", "sector", "raw"] = "devdax"
    """`devdax`: programs map it. `fsdax`: a disk with DAX. `sector`: a disk without torn sectors. `raw`."""

    map: Literal["mem", "dev"] | None = None
    """Where its page structures are: in the guest's RAM, or in the namespace. As it is, unless written."""

    align: Annotated[Size, AfterValidator(_align)] | None = None
    """Alignment of mappings. Unless written: what the VM's NVDIMM is aligned on, else as it is."""

    writer: bool | None = None
    """Where several VMs have the same memory: whether this guest writes its labels. One of them may."""

    state: Literal["present", "absent"] = "present"
    """`absent`: no namespace; memory without labels is raw then."""

    @check
    def _has_one_identity(self) -> Iterator[Diagnostic]:
        ways = written(self, "nvdimm", "handle", "region")
        if len(ways) > 1:
            yield Diagnostic(
                "CXA203",
                "a namespace needs one identity",
                path=(ways[1],),
                found=" and ".join(ways),
                expected="`nvdimm`, `handle` or `region`; none of them where there is one region",
            )

    @check
    def _mode_has_pages(self) -> Iterator[Diagnostic]:
        for word in written(self, "map", "align") if self.mode not in PAGED else ():
            yield Diagnostic(
                "CXA204",
                f"mode {self.mode} has no `{word}`",
                path=(word,),
                found=f"mode: {self.mode}",
                expected="mode: devdax or fsdax",
                hint=f"leave `{word}` out",
            )

    @property
    def wanted(self) -> bool:
        """Whether there is to be one."""
        return self.state == "present"
