"""Whether a patch is in a file, where it applies, and what stands there where it does neither.

Found by the lines themselves: line numbers only choose between several places, version numbers do not count.
There is no fuzz: all lines of a hunk must stand there, byte for byte. Where a hunk may be in or may belong to
several places, and none of them is the one that its header says, nothing is guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import takewhile

from cxlstate.formats.unified_diff import FileDiff, Hunk, Kind, Patch, lines_of

Tree = Mapping[str, str | None]
"""The files that a patch names: path → content; None where there is no such file."""


class Standing(Enum):
    """How a hunk, or a whole patch, stands to a tree. Only a patch is `PARTLY` in."""

    IN = "already in"
    APPLIES = "applies"
    PARTLY = "partly in"
    FAILS = "does not apply"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a hunk of a file stands or belongs; `line` counts from 1, `offset` from where its header says.

    Of one that does neither, `line` is the first that differs at the likeliest place, with what it is and
    what was expected there; `reason` where there is no such place.
    """

    path: str
    hunk: int
    standing: Standing
    line: int = 0
    offset: int = 0
    found: str | None = None
    expected: str | None = None
    reason: str = ""
    agreeing: int = 0  # lines of a hunk that fails which stand at that place


@dataclass(frozen=True, slots=True)
class Judgement:
    """How one file of a patch stands, and what it holds with the patch in and with it taken back."""

    places: tuple[Place, ...]
    patched: str | None
    taken_back: str | None
    missing: FileDiff | None = None  # the hunks that are not in, by the lines where they go


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a patch stands to a tree."""

    files: Mapping[str, Judgement]

    @property
    def places(self) -> tuple[Place, ...]:
        """Of all its hunks."""
        return tuple(place for file in self.files.values() for place in file.places)

    @property
    def standing(self) -> Standing:
        """Of all its hunks together."""
        found = {place.standing for place in self.places}
        if Standing.FAILS in found:
            return Standing.FAILS
        return found.pop() if len(found) == 1 else Standing.PARTLY

    @property
    def failures(self) -> tuple[Place, ...]:
        """The hunks that are neither in nor apply."""
        return tuple(place for place in self.places if place.standing is Standing.FAILS)

    @property
    def patched(self) -> dict[str, str | None]:
        """What its files hold with all of it in, if nothing fails."""
        return {path: file.patched for path, file in self.files.items()}

    @property
    def taken_back(self) -> dict[str, str | None]:
        """What its files hold with all of it taken back, if nothing fails."""
        return {path: file.taken_back for path, file in self.files.items()}

    @property
    def missing(self) -> Patch | None:
        """What of it is not in: taken back, it leaves the tree as it is now. None where all is in."""
        files = tuple(file.missing for file in self.files.values() if file.missing)
        return Patch(files) if files else None


def judge(patch: Patch, tree: Tree) -> Verdict:
    """How a patch stands to the files of a tree. KeyError for a file that nobody looked at."""
    return Verdict({file.path: _of_file(file, tree[file.path]) for file in patch.files})


def _of_file(file: FileDiff, content: str | None) -> Judgement:
    if file.kind is Kind.REMOVE:  # in where the creation is not, and the other way round
        there = _of_file(file.reversed(), content)
        opposite = {Standing.IN: Standing.APPLIES, Standing.APPLIES: Standing.IN}
        places = tuple(
            replace(one, standing=opposite.get(one.standing, one.standing)) for one in there.places
        )
        missing = file if places[0].standing is Standing.APPLIES else None
        return Judgement(places, there.taken_back, there.patched, missing)
    if file.kind is Kind.CREATE:
        return _created(file, content)
    if content is None:
        reason = "the tree has no such file"
        failed = tuple(
            Place(file.path, number, Standing.FAILS, reason=reason) for number, _ in enumerate(file.hunks, 1)
        )
        return Judgement(failed, None, None)
    return _edited(file, lines_of(content))


def _created(file: FileDiff, content: str | None) -> Judgement:
    wanted = file.hunks[0].after
    text = "".join(wanted)
    if content is None:
        return Judgement((Place(file.path, 1, Standing.APPLIES, line=1),), text, None, file)
    if content == text:
        return Judgement((Place(file.path, 1, Standing.IN, line=1),), text, None)
    line, found, expected = _difference(wanted, lines_of(content), 0)
    place = Place(file.path, 1, Standing.FAILS, line, 0, found, expected, "the file is there, and is another")
    return Judgement((place,), content, content)


def _edited(file: FileDiff, lines: Sequence[str]) -> Judgement:
    places: list[Place] = []
    patched, taken_back, missing = [], [], []
    floor = shift = grown = 0  # where the last hunk ended; how far off the headers are; what is inserted
    for number, hunk in enumerate(file.hunks, 1):
        expected = max(hunk.old, 1) - 1 + shift
        at, standing, reason = _locate(hunk, lines, floor, expected)
        if at is None:
            places.append(_failure(Place(file.path, number, standing, reason=reason), hunk, lines, expected))
            continue
        here = hunk.after if standing is Standing.IN else hunk.before
        between = lines[floor:at]
        patched += [*between, *hunk.after]
        taken_back += [*between, *hunk.before]
        if standing is Standing.APPLIES:
            missing.append(Hunk(at + 1, at + 1 + grown, hunk.lines))
            grown += len(hunk.after) - len(hunk.before)
        places.append(Place(file.path, number, standing, at + 1, at - expected))
        floor = at + len(here)
        shift += at - expected + len(here) - len(hunk.before)
    rest = lines[floor:]
    return Judgement(
        tuple(places),
        "".join((*patched, *rest)),
        "".join((*taken_back, *rest)),
        replace(file, hunks=tuple(missing)) if missing else None,
    )


def _locate(hunk: Hunk, lines: Sequence[str], floor: int, expected: int) -> tuple[int | None, Standing, str]:
    """Where the hunk stands or belongs, from `floor` on, and which of both.

    Where it only adds below or above, its old lines stand in its new ones as well; where it only removes,
    the new ones in the old: what stands within the other does not count. What has no newline ends the file.
    """
    before, after = hunk.before, hunk.after
    old, new = _matches(before, lines, floor), _matches(after, lines, floor)
    if not (before[-1].endswith("\n") and after[-1].endswith("\n")):
        old = [at for at in old if at + len(before) == len(lines)]
        new = [at for at in new if at + len(after) == len(lines)]
    outer_old = [at for at in old if not _within(at, len(before), new, len(after))]
    outer_new = [at for at in new if not _within(at, len(after), old, len(before))]
    if (expected in outer_old) != (expected in outer_new):
        return expected, Standing.APPLIES if expected in outer_old else Standing.IN, ""
    match outer_old, outer_new:
        case [at], []:
            return at, Standing.APPLIES, ""
        case [], [at]:
            return at, Standing.IN, ""
        case [], []:
            return None, Standing.FAILS, ""
    several = ", ".join(str(at + 1) for at in sorted({*outer_old, *outer_new})[:5])
    return None, Standing.FAILS, f"it may be in or belong to several places: lines {several}"


def _matches(image: Sequence[str], lines: Sequence[str], floor: int) -> list[int]:
    wanted, length = list(image), len(image)
    last = len(lines) - length
    return [
        at
        for at in range(floor, last + 1)
        if lines[at] == wanted[0] and list(lines[at : at + length]) == wanted
    ]


def _within(at: int, length: int, others: Sequence[int], other_length: int) -> bool:
    if length >= other_length:
        return False
    return any(other <= at and at + length <= other + other_length for other in others)


def _failure(place: Place, hunk: Hunk, lines: Sequence[str], expected: int) -> Place:
    """With what stands at the likeliest place: where most lines of the hunk stand, old ones or new ones."""
    if place.reason:
        return place
    at, agreeing = _likeliest(hunk.before, lines, expected)
    if not agreeing:
        return replace(place, reason="none of its lines stands there")
    stands = lines[at : at + len(hunk.before)]
    if tuple(stands) == hunk.before:
        where = (
            "above the hunk before it"
            if hunk.before[-1].endswith("\n") == hunk.after[-1].endswith("\n")
            else ""
        )
        return replace(
            place, line=at + 1, reason=f"it stands {where or 'there, and not at the end of the file'}"
        )
    line, found, wanted = _difference(hunk.before, stands, at)
    return replace(place, line=line, found=found, expected=wanted, agreeing=agreeing)


def _likeliest(image: Sequence[str], lines: Sequence[str], expected: int) -> tuple[int, int]:
    """The place where most lines of an image stand, and how many: of several the one that begins best."""
    stands: dict[str, list[int]] = {}
    for at, line in enumerate(lines):
        if line.strip():
            stands.setdefault(line, []).append(at)
    agreeing = Counter(
        at - index for index, line in enumerate(image) for at in stands.get(line, ()) if at >= index
    )
    most = max(agreeing.values(), default=0)

    def begins(at: int) -> tuple[int, int]:
        same = takewhile(lambda pair: pair[0] == pair[1], zip(lines[at:], image, strict=False))
        return sum(1 for _ in same), -abs(at - expected)

    return max((at for at, count in agreeing.items() if count == most), key=begins, default=0), most


def _difference(image: Sequence[str], lines: Sequence[str], at: int) -> tuple[int, str, str]:
    """Line (from 1), what it is and what it should be, of the first line that differs."""
    for index in range(max(len(image), len(lines))):
        found = lines[index] if index < len(lines) else "end of file"
        wanted = image[index] if index < len(image) else "end of file"
        if found != wanted:
            return at + index + 1, _plain(found), _plain(wanted)
    raise ValueError("there is no difference")  # what is equal matches


def _plain(line: str) -> str:
    """Without indentation and newline; what else cannot be seen is named."""
    text = line.removesuffix("\n")
    ends = (
        " (CR LF)"
        if text.endswith("\r")
        else ""
        if line.endswith("\n") or line == "end of file"
        else " (no newline)"
    )
    return text.strip() + ends
