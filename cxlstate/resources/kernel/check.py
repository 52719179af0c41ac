"""What keeps a patch from going in or out."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.path import Path
from cxlstate.formats.kernel_patches import shipped
from cxlstate.formats.patch_stack import Stacked
from cxlstate.formats.patching import Standing
from cxlstate.resources.kernel.goal import Goal, is_in, name_of_note
from cxlstate.resources.kernel.probe import Live, Note, note
from cxlstate.resources.kernel.spec import KernelSpec

STOPS: Final = ("CXK412", "CXK413")
"""What stops the whole resource: a tree is patched as a whole or not at all."""


def no_tree(spec: KernelSpec, live: Live) -> Diagnostic | None:
    """There is none, or a link or something else stands where a folder or a file should."""
    if live.barrier:
        at, found = live.barrier
        return Diagnostic(
            "CXK411",
            f"{at} is {found.what}",
            path=("source",),
            found=found.what,
            expected="directories, and regular files in them: no link leads out of the tree",
            hint=f"write the path that `readlink -f {at}` shows" if found.is_link else None,
        )
    if live.folder is None or not live.folder.is_folder:
        package = posixpath.basename(spec.source)
        unpack = f"tar -xf {spec.source}.tar.xz -C {posixpath.dirname(spec.source)}"
        return Diagnostic(
            "CXK410",
            f"no kernel source in {spec.source}",
            path=("source",),
            found=live.folder.what if live.folder else "no such directory",
            expected="an unpacked source tree",
            hint=f"add {package} to packages, and then: {unpack}"
            if package.startswith("linux-source-")
            else f"unpack a kernel there: {unpack}",
        )
    return None


def diagnose(spec: KernelSpec, live: Live, aim: Goal) -> Iterator[Diagnostic]:
    """A problem for each patch that neither is as it should be nor can be made so."""
    for index, one in enumerate(aim.stack.wanted):
        if one.standing is Standing.FAILS:
            yield _stuck(spec, one, ("patches", index), "CXK412", "does not apply to")
    paths = (
        *(("absent", index) for index, _ in enumerate(spec.absent)),
        *(("patches",) for _ in aim.dropped),
    )
    for path, one in zip(paths, aim.stack.unwanted, strict=True):
        if one.standing is Standing.FAILS and (is_in(one) or name_of_note(one) in aim.ended):
            yield _stuck(spec, one, path, "CXK413", "cannot be taken back from")
    for name in aim.strangers:
        yield _stranger(spec, name, live.notes[name])


def _stranger(spec: KernelSpec, name: str, found: Note) -> Diagnostic:
    """A note of which it is not known what to do. Of an own patch it is all that is needed to take it back."""
    at = note(spec.source, name)
    keep = f"to keep it: rm {at}"
    if name in shipped():
        hint = f"to take it back: absent: [{name}]; {keep}"
    elif found.patch.files:
        hint = f"to take it back: copy the note beside the spec as {name}.patch, absent: [./{name}.patch]; {keep}"
    else:
        hint = f"the note is no diff any more: take the patch back by hand, or keep it, and then: rm {at}"
    return Diagnostic(
        "CXK414",
        f"{name} was put in by cxlstate, and the spec no longer names it",
        Severity.WARNING,
        path=("patches",),
        found=at,
        expected="a patch in `patches` or in `absent`",
        hint=hint,
    )


def _stuck(spec: KernelSpec, one: Stacked, path: Path, code: str, what: str) -> Diagnostic:
    """By its first hunk that fails."""
    place = one.verdict.failures[0]
    at = f"{place.path}:{place.line}" if place.line else place.path
    return Diagnostic(
        code,
        f"{one.name} {what} {spec.source}",
        path=path,
        found=f"{at}: {place.found if place.found is not None else place.reason}",
        expected=f"hunk {place.hunk}: {place.expected}" if place.expected is not None else None,
        hint=f"look at {spec.source}/{place.path}, and write the patch for this source: ./mine.patch",
    )
