"""Unified diffs, as diff(1), git-diff(1) and the kernel's mailing lists write them: read, written, reversed.

Sources: POSIX.1-2024 `diff -u`; git's Documentation/diff-generate-patch.adoc (extended header lines); GNU
patch 2.7.6 `src/pch.c` (`another_hunk`: an empty line in a hunk is context whose blank a mailer cut off).
What is around the diffs (a commit message, `diffstat`, a mail signature) is skipped. Paths are of the
kernel's form: the first component is dropped (`patch -p1`). Edits, creations and removals of regular files;
all else (renames, changes of mode, binary files, links) is refused and not half done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

MAX_CHARACTERS: Final = 1 << 20
MAX_FILES: Final = 100
_NOWHERE: Final = "/dev/null"
_HUNK: Final = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_SAME: Final = re.compile(r"diff --git (\S+) \1\n")
_SIGNATURE: Final = ("-- \n", "--\n", "-- ", "--")  # of a mail, below the last hunk
_REFUSED: Final = {
    "rename ": "a rename (git diff --no-renames writes it as a removal and a creation)",
    "copy ": "a copy (git diff --no-renames writes it as a creation)",
    "old mode ": "a change of mode",
    "Binary files ": "a binary file",
    "GIT binary patch": "a binary file",
}
_MODES: Final = {"100644": 0o644, "100755": 0o755}


class DiffError(Exception):
    """A text that is no unified diff that can be dealt with; `line` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class Kind(Enum):
    """What a diff does to its file."""

    EDIT = "edit"
    CREATE = "create"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that are found together: each with its mark (blank, `-`, `+`) and its newline, if it has one.

    `old` and `new` are where the first of them stands before and after; lines count from 1.
    """

    old: int
    new: int
    lines: tuple[str, ...]

    @property
    def before(self) -> tuple[str, ...]:
        """The lines that stand there where the patch is not in."""
        return tuple(line[1:] for line in self.lines if line[0] != "+")

    @property
    def after(self) -> tuple[str, ...]:
        """The lines that stand there where it is."""
        return tuple(line[1:] for line in self.lines if line[0] != "-")

    def reversed(self) -> Hunk:
        """The hunk that takes this one back."""
        swapped = str.maketrans("+-", "-+")
        return Hunk(self.new, self.old, tuple(line[0].translate(swapped) + line[1:] for line in self.lines))


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What is done to one file; its path is relative to the tree. `mode` is that of a file that is made."""

    path: str
    kind: Kind
    hunks: tuple[Hunk, ...]
    mode: int = 0o644

    def reversed(self) -> FileDiff:
        """The diff that takes this one back."""
        opposite = {Kind.CREATE: Kind.REMOVE, Kind.REMOVE: Kind.CREATE}.get(self.kind, self.kind)
        return FileDiff(self.path, opposite, tuple(hunk.reversed() for hunk in self.hunks), self.mode)


@dataclass(frozen=True, slots=True)
class Patch:
    """The diffs of one text, each of another file."""

    files: tuple[FileDiff, ...]

    def reversed(self) -> Patch:
        """The patch that takes this one back."""
        return Patch(tuple(file.reversed() for file in self.files))


def lines_of(text: str) -> tuple[str, ...]:
    """Lines with their newlines: only a newline ends one, and the last may have none."""
    *whole, last = text.split("\n")
    return (*(f"{line}\n" for line in whole), *([last] if last else ()))


def parse(text: str) -> Patch:
    """The patch of a text. DiffError says where it is none, and for what is not supported."""
    if len(text) > MAX_CHARACTERS:
        raise DiffError(1, f"longer than {MAX_CHARACTERS} characters")
    files: dict[str, FileDiff] = {}
    for line, file in _Reader(lines_of(text)).files():
        if file.path in files:
            raise DiffError(line, f"{file.path} is changed twice: make one diff of both")
        files[file.path] = file
        if len(files) > MAX_FILES:
            raise DiffError(line, f"more than {MAX_FILES} files")
    if not files:
        raise DiffError(1, "no diff: no `---` line with `+++` and `@@` below it")
    return Patch(tuple(files.values()))


def write(patch: Patch) -> str:
    """The text of a patch, in git's form. What `parse` reads from it is the patch."""
    return "".join(_written(file) for file in patch.files)


def _written(file: FileDiff) -> str:
    old, new = f"a/{file.path}", f"b/{file.path}"
    head = f"diff --git {old} {new}\n"
    if file.kind is Kind.CREATE:
        head, old = f"{head}new file mode 100{file.mode:o}\n", _NOWHERE
    elif file.kind is Kind.REMOVE:
        head, new = f"{head}deleted file mode 100{file.mode:o}\n", _NOWHERE
    hunks = (
        f"@@ -{hunk.old},{len(hunk.before)} +{hunk.new},{len(hunk.after)} @@\n"
        + "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in hunk.lines
        )
        for hunk in file.hunks
    )
    return f"{head}--- {old}\n+++ {new}\n{''.join(hunks)}"


class _Reader:
    """Goes once over the lines of a text."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._at = 0
        self._mode: int | None = None  # of the extended header that we are in
        self._unprefixed = False  # its `diff --git` line has the same name twice (`patch -p0`)

    def files(self) -> Iterator[tuple[int, FileDiff]]:
        """Each diff, and the line that it begins in."""
        header: int | None = None  # the `diff --git` line whose hunks are still to come
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if self._begins_file(self._at):
                header = None
                yield self._at + 1, self._file()
                continue
            if line.startswith(("@@ -", "@@@ ")):
                raise self._error("a hunk without `---` and `+++` above it")
            if line.startswith("diff --git "):
                self._refuse_empty(header)
                header, self._mode = self._at, None
                self._unprefixed = _SAME.fullmatch(line) is not None
            elif header is not None:
                self._extended(line)
            self._at += 1
        self._refuse_empty(header)

    def _begins_file(self, at: int) -> bool:
        first, second, third = (*self._lines[at : at + 3], "", "", "")[:3]
        return first.startswith("--- ") and second.startswith("+++ ") and third.startswith("@@ -")

    def _extended(self, line: str) -> None:
        for start, what in _REFUSED.items():
            if line.startswith(start):
                raise self._error(f"not supported: {what}")
        if line.startswith(("new file mode ", "deleted file mode ")):
            mode = line.rsplit(maxsplit=1)[-1]
            if mode not in _MODES:
                raise self._error(f"not supported: a file of mode {mode}")
            self._mode = _MODES[mode]

    def _refuse_empty(self, header: int | None) -> None:
        if header is not None:
            raise DiffError(
                header + 1, "not supported: a diff without lines (an empty file, a change of mode)"
            )

    def _file(self) -> FileDiff:
        if all(line.endswith("\r\n") for line in self._lines[self._at : self._at + 3]):
            raise self._error("its lines end with CR LF: dos2unix makes a patch of it")
        names = [line[4:].split("\t")[0] for line in self._lines[self._at : self._at + 2]]
        old, new = self._name("--- "), self._name("+++ ")
        path = new or old
        if (names[0] == names[1] and path) or self._unprefixed:
            raise self._error("no a/ and b/ ahead of the path: git -c diff.noprefix=false diff writes them")
        if path is None:
            raise self._error(f"both names are {_NOWHERE}")
        if old and new and old != new:
            raise self._error(f"not supported: a rename, {old} to {new}")
        kind = self._kind() if old and new else Kind.CREATE if new else Kind.REMOVE
        hunks = []
        while self._at < len(self._lines) and self._lines[self._at].startswith("@@ -"):
            hunks.append(self._hunk(kind))
        if kind is not Kind.EDIT and len(hunks) != 1:
            raise self._error(f"{path}: a file that is made or removed has one hunk")
        mode, self._mode = self._mode, None
        return FileDiff(path, kind, tuple(hunks), 0o644 if mode is None else mode)

    def _kind(self) -> Kind:
        """By the first hunk where both names are paths: `diff -N` names a file that is not there, too.

        Line 0 is where a file has no lines, as GNU patch has it of one that is empty or missing.
        """
        head = _HUNK.match(self._lines[self._at])
        if head is None:
            return Kind.EDIT
        if (head[1], head[2]) == ("0", "0"):
            return Kind.CREATE
        return Kind.REMOVE if (head[3], head[4]) == ("0", "0") else Kind.EDIT

    def _name(self, mark: str) -> str | None:
        name = self._lines[self._at].removeprefix(mark).partition("\t")[0].strip()
        self._at += 1
        if name == _NOWHERE:
            return None
        _, slash, path = name.partition("/")
        parts = path.split("/")
        if name.startswith(("/", '"')) or not slash or {"", ".", "..", ".git"} & set(parts):
            raise DiffError(self._at, f"not a path below a tree, with a/ or b/ ahead of it: {name}")
        if not name.isprintable():
            raise DiffError(self._at, "a path with characters that cannot be printed")
        return path

    def _hunk(self, kind: Kind) -> Hunk:
        at = self._at
        head = _HUNK.match(self._lines[at])
        if head is None:
            raise self._error("not a hunk header: @@ -LINE,COUNT +LINE,COUNT @@")
        old, new = int(head[1]), int(head[3])
        left = {"-": int(head[2] or 1), "+": int(head[4] or 1)}
        self._at += 1
        lines: list[str] = []
        while left["-"] > 0 or left["+"] > 0:
            lines.append(self._marked(at))
            for side in left:
                left[side] -= lines[-1][0] in (" ", side)
        if min(left.values()) < 0:
            raise DiffError(at + 1, "the hunk has other counts of lines than its header says")
        self._end(at, lines)
        hunk = Hunk(old, new, tuple(lines))
        self._check(at, kind, hunk)
        return hunk

    def _marked(self, head: int) -> str:
        """The next line of a hunk, without its newline where the line below says that it has none."""
        line = self._lines[self._at] if self._at < len(self._lines) else ""
        if line == "\n":
            line = " \n"
        if not line.startswith((" ", "-", "+")):
            raise DiffError(head + 1, f"the hunk ends at line {self._at + 1}, before its header says so")
        self._at += 1
        if self._at < len(self._lines) and self._lines[self._at].startswith("\\"):
            self._at += 1
            return line.removesuffix("\n")
        return line if line.endswith("\n") else f"{line}\n"

    def _end(self, head: int, lines: list[str]) -> None:
        """What follows a hunk must not look as if it belonged to it."""
        follows = self._lines[self._at] if self._at < len(self._lines) else ""
        if (
            follows.startswith((" ", "-", "+"))
            and follows not in _SIGNATURE
            and not self._begins_file(self._at)
        ):
            raise DiffError(
                head + 1, f"the hunk goes on at line {self._at + 1}, after its header says it ends"
            )
        for side in "-+":
            image = [line for line in lines if line[0] in (" ", side)]
            if any(not line.endswith("\n") for line in image[:-1]):
                raise DiffError(head + 1, "a line without a newline, and lines below it")

    def _check(self, head: int, kind: Kind, hunk: Hunk) -> None:
        if hunk.before == hunk.after:
            raise DiffError(head + 1, "a hunk that changes nothing")
        empty = {Kind.CREATE: hunk.before, Kind.REMOVE: hunk.after}.get(kind)
        if empty:
            raise DiffError(head + 1, "a file that is made or removed, and lines that stay")
        if kind is Kind.EDIT and not (hunk.before and hunk.after):
            raise DiffError(head + 1, "a hunk without context: where it belongs cannot be told")

    def _error(self, reason: str) -> DiffError:
        return DiffError(min(self._at, len(self._lines) - 1) + 1, reason)
