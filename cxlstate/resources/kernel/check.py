"""What keeps a patch from going in or out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.path import Path
from cxlstate.formats.kernel_patches import shipped
from cxlstate.formats.patch_stack import Stacked
from cxlstate.formats.patching import Standing
from cxlstate.resources.kernel.goal import Goal, is_in, name_of_note
from cxlstate.resources.kernel.probe import Live, Note, inner, note, tarball
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
            hint=_without_link(spec, at) if found.is_link else None,
        )
    if not live.has_makefile and not live.to_unpack:
        return Diagnostic(
            "CXK410",
            f"no kernel source in {spec.source}",
            path=("source",),
            found=f"{live.folder.what} without a Makefile" if live.folder else "no such directory",
            expected="a source tree, or nothing yet and its tarball beside it",
            hint=_way_to_a_tree(spec.source, live),
        )
    return None


def _without_link(spec: KernelSpec, at: str) -> str:
    """The tree itself can be named otherwise; in it no link is followed."""
    if f"{spec.source}/".startswith(f"{at}/"):
        return f"write what this prints as source: readlink -f {spec.source}"
    return f"put what {at} leads to in its place"


def _way_to_a_tree(source: str, live: Live) -> str:
    """What stands there may be somebody's: it is not for us to unpack over it."""
    if live.folder and live.has_inner:
        return f"write the folder that its tarball is for: source: {inner(source)}"
    if live.folder and live.tarball:
        return f"mv {source} {source}.old, and apply: {live.tarball} is unpacked then"
    return f"put a kernel there, or its tarball at {tarball(source)}; or write the path of another as source"


def diagnose(spec: KernelSpec, live: Live, aim: Goal) -> Iterator[Diagnostic]:
    """A problem for each patch that neither is as it should be nor can be made so."""
    for index, one in enumerate(aim.stack.wanted):
        if one.standing is Standing.FAILS:
            stuck = _stuck(spec, one, ("patches", index), "CXK412", "does not apply to")
            yield replace(stuck, hint=_adapt(spec.source, one))
    paths = (
        *(("absent", index) for index, _ in enumerate(spec.absent)),
        *(("patches",) for _ in aim.dropped),
    )
    for path, one in zip(paths, aim.stack.unwanted, strict=True):
        noted = name_of_note(one) in aim.ended
        if one.standing is Standing.FAILS and (is_in(one) or noted):
            keep = [f"rm {note(spec.source, one.name)}"] if noted else []
            keep += ["remove it from absent"] if path[0] == "absent" else []
            stuck = _stuck(spec, one, path, "CXK413", "cannot be taken back from")
            yield replace(stuck, hint=_give_way(spec.source, one, keep))
    for name in aim.strangers:
        yield _stranger(spec, name, live.notes[name])


def _stranger(spec: KernelSpec, name: str, found: Note) -> Diagnostic:
    """A note of which it is not known what to do. Of an own patch it is what takes it back."""
    at = note(spec.source, name)
    keep = f"to keep it: rm {at}"
    if name in shipped():
        hint = f"to take it back: absent: [{name}]; {keep}"
    elif found.patch.files:
        own = f"{name}.patch"
        hint = f"to take it back: copy the note beside the spec as {own}, absent: [./{own}]; {keep}"
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
    )


def _adapt(source: str, one: Stacked) -> str:
    """A patch of a file that this source does not have is for another one."""
    place = one.verdict.failures[0]
    if one.verdict.files[place.path].patched is None:
        return f"remove {one.name} from patches, unless another source is meant: this one has no {place.path}"
    return f"look at {source}/{place.path}, and write the patch for this source: ./mine.patch"


def _give_way(source: str, one: Stacked, keep: Sequence[str]) -> str:
    """Undone by whoever made the edit, or kept."""
    place = one.verdict.failures[0]
    return f"undo the edit of {source}/{place.path}; or keep it: {', and '.join(keep)}"
