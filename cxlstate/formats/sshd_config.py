"""sshd_config(5): which line gives a keyword its value, and for whom. Nothing is executed.

The first value of a keyword counts. Files that an `Include` names are read in its place, in lexical order. A
`Match` holds up to the next one or to the end of its file, and beats what stands outside of any, also a
`Match all`; of several that match, the first counts (tried with OpenSSH 9.2 and 10.0).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from cxlstate.formats import ours

MAIN: Final = "/etc/ssh/sshd_config"
FOLDER: Final = "/etc/ssh/sshd_config.d"
DROP_IN: Final = ours.SSHD_DROP_IN

_LINE: Final = re.compile(r"(?P<keyword>[A-Za-z0-9]+)(?:\s*+=\s*|\s+)(?P<value>.*)")
_WORD: Final = re.compile(r'"([^"]*)"|(\S+)')
_EVERYBODY: Final = re.compile(r"all|((user|host|address)\s+\*(\s+|$))+", re.IGNORECASE)
_IN_GENERAL: Final = re.compile(
    r"all|((user|host|(local)?address)\s++(![^\s,]++,)*+(\*|0\.0\.0\.0/0)(,(![^\s,]++|::/0))*+(\s++|$))++",
    re.IGNORECASE,
)
_SAME: Final = {"without-password": "prohibit-password"}
_ALIASES: Final = {"challengeresponseauthentication": "kbdinteractiveauthentication"}
_DEEPEST: Final = 16  # servconf.h: SERVCONF_MAX_DEPTH
_MOST: Final = 4096  # files read; sshd refuses those that include each other, and they would have no end


@dataclass(frozen=True, slots=True)
class Directive:
    """One line: the keyword in small letters, where it stands, and the `Match` that it holds for (None: no).

    In an included file that is one within another, written one behind the other.
    """

    keyword: str
    value: str
    file: str
    line: int
    match: str | None = None

    @property
    def is_for_all(self) -> bool:
        """Whether it holds for every connection."""
        return self.match is None or _EVERYBODY.fullmatch(self.match) is not None

    @property
    def is_in_general(self) -> bool:
        """Whether it holds for whom no line names, as `sshd -T` of nobody has it: `Match User *,!root`."""
        return self.match is None or _IN_GENERAL.fullmatch(self.match.replace('"', "")) is not None

    def __str__(self) -> str:
        return f"{self.file} line {self.line}: {self.keyword} {self.value}"


def directives(files: Mapping[str, str], path: str = MAIN) -> Iterator[Directive]:
    """All lines that sshd reads, in the order in which it does; `files` are those that there are."""
    yield from _read(files, path, None, 0, iter(range(_MOST)))


def deciding(found: Sequence[Directive], keyword: str) -> Directive | None:
    """The line that gives a keyword its value in general; None: it has its default."""
    of = [one for one in found if one.keyword == keyword.lower() and one.is_in_general]
    return next((one for one in of if one.match is not None), next(iter(of), None))


def exceptions(found: Sequence[Directive], keyword: str, value: str) -> list[Directive]:
    """Lines that give somebody another value."""
    of = [one for one in found if one.keyword == keyword.lower() and not one.is_in_general]
    return [one for one in of if plain(one.value) != value]


def plain(value: str) -> str:
    """As it is compared: `sshd -T` has an older word for `prohibit-password`."""
    value = value.strip('"').lower()
    return _SAME.get(value, value)


def effective(text: str) -> dict[str, str]:
    """What `sshd -T` prints: a keyword and its value a line; of one that is repeated, the first."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword.lower(), plain(value))
    return values


def includes(text: str) -> Iterator[str]:
    """The patterns that a file includes, as absolute paths."""
    for _, keyword, value in _lines(text):
        if keyword == "include":
            yield from map(_absolute, _words(value))


def _read(
    files: Mapping[str, str], path: str, outer: str | None, depth: int, left: Iterator[int]
) -> Iterator[Directive]:
    if depth > _DEEPEST or next(left, None) is None:
        return
    match = outer
    for number, keyword, value in _lines(files.get(path, "")):
        if keyword == "match":
            match = value if outer is None or _EVERYBODY.fullmatch(outer) else f"{outer} {value}"
        elif keyword == "include":
            for pattern in _words(value):
                for found in _matching(files, pattern):
                    yield from _read(files, found, match, depth + 1, left)
        else:
            yield Directive(keyword, value, path, number, match)


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Number, keyword in small letters and value of each line that says something; only newlines end one."""
    for number, line in enumerate(text.split("\n"), 1):
        if said := _LINE.fullmatch(line.lstrip()):  # a comment begins with no keyword
            keyword = said["keyword"].lower()
            yield number, _ALIASES.get(keyword, keyword), _without_comment(said["value"].rstrip())


def _words(value: str) -> list[str]:
    return [quoted or bare for quoted, bare in _WORD.findall(value)]


def _without_comment(value: str) -> str:
    return re.sub(r"(?<!\s)\s++#.*$", "", value)


def _matching(files: Mapping[str, str], pattern: str) -> list[str]:
    """glob(7), in lexical order: no `*` reaches over a slash, or stands for a name with a dot before it."""
    steps = _absolute(pattern).split("/")
    return sorted(path for path in files if _fits(path.split("/"), steps))


def _absolute(pattern: str) -> str:
    return posixpath.join(posixpath.dirname(MAIN), pattern)


def _fits(names: Sequence[str], patterns: Sequence[str]) -> bool:
    return len(names) == len(patterns) and all(
        fnmatchcase(name, pattern) and (pattern.startswith(".") or not name.startswith("."))
        for name, pattern in zip(names, patterns, strict=True)
    )
