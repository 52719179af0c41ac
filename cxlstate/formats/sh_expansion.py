"""What `${name…}` comes to: the operations of POSIX XCU 2.6.2, as dash and bash both do them.

Lengths and patterns are told for ASCII only: dash counts bytes, bash characters of the locale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from cxlstate.formats.sh_lexer import Literal, Part, Variable

_MAX_LENGTH: Final = 4096
_MAX_STARS: Final = 3

Inner = Callable[[tuple[Part, ...]], str]
"""Expands the word of an operation; raises Unknowable."""


class Unknowable(Exception):
    """What only a running shell could tell, in words."""


@dataclass(frozen=True, slots=True)
class State:
    """A variable. `is_set` is None where it cannot be told, `value` is None where it is not known."""

    is_set: bool | None
    value: str | None = None


def expand(part: Variable, state: State, inner: Inner) -> str:
    """The text that it comes to. The word of an operation is looked at only where a shell does."""
    if part.operation.startswith(":"):
        return _with_colon(part, state, inner)
    if state.is_set is None:
        raise Unknowable(f"${part.name}, which is not set here")
    match part.operation:
        case "+":
            return inner(part.word) if state.is_set else ""
        case "-" | "=" if not state.is_set:
            return inner(part.word)
        case "?" if not state.is_set:
            raise Unknowable(f"${{{part.name}?…}}, at which the shell ends")
    value = _value(part, state)
    match part.operation:
        case "" | "-" | "=" | "?":
            return value
        case "length":
            return str(len(_plain(value)))
        case operation:
            return _cut(_plain(value), operation, _pattern(part.word, inner))


def assigns(part: Variable, state: State) -> bool:
    """Whether it also sets the variable: `${name:=word}` and `${name=word}`."""
    unset = state.is_set is False
    return part.operation in ("=", ":=") and (unset or (part.operation == ":=" and state.value == ""))


def _with_colon(part: Variable, state: State, inner: Inner) -> str:
    """With a colon, empty is as good as not set."""
    if state.is_set is None:
        raise Unknowable(f"${part.name}, which is not set here")
    value = _value(part, state)
    if part.operation == ":+":
        return inner(part.word) if value else ""
    if value:
        return value
    if part.operation == ":?":
        raise Unknowable(f"${{{part.name}:?…}}, at which the shell ends")
    return inner(part.word)


def _value(part: Variable, state: State) -> str:
    if not state.is_set:
        return ""
    if state.value is None:
        raise Unknowable(f"${part.name}, whose value is not known")
    return state.value


def _plain(text: str) -> str:
    if not text.isascii() or len(text) > _MAX_LENGTH:
        raise Unknowable("an expansion of a text that is long or not ASCII")
    return text


def _pattern(word: tuple[Part, ...], inner: Inner) -> re.Pattern[str]:
    if any(isinstance(part, Variable) and part.operation for part in word):
        raise Unknowable("an operation within a pattern")  # shells differ in when and how it is done
    pieces: list[str] = []
    for char, active in _characters(word, inner):
        if active and char in "[\\":
            raise Unknowable(f"a pattern with {char}")
        piece = {"*": ".*", "?": "."}.get(char) if active else None
        if piece is None or (piece, pieces[-1:]) != (".*", [".*"]):
            pieces.append(piece or re.escape(char))
    if pieces.count(".*") > _MAX_STARS:
        raise Unknowable("a pattern with many *")
    return re.compile("".join(pieces), re.DOTALL)


def _characters(word: tuple[Part, ...], inner: Inner) -> Iterator[tuple[str, bool]]:
    """Each character of a pattern, and whether it may mean more than itself: quoted ones do not."""
    for part in word:
        active = part.bare if isinstance(part, Literal) else not getattr(part, "quoted", True)
        for char in _plain(inner((part,))):
            yield char, active


def _cut(value: str, operation: str, pattern: re.Pattern[str]) -> str:
    """`#` and `%` take away the shortest match, `##` and `%%` the longest one; where none is, nothing."""
    ends = range(len(value) + 1)
    if operation[0] == "#":
        lengths = ends if operation == "#" else reversed(ends)
        found = next((at for at in lengths if pattern.fullmatch(value, 0, at)), 0)
        return value[found:]
    starts = reversed(ends) if operation == "%" else ends
    found = next((at for at in starts if pattern.fullmatch(value, at)), len(value))
    return value[:found]
