"""What the files of a tree are to hold, what we note of it, and what the kernel is to be built of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from cxlstate.formats.kernel_patches import shipped
from cxlstate.formats.patch_stack import Series, Stack, Stacked, stack
from cxlstate.formats.patching import Standing
from cxlstate.formats.unified_diff import Kind, Patch, write
from cxlstate.resources.kernel.probe import Live, Note
from cxlstate.resources.kernel.spec import KernelSpec


@dataclass(frozen=True, slots=True)
class Goal:
    """`notes` are those that are to be written: name → text. `ended` are those that are to go.

    `dropped` are patches of cxlstate that we put in and that the spec no longer names; `strangers` are
    notes of other patches that it no longer names: their files are not known. `digest` stands for
    what is built, and how; it is empty where nothing is.
    """

    stack: Stack
    dropped: tuple[Series, ...]
    strangers: tuple[str, ...]
    notes: Mapping[str, str] = field(repr=False)
    ended: tuple[str, ...] = ()
    modes: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""

    @property
    def to_install(self) -> bool:
        """Whether a kernel is to be built and installed, ever."""
        return bool(self.digest)


def name_of_note(series: Series | Stacked) -> str:
    """The name of a patch, as it stands in that of its note."""
    return series.name.removesuffix(".patch")


def is_in(one: Stacked) -> bool:
    """Whether any hunk of it is."""
    return any(place.standing is Standing.IN for place in one.verdict.places)


def goal(spec: KernelSpec, live: Live) -> Goal:
    """All of it, of a tree that is there."""
    wanted = tuple(one.series for one in spec.patches)
    absent = tuple(one.series for one in spec.absent)
    named = {name_of_note(series) for series in (*wanted, *absent)}
    over = {name: note for name, note in live.notes.items() if name not in named}
    known = {name for name, note in over.items() if name in shipped() and _reads(note, live)}
    dropped = tuple(Series(name, (over[name].patch,)) for name in sorted(known))
    found = stack(wanted, (*absent, *dropped), live.files)
    gone = [name_of_note(series) for series in (*absent, *dropped)]
    ended = tuple(name for name in gone if name in live.notes)
    notes = dict(_notes(wanted, found, live, [live.notes[name] for name in ended]))
    return Goal(
        found,
        dropped,
        tuple(name for name in over if name not in known),
        notes,
        ended,
        dict(_modes(wanted, Kind.CREATE)) | dict(_modes((*absent, *dropped), Kind.REMOVE)),
        _digest(spec, found) if spec.build else "",
    )


def _reads(note: Note, live: Live) -> bool:
    """Whether it can be read and all its files were looked at: anybody may have edited it."""
    return bool(note.patch.files) and all(file.path in live.files for file in note.patch.files)


def _notes(
    wanted: tuple[Series, ...], found: Stack, live: Live, ended: Sequence[Note]
) -> Iterator[tuple[str, str]]:
    """Of each patch the hunks that we put in, now and before: what others put in, we do not take back.

    One that stays in the place of another (a copy of a shipped one) inherits what the note of that has.
    """
    for series, one in zip(wanted, found.wanted, strict=True):
        if one.standing is Standing.FAILS:
            continue
        name = name_of_note(series)
        before = live.notes.get(name)
        if one.missing is not None:
            yield name, _text(live.boot, _joined(series, one.missing, before))
        elif before is None and (heir := _inherited(series, ended)):
            yield name, _text(heir.boot, heir.patch)


def _text(boot: str, patch: Patch) -> str:
    return f"Applied by cxlstate in boot {boot}\n\n{write(patch)}"


def _inherited(series: Series, ended: Sequence[Note]) -> Note | None:
    """What a patch makes of a note that goes: its hunks that change the same lines, whatever is around."""
    for note in ended:
        theirs = set(map(_edit, _hunks(note.patch)))
        for form in series.variants:
            ours = {hunk for hunk in _hunks(form) if _edit(hunk) in theirs}
            if ours:
                return replace(note, patch=_only(form, ours))
    return None


def _joined(series: Series, missing: Patch, before: Note | None) -> Patch:
    """Of the form of the patch that counts, the hunks that are missing or that a note has already."""
    if before is None:
        return missing
    now = _hunks(missing)
    form = next(one for one in series.variants if now <= _hunks(one))
    return _only(form, now | _hunks(before.patch))


_Hunk = tuple[str, tuple[str, ...]]
"""The path of its file, and its lines."""


def _only(patch: Patch, hunks: set[_Hunk]) -> Patch:
    kept = (
        replace(file, hunks=tuple(hunk for hunk in file.hunks if (file.path, hunk.lines) in hunks))
        for file in patch.files
    )
    return Patch(tuple(file for file in kept if file.hunks))


def _edit(hunk: _Hunk) -> _Hunk:
    path, lines = hunk
    return path, tuple(line for line in lines if line[0] != " ")


def _hunks(patch: Patch) -> set[_Hunk]:
    return {(file.path, hunk.lines) for file in patch.files for hunk in file.hunks}


def _modes(some: Iterable[Series], kind: Kind) -> Iterator[tuple[str, int]]:
    """Of files that are made: by a patch that creates them, or by taking back one that removed them."""
    for series in some:
        for patch in series.variants:
            yield from ((file.path, file.mode) for file in patch.files if file.kind is kind)


def _digest(spec: KernelSpec, found: Stack) -> str:
    """Of what the files hold that the spec's patches name, wanted or not, and of the commands."""
    build = spec.build.model_dump(mode="json") if spec.build else None
    paths = sorted({path for one in (*spec.patches, *spec.absent) for path in one.series.paths})
    said = [build, [[path, found.tree[path]] for path in paths]]
    return sha256(json.dumps(said, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()
