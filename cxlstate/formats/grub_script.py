"""GRUB's script language, as far as the arguments of a `linux` command go.

Source: GRUB 2.12 `grub-core/script/yylex.l` (words), `script/execute.c` (expansion) and
`grub-core/lib/cmdline.c`, which writes the words out again for the kernel: a word with a blank gets
double quotes around all of it, and `"`, `'` and backslash get a backslash in front, which the kernel
would keep. So those three cannot be handed to the kernel at all.
"""

from __future__ import annotations

import re
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
_BLANKS_IN_VALUE = re.compile(r'(")?([^ ="]+)=(?(1)|")([^"]*)"')


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


def expand(word: str) -> str:
    """What a word becomes on the kernel's command line.

    Positional and special variables are empty there; a named one stays, marked `UNEXPANDED`.
    """
    value, at = "", 0
    while at < len(word):
        piece = _piece(word, at)
        at = piece.end()
        match piece.lastgroup:
            case "variable":
                value += _variable(piece[0])
            case "double":
                value += _IN_DOUBLE_QUOTES.sub(_unescaped, piece["double"])
            case str(group):
                value += piece[group]
            case None:
                value += piece[0]
    return _for_loader(value)


def _unescaped(piece: re.Match[str]) -> str:
    return piece[1] or _variable(piece[0])


def _variable(part: str) -> str:
    name = part.strip("${}")
    return f"{UNEXPANDED}{name}" if name[:1].isalpha() or name[:1] == "_" else ""


def _for_loader(value: str) -> str:
    """GRUB puts a backslash before each of these, whatever follows (seen with 2.12)."""
    text = "".join(f"\\{char}" if char in "\\'\"" else char for char in value)
    return f'"{text}"' if " " in value else text
