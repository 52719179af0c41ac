"""What stat(1) says of a path itself, links not followed, and of the folders that lead to it."""

from __future__ import annotations

import posixpath
import re
import stat as modes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cxlstate.core.answers import Answer, Answers, ReadFailed, failure
from cxlstate.core.exit_status import NOT_FOUND
from cxlstate.core.read import Command

# Mode in hex, size, time of the last change of the content, user:group:name.
_STAT: Final = ("stat", "--format=%f %s %Y %U:%G:%n")
_FIELDS: Final = 4
_COMPLAINT: Final = re.compile(r"stat: cannot statx? (.*): ([^:]*)")
_PIECE: Final = re.compile(r"""\$'((?:\\.|[^'\\])*)'|'([^']*)'|"([^"]*)"|\\(.)|([^'"$\\])""")
_SHOWN: Final = {modes.S_IFDIR: "a directory", modes.S_IFLNK: "a symbolic link", modes.S_IFREG: "a file"}


@dataclass(frozen=True, slots=True)
class Inode:
    """Kind and permissions, bytes, seconds since the epoch, and names of its owner and group."""

    mode: int
    size: int
    changed: int
    owner: str
    group: str

    @property
    def permissions(self) -> int:
        """As chmod(1) takes them."""
        return modes.S_IMODE(self.mode)

    @property
    def is_private(self) -> bool:
        """Only its owner may do anything with it."""
        return not self.permissions & (modes.S_IRWXG | modes.S_IRWXO)

    @property
    def is_file(self) -> bool:
        """A regular file."""
        return modes.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        """A symbolic link."""
        return modes.S_ISLNK(self.mode)

    @property
    def is_folder(self) -> bool:
        """A directory."""
        return modes.S_ISDIR(self.mode)

    @property
    def what(self) -> str:
        """For people."""
        return _SHOWN.get(modes.S_IFMT(self.mode), "a special file")


def stat(path: str) -> Command:
    """One path a question; the engine asks for all of them at once."""
    return Command(_STAT, (path,))


def inode_of(path: str, answers: Answers) -> Inode | None:
    """None where there is nothing. Raises ReadFailed."""
    read = stat(path)
    answer = answers.raw(read)
    if answer.status not in (0, 1):
        raise failure(read, answer)
    found = records(answer.text).get(path)
    if found is None and not _proven_absent(path, answer):
        raise ReadFailed(read, f"{path} cannot be looked at: {_said(path, answer)}")
    return found


def ways(path: str) -> tuple[str, ...]:
    """Every folder on the way to a path, from below the root, and the path."""
    steps = posixpath.normpath(path).split("/")[1:]
    return tuple("/" + "/".join(steps[: end + 1]) for end in range(len(steps)))


def way_reads(path: str) -> tuple[Command, ...]:
    """What has to be asked to know that no link is on the way."""
    return tuple(map(stat, ways(path)))


def obstacle(path: str, answers: Answers) -> tuple[str, Inode] | None:
    """The first thing on the way that is no folder, a link included. Raises ReadFailed."""
    for folder in ways(path)[:-1]:
        found = inode_of(folder, answers)
        if found is None:
            return None
        if not found.is_folder:
            return folder, found
    return None


@lru_cache(maxsize=8)
def records(text: str) -> dict[str, Inode]:
    """Path → inode of lines in that form; what is no such line is passed over."""
    found = {}
    for line in text.splitlines():
        fields = line.split(" ", _FIELDS - 1)
        if len(fields) < _FIELDS or fields[-1].count(":") < 2:  # noqa: PLR2004  # user:group:name
            continue
        mode, size, changed, named = fields
        owner, group, name = named.split(":", 2)
        found[name] = Inode(int(mode, 16), int(size), int(changed), owner, group)
    return found


def _complaints(path: str, answer: Answer) -> Sequence[str]:
    """Lines of `stat: cannot statx 'PATH': REASON` (coreutils 8.32 and later; earlier: cannot stat)."""
    matches = map(_COMPLAINT.fullmatch, map(str.strip, answer.stderr.splitlines()))
    return [match[2] for match in matches if match and path in (match[1], _unquoted(match[1]))]


def _unquoted(said: str) -> str:
    r"""A name as coreutils quote it for a shell, `'caf'$'\303\251'`: with LC_ALL=C, all but ASCII."""
    pieces = []
    for escaped, *plain in _PIECE.findall(said):
        octal = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), escaped.encode())
        pieces.append(octal or "".join(plain).encode("utf-8", "surrogateescape"))
    return b"".join(pieces).decode("utf-8", "surrogateescape")


def _proven_absent(path: str, answer: Answer) -> bool:
    reasons = _complaints(path, answer)
    return bool(reasons) and all(one in ("No such file or directory", "Not a directory") for one in reasons)


def _said(path: str, answer: Answer) -> str:
    if answer.status == NOT_FOUND:
        return "stat is not installed"
    return next(iter(_complaints(path, answer)), answer.stderr.strip()[-200:] or "no answer")
