"""GRUB's script language, as far as the arguments of a `linux` command go.

Source: GRUB 2.12 `grub-core/script/yylex.l` (words), `script/execute.c` (`grub_script_env_get`,
`grub_script_arglist_to_argv`: expansion), `script/argv.c` (`grub_script_argv_split_append`: the value
of a variable outside quotes is cut at blanks) and `grub-core/lib/cmdline.c`, which writes the words out
again for the kernel: a word with a blank gets double quotes around all of it, and `"`, `'` and backslash
get a backslash in front, which the kernel would keep. So those three cannot be handed to the kernel at
all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from typing import Final

from cxlstate.formats import kernel_cmdline

UNEXPANDED: Final = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands before the name of a GRUB variable in an expanded word: its value is known at boot only."""

_SPECIAL: Final = frozenset("{}|&$;<>*?#[]")
_VARIABLE: Final = r"\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[?#*@]|\{(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[?#*@])\})"
_BLANKS = re.compile(r"[ \t]*")
_PIECE = re.compile(
    r"\\(?P<escaped>[^\n])|'(?P<single>[^'\n]*)'"
    rf'|"(?P<double>(?:\\[^\n]|{_VARIABLE}|[^\\"$\n])*)"|(?P<variable>{_VARIABLE})|[^{{}}|&$;<> \t\n\'"\\]'
)
_IN_DOUBLE_QUOTES = re.compile(rf'\\([$"\\])|{_VARIABLE}')
_WRONG: Final = {
    "\\": "a backslash at the end",
    "'": "a single quote that is not closed",
    '"': "a double quote that is not closed",
    "$": "a $ that names no variable",
    "\n": "a line break",
}
_BEFORE_LOADER: Final = str.maketrans({char: f"\\{char}" for char in "\\'\""})
_BLANKS_IN_VALUE = re.compile(r'(")?([^ ="]+)=(?(1)|")([^"]*)"')


Values = Callable[[str], tuple[str, ...] | None]
"""Every value that a variable may have at boot, by name; None where any is possible."""

_MOST_READINGS: Final = 64
_KEPT: Final = 4096
"""Of so many words the parts are remembered: each plan meets the same few, in every entry of the menu."""


class GrubSyntaxError(ValueError):
    """A line that is not one plain command: it has an operator, a comment or an open quote."""


def quote(argument: str) -> str:
    """A kernel argument as one GRUB word that hands it to the kernel unchanged in meaning.

    ValueError for `'`, backslash, and quotes that are not around the value or the whole.
    """
    if " " not in argument:
        plain = argument.replace('"', "")
        _refuse(plain, argument)
        meant = kernel_cmdline.read(argument)
        if '"' in f"{meant.name}{meant.value}" or argument.count('"') % 2:
            raise ValueError(f"GRUB cannot hand quotes in the middle to the kernel: {argument}")
        return "".join(f"\\{char}" if char in _SPECIAL else char for char in plain)
    inner = _BLANKS_IN_VALUE.fullmatch(argument)
    if inner is None:
        raise ValueError(f"blanks outside double quotes: {argument}")
    plain = f"{inner[2]}={inner[3]}"
    _refuse(plain, argument)
    return '"' + plain.replace("$", "\\$") + '"'


def _refuse(text: str, argument: str) -> None:
    for char in "'\\":
        if char in text:
            raise ValueError(f"GRUB cannot hand {char} to the kernel: {argument}")


@lru_cache(_KEPT)
def split(source: str) -> tuple[str, ...]:
    """The words of a command line as they are written."""
    words: list[str] = []
    at = 0
    while blanks := _BLANKS.match(source, at):
        at = blanks.end()
        if at == len(source):
            break
        if source[at] == "#":
            raise GrubSyntaxError("a comment")
        start = at
        while at < len(source) and source[at] not in " \t":
            at = _piece(source, at).end()
        words.append(source[start:at])
    return tuple(words)


def _piece(source: str, at: int) -> re.Match[str]:
    """The character, escape, variable or quoted text at `at`."""
    piece = _PIECE.match(source, at)
    if piece is None:
        raise GrubSyntaxError(_WRONG.get(source[at], f"an unquoted {source[at]}"))
    return piece


@lru_cache(_KEPT)
def expand(word: str) -> str:
    """The text that a word becomes on the kernel's command line.

    Positional and special variables are empty there; a named one stays, marked `UNEXPANDED`.
    """
    return " ".join(readings(word, lambda name: None if _is_named(name) else ("",))[0])


def readings(word: str, values: Values) -> tuple[tuple[str, ...], ...]:
    """Every list of words that one word may become on the kernel's command line.

    No word at all, one, or several: an unquoted variable vanishes where it is empty, and is cut at blanks.
    """
    pieces = _pieces(word)
    names = list(dict.fromkeys(text for kind, text in pieces if kind != _TEXT))
    choices = [values(name) or (f"{UNEXPANDED}{name}",) for name in names]
    found = (
        _fields(pieces, dict(zip(names, chosen, strict=True)))
        for chosen, _ in zip(product(*choices), range(_MOST_READINGS), strict=False)
    )
    return tuple(dict.fromkeys(found))


def variables(word: str) -> tuple[str, ...]:
    """The names of the variables that GRUB puts the values of into a word."""
    return tuple(dict.fromkeys(text for kind, text in _pieces(word) if kind != _TEXT))


def escaped(word: str, backslashes: str = "\\") -> str:
    """A word as it is written, with `backslashes` before each `$` that GRUB takes for a variable's."""
    parts, at = "", 0
    while at < len(word):
        piece = _piece(word, at)
        at = piece.end()
        if piece.lastgroup == "variable":
            parts += backslashes
        parts += piece[0]
    return parts


_TEXT, _SPLIT, _QUOTED = "text", "split", "quoted"


@lru_cache(_KEPT)
def _pieces(word: str) -> tuple[tuple[str, str], ...]:
    return tuple(_cut(word))


def _cut(word: str) -> Iterator[tuple[str, str]]:
    """Kind and content: a text, or the name of a variable outside or inside double quotes."""
    at = 0
    while at < len(word):
        piece = _piece(word, at)
        at = piece.end()
        match piece.lastgroup:
            case "variable":
                yield _SPLIT, _name(piece[0])
            case "double":
                yield from _in_double_quotes(piece["double"])
            case str(group):
                yield _TEXT, piece[group]
            case None:
                yield _TEXT, piece[0]


def _in_double_quotes(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    yield _TEXT, ""  # quotes make a word, also an empty one
    for special in _IN_DOUBLE_QUOTES.finditer(text):
        yield _TEXT, text[at : special.start()]
        yield (_TEXT, special[1]) if special[1] else (_QUOTED, _name(special[0]))
        at = special.end()
    yield _TEXT, text[at:]


def _fields(pieces: tuple[tuple[str, str], ...], values: dict[str, str]) -> tuple[str, ...]:
    fields: list[str] = []
    current: str | None = None
    for kind, content in pieces:
        text = content if kind == _TEXT else values[content]
        if kind != _SPLIT:
            current = (current or "") + text
            continue
        first, *rest = re.split("[ \t\n]+", text)
        if first:
            current = (current or "") + first
        for field in rest:
            fields += [] if current is None else [current]
            current = field or None
    fields += [] if current is None else [current]
    return tuple(map(_for_loader, fields))


def _name(part: str) -> str:
    return part.strip("${}")


def _is_named(name: str) -> bool:
    return name[:1].isalpha() or name[:1] == "_"


def _for_loader(value: str) -> str:
    """GRUB puts a backslash before each of these, whatever follows (seen with 2.12)."""
    text = value.translate(_BEFORE_LOADER)
    return f'"{text}"' if " " in value else text
