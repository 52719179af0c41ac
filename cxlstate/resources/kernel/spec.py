"""What may be said of a kernel: its source, the patches in it, how it is built, and what proves it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.model import BESIDE_BYTES, Model, check, clashes, problem
from cxlstate.core.units import Size
from cxlstate.formats.kernel_patches import shipped
from cxlstate.formats.patch_stack import Series
from cxlstate.formats.unified_diff import DiffError, parse

_SOURCE: Final = r"(/[A-Za-z0-9_.+~-]+)+"
_DAX: Final = r"dax\..+"
HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class WrittenPatch:
    """A patch as it is written in a spec, and what it comes to."""

    written: str
    series: Series = field(repr=False)


def _source(text: str) -> str:
    if not re.fullmatch(_SOURCE, text) or posixpath.normpath(text) != text:
        raise problem(
            "CXK401",
            "invalid path of a source tree",
            found=text[:80],
            expected="a path from the root, of letters, digits and _ . + ~ -",
        )
    return text


def _patch(value: object, info: ValidationInfo) -> WrittenPatch:
    """The name of a shipped patch has no slash and no `.patch`; all else is a file beside the spec."""
    if isinstance(value, WrittenPatch):
        return value
    context: Mapping[str, Any] = info.context or {}
    if not isinstance(value, str) or not value or BESIDE_BYTES not in context:
        raise problem("CXK402", "not a patch", found=str(value)[:80], expected="a name, or a path of a file")
    if "/" not in value and not value.endswith((".patch", ".diff")):
        return WrittenPatch(value, _shipped(value))
    text = context[BESIDE_BYTES](value).decode("utf-8", "surrogateescape")
    try:
        return WrittenPatch(value, Series(posixpath.basename(value), (parse(text),)))
    except DiffError as error:
        raise problem(
            "CXK403",
            f"{value} is not a unified diff that can be applied",
            found=f"{value}:{error.line}: {error.reason}",
            expected="edits, creations or removals of regular files, as `git diff` writes them",
            hint="make it anew in the source tree: git -c diff.noprefix=false diff --no-renames",
        ) from error


def _shipped(name: str) -> Series:
    if found := shipped().get(name):
        return found
    near = get_close_matches(name, shipped(), n=1)
    raise problem(
        "CXK402",
        "no patch of this name comes with cxlstate",
        found=name[:80],
        expected=", ".join(shipped()),
        hint=f"did you mean {near[0]}?" if near else "write the path of a file: ./mine.patch",
    )


PatchName = Annotated[
    WrittenPatch,
    PlainValidator(_patch),
    PlainSerializer(lambda one: one.written, return_type=str),
    WithJsonSchema(
        {"type": "string", "description": "A patch of cxlstate by name, or a file beside the spec"}
    ),
]
Word = Annotated[str, StringConstraints(min_length=1)]
Argv = Annotated[tuple[Word, ...], Field(min_length=1)]


class Build(Model):
    """How a kernel is made of the source, run in its folder. No shell: each command is a list of words."""

    commands: tuple[Argv, ...] = Field(default=(), examples=[[["make", "-j8", "bindeb-pkg"]]])
    """What builds it."""

    install: tuple[Argv, ...] = Field(default=(), examples=[[["make", "install"]]])
    """What installs it, after all commands ended well."""

    hours: Annotated[int, Field(ge=1, le=48)] = 4
    """How long each command may take."""


class Proof(Model):
    """What is to be seen of a device once the kernel runs."""

    region_align: Size
    """Alignment of the region that it is made of: `dax_region/align`."""


def _device(text: str) -> str:
    if not re.fullmatch(_DAX, text):
        raise problem("CXK404", "not the address of a dax device", found=text[:80], expected="dax.NAME")
    return text


class KernelSpec(Model):
    """A kernel by its source, not by its version."""

    source: Annotated[
        str, AfterValidator(_source), WithJsonSchema({"type": "string", "pattern": f"^{_SOURCE}$"})
    ] = Field(examples=["/usr/src/linux-source-6.12"])
    """The tree, unpacked."""

    patches: tuple[PatchName, ...] = Field(default=(), examples=[["dax-hmem-align-4k"]])
    """Those that are to be in, in this order."""

    absent: tuple[PatchName, ...] = Field(default=(), examples=[["./mine.patch"]])
    """Those that are to be out."""

    build: Build | None = None
    """Without it only the source is kept as written."""

    proof: dict[Annotated[str, AfterValidator(_device)], Proof] = Field(default={})
    """What shows that the kernel that runs has the patches, by the address of a device."""

    @check
    def _named_once(self) -> Iterator[Diagnostic]:
        both = (*self.patches, *self.absent)
        for before, index in clashes(both, lambda one: one.series.name, lambda one, other: one == other):
            late = index - len(self.patches)
            yield Diagnostic(
                "CXK405",
                f"{both[index].written} is named twice",
                path=("absent", late) if late >= 0 else ("patches", index),
                found=f"{before.written} and {both[index].written}",
                expected="one entry for each name of a patch",
                hint="remove one of them",
            )
