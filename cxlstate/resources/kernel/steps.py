"""What differs, what is done about it, and what is shown of a tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Final

from cxlstate.core.action import Action, Reboot, RemoveFile, Risk, Run, undoing
from cxlstate.core.assessment import Assessment, Later
from cxlstate.core.change import Change
from cxlstate.core.file import PutFile, Unpack
from cxlstate.formats.inode import Inode
from cxlstate.formats.patch_stack import Stacked
from cxlstate.formats.patching import Standing
from cxlstate.resources.kernel.goal import Goal, is_in, name_of_note
from cxlstate.resources.kernel.probe import Live, note, stamp
from cxlstate.resources.kernel.proof import Proven
from cxlstate.resources.kernel.spec import HOUR, Build, KernelSpec

_BUILD = ("build",)
_LOG: Final = "/var/lib/cxlstate/logs/kernel.log"
"""What the command said that ran last: where one fails, that one."""


def unpacked(spec: KernelSpec, archive: str) -> Assessment:
    """Where there is only the tarball, or there will be: what is in it is known once it is unpacked."""
    source = spec.source
    action = Action(f"unpack {archive}", Unpack(archive, source), why="takes minutes, and some 2GiB")
    return Assessment(
        changes=(Change(("source",), None, f"unpacked from {archive}"), *_then(spec)),
        actions=(action,),
        facts=(("source", f"{source}, not unpacked"),),
        later=tuple(later(spec)),
    )


def _then(spec: KernelSpec) -> Iterator[Change]:
    """What is to be expected of the tree; none of it is what is found to be done in it."""
    for index, one in enumerate(spec.patches):
        yield Change(("patches", index), None, f"{one.series.name}, once it is unpacked")
    if spec.build:
        yield Change(_BUILD, None, "built and installed, once it is unpacked")


def later(spec: KernelSpec) -> Iterator[Later]:
    """What waits for the tree."""
    if spec.patches or spec.absent or spec.build:
        yield Later("which patches are in it, and whether it is built")


def changes(spec: KernelSpec, live: Live, aim: Goal) -> Iterator[Change]:
    """Patches that are to go in or out, and a kernel that is to be installed, or runs only after a reboot."""
    for index, one in enumerate(aim.stack.wanted):
        if one.standing in (Standing.APPLIES, Standing.PARTLY):
            yield Change(("patches", index), _partly(one), f"{one.name} at {_place(one)}")
    written = [("absent", index) for index, _ in enumerate(spec.absent)]
    paths = (*written, *(("patches",) for _ in aim.dropped))
    for path, one in zip(paths, aim.stack.unwanted, strict=True):
        if is_in(one):
            yield Change(path, f"{one.name} in {_place(one)}", None)
        elif name_of_note(one) in aim.ended:
            yield Change(path, f"a note of {one.name}", None)
    if aim.to_install and live.installed != aim.digest:
        yield Change(_BUILD, "another source or build" if live.installed else None, "built and installed")
    elif aim.to_install and live.running_since == live.boot:
        yield Change(_BUILD, "installed", "booted", pending=True)


def actions(spec: KernelSpec, live: Live, aim: Goal) -> Iterator[Action]:
    """The source, and then the kernel: where that cannot be built, the source stays as it is wanted."""
    edits = _edits(spec.source, live, aim)
    if spec.build and aim.to_install and live.installed != aim.digest:
        yield from (replace(one, undo=()) for one in edits)
        yield from _built(spec.source, spec.build, live, aim)
        return
    yield from edits
    if aim.to_install and live.running_since == live.boot:
        why = f"{live.release} runs since before the kernel of {spec.source} was installed"
        yield Action("reboot", Reboot(), Risk.REBOOT_HOST, why=why, activation=True)


def _edits(source: str, live: Live, aim: Goal) -> Iterator[Action]:
    """A note is written before the files that it is about, and goes after them: a stop loses nothing."""
    for name, text in aim.notes.items():
        before = live.notes[name].text if name in live.notes else None
        yield _put(f"note what {name} changes", note(source, name), text, before, like=live.folder)
    for path, content in aim.stack.tree.items():
        if content != live.files[path]:
            yield _file(f"{source}/{path}", content, live.files[path], aim.modes.get(path), live.folder)
    for name in aim.ended:
        yield _file(note(source, name), None, live.notes[name].text)


def _built(source: str, build: Build, live: Live, aim: Goal) -> Iterator[Action]:
    why = f"may take {build.hours} h; what it says: {_LOG}"
    for verb, commands in (("build", build.commands), ("install", build.install)):
        for argv in commands:
            line, there = " ".join(argv), ("env", f"--chdir={source}")
            typed = f"cd {source} && {line}"
            effect = Run((*there, *argv), timeout=build.hours * HOUR, typed=typed, log=_LOG)
            yield Action(f"{verb} the kernel: {line}", effect, why=why)
    text = f"Installed by cxlstate in boot {live.boot}\nOf {aim.digest}\n"
    yield _put("note what was installed", stamp(source), text, live.stamp or None, like=live.folder)


def _file(
    path: str, content: str | None, before: str | None, mode: int | None = None, like: Inode | None = None
) -> Action:
    if content is None:
        undo = undoing(PutFile(path, _bytes(before or "")))
        return Action(f"remove {path}", RemoveFile(path, _sha256(before or "")), undo=undo)
    does = f"edit {path}" if before is not None else f"write {path}"
    return _put(does, path, content, before, mode=mode, like=like)


def _put(  # noqa: PLR0913  # what is put, and whose it is
    does: str,
    path: str,
    content: str,
    before: str | None,
    *,
    mode: int | None = None,
    like: Inode | None = None,
) -> Action:
    """A file that is new in the tree of a user is that user's, `like` the tree itself."""
    digest = _sha256(content)
    theirs = before is None and like is not None and like.owner not in ("root", "UNKNOWN")
    owner, group = (like.owner, like.group) if like and theirs else ("", "")
    back = RemoveFile(path, digest) if before is None else PutFile(path, _bytes(before), digest)
    expected = None if before is None else _sha256(before)
    effect = PutFile(path, _bytes(content), expected, owner, group.replace("UNKNOWN", ""), mode=mode)
    return Action(does, effect, undo=undoing(back))


def facts(spec: KernelSpec, aim: Goal, proof: Proven) -> tuple[tuple[str, str], ...]:
    """The tree, how each patch stands, and what is seen of each device."""
    patches = tuple((one.name, _said(one)) for one in (*aim.stack.wanted, *aim.stack.unwanted))
    return (("source", spec.source), *patches, *proof.facts)


def _said(one: Stacked) -> str:
    place = _place(one)
    return f"{one.standing.value}{f' at {place}' if place else ''}"


def _partly(one: Stacked) -> str | None:
    places = one.verdict.places
    there = sum(place.standing is Standing.IN for place in places)
    return f"{there} of {len(places)} hunks" if there else None


def _place(one: Stacked) -> str:
    """Where the first hunk is, with how far off the header of the patch it is."""
    place = next((place for place in one.verdict.places if place.standing is not Standing.FAILS), None)
    if place is None:
        return ""
    more = len(one.verdict.places) - 1
    offset = f", {place.offset:+} lines" if place.offset else ""
    return f"{place.path}:{place.line}{offset}{f' and {more} more' if more else ''}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _sha256(text: str) -> str:
    return sha256(_bytes(text)).hexdigest()
