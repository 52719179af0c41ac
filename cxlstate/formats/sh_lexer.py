"""POSIX shell text cut into words and operators, without running any of it.

Source: POSIX XCU 2.2 (quoting), 2.3 (token recognition), 2.10 (grammar). What stands for a value that
only a running shell could know becomes an `Opaque` part, so that nothing is ever guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import Final


class ShellSyntaxError(ValueError):
    """A text that a shell would refuse too. `line` counts from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line
        self.why = why


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that means itself; `bare` where no quoting stood around it."""

    text: str
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """`$NAME` or `${NAME}`, or with an operation and its word: `${NAME:-word}`; `length` is `${#NAME}`."""

    name: str
    quoted: bool = False
    operation: str = ""
    word: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Opaque:
    """What only a running shell can tell: `what` says which, `text` is how it was written."""

    what: str
    text: str

    @property
    def excerpt(self) -> str:
        """As it was written; of a long one the beginning."""
        return self.text if len(self.text) <= _LONGEST else f"{self.text[:_LONGEST]}…"


Part = Literal | Variable | Opaque


@dataclass(frozen=True, slots=True)
class Word:
    """One word; a word without parts is the empty one that `''` makes."""

    parts: tuple[Part, ...]
    text: str

    @property
    def bare(self) -> str | None:
        """Its text if no quoting and no expansion is in it, as reserved words must be."""
        match self.parts:
            case (Literal(text=text, bare=True),):
                return text
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Operator:
    """`;`, `&&`, `(`… or a line break."""

    text: str


@dataclass(frozen=True, slots=True)
class Token:
    """A word or operator and the line it begins on."""

    what: Word | Operator
    line: int


_OPERATORS: Final[tuple[str, ...]] = (
    "<<-",
    "<<",
    ">>",
    "<&",
    ">&",
    "<>",
    ">|",
    "&&",
    "||",
    ";;",
    *"&|;<>()\n",
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LENGTH = re.compile(r"\{#([A-Za-z_][A-Za-z0-9_]*)\}")
_OPERATION = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:?[-+=?]|##?|%%?)")
_LONGEST: Final = 200
_PARAMETER = re.compile(r"[0-9@*#?$!-]")


def tokens(text: str) -> list[Token]:
    """All tokens. The body of a heredoc is an opaque word before the line break that it follows."""
    return _Lexer(text).all()


class _Lexer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.heredocs: list[tuple[str, bool]] = []
        self._counted = (0, 1)  # up to where line breaks were counted, and the line there

    def all(self) -> list[Token]:
        found: list[Token] = []
        while self._skip_blanks():
            line = self._line()
            if operator := self._operator():
                if operator == "\n" and self.heredocs:
                    found += self._bodies(line)
                found.append(Token(Operator(operator), line))
            else:
                word = self._word()
                if found and isinstance(found[-1].what, Operator) and found[-1].what.text.startswith("<<"):
                    self._begin_heredoc(word, line, tabs=found[-1].what.text == "<<-")
                found.append(Token(word, line))
        if self.heredocs:
            raise ShellSyntaxError(self._line(), "a heredoc has no body")
        return found

    def _begin_heredoc(self, word: Word, line: int, *, tabs: bool) -> None:
        if not all(isinstance(part, Literal) for part in word.parts):
            raise ShellSyntaxError(line, "the end of a heredoc is no plain word")
        end = "".join(part.text for part in word.parts if isinstance(part, Literal))
        self.heredocs.append((end, tabs))

    def _bodies(self, line: int) -> list[Token]:
        """Move behind the bodies that were announced on the line that ends here."""
        start = self.at
        for end, tabs in self.heredocs:
            while True:
                if self.at >= len(self.text):
                    raise ShellSyntaxError(line, f"the heredoc has no line {end}")
                stop = self.text.find("\n", self.at)
                stop = len(self.text) if stop < 0 else stop
                row, self.at = self.text[self.at : stop], stop + 1
                if (row.lstrip("\t") if tabs else row) == end:
                    break
        self.heredocs = []
        text = self.text[start : self.at]
        return [Token(Word((Opaque("a heredoc", text),), text), line)]

    def _line(self) -> int:
        at, line = self._counted if self._counted[0] <= self.at else (0, 1)
        self._counted = self.at, line + self.text.count("\n", at, self.at)
        return self._counted[1]

    def _skip_blanks(self) -> bool:
        while self.at < len(self.text):
            if self.text[self.at] in " \t":
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return True
        return False

    def _operator(self) -> str:
        for operator in _OPERATORS:
            if self.text.startswith(operator, self.at):
                self.at += len(operator)
                return operator
        return ""

    def _word(self) -> Word:
        start, parts = self.at, list[Part]()
        while self.at < len(self.text) and self.text[self.at] not in " \t\n&|;<>()":
            parts += self._part()
        return Word(_joined(parts), self.text[start : self.at])

    def _part(self) -> list[Part]:
        match self.text[self.at]:
            case "'":
                return [Literal(self._until("'", "a single quote"))]
            case '"':
                return self._double_quoted()
            case "\\":
                self.at += 2
                if self.at > len(self.text):
                    raise ShellSyntaxError(self._line(), "a backslash ends the file")
                escaped = self.text[self.at - 1]
                return [] if escaped == "\n" else [Literal(escaped)]
            case "$" if self.text[self.at + 1 : self.at + 2] in ("'", '"'):
                self.at += 1  # a bash quote; dash keeps the dollar sign
                return [Opaque("a $ before a quote", "$")]
            case "$" | "`":
                return [self._expansion()]
            case _:
                self.at += 1
                return [Literal(self.text[self.at - 1], bare=True)]

    def _until(self, end: str, what: str) -> str:
        closing = self.text.find(end, self.at + 1)
        if closing < 0:
            raise ShellSyntaxError(self._line(), f"{what} is not closed")
        inner, self.at = self.text[self.at + 1 : closing], closing + 1
        return inner

    def _double_quoted(self) -> list[Part]:
        line, parts = self._line(), list[Part]()
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == '"':
                self.at += 1
                return parts or [Literal("")]
            parts += self._in_quotes('$`"\\\n')
        raise ShellSyntaxError(line, "a double quote is not closed")

    def _in_quotes(self, escaped: str) -> list[Part]:
        """One part between double quotes. A backslash quotes `escaped`, and is itself before all else."""
        char, following = self.text[self.at], self.text[self.at + 1 : self.at + 2]
        if char in "$`":
            return [self._expansion(quoted=True)]
        if char == "\\" and following and following in escaped:
            self.at += 2
            return [] if following == "\n" else [Literal(following)]
        self.at += 1
        return [Literal(char)]

    def _expansion(self, *, quoted: bool = False) -> Part:
        start = self.at
        if self.text[start] == "`":
            return self._backquoted()
        if name := _NAME.match(self.text, start + 1):
            self.at = name.end()
            return Variable(name[0], quoted)
        if braced := _BRACED.match(self.text, start + 1):
            self.at = braced.end()
            return Variable(braced[1], quoted)
        if length := _LENGTH.match(self.text, start + 1):
            self.at = length.end()
            return Variable(length[1], quoted, "length")
        if (operation := _OPERATION.match(self.text, start + 1)) and (
            found := self._operation(operation, quoted=quoted)
        ):
            return found
        if _PARAMETER.match(self.text, start + 1):
            self.at += 2
            return Opaque(f"the shell's own ${self.text[start + 1]}", self.text[start : self.at])
        if self.text[start + 1 : start + 2] in ("(", "{"):
            self._nested()
            text = self.text[start : self.at]
            arithmetic = text.startswith("$((") and text.endswith("))")
            called = "arithmetic" if arithmetic else "a command's output"
            return Opaque(called if text[1] == "(" else "a parameter expansion", text)
        self.at += 1
        return Literal("$")

    def _operation(self, match: re.Match[str], *, quoted: bool) -> Variable | None:
        """`${name-word}` and the like; None, and nothing read, where shells take the word differently.

        Between double quotes a word is read as such text is, and a backslash quotes a brace, too; the
        pattern of `#` and `%` is read as outside of quotes in both places (XCU 2.6.2).
        """
        start, self.at = self.at, match.end()
        as_text = quoted and match[2][0] not in "#%"
        parts = list[Part]()
        while self.text[self.at : self.at + 1] != "}":
            char = self.text[self.at : self.at + 1]
            if not char or (as_text and char == '"'):
                self.at = start
                return None
            parts += self._in_quotes('$`"\\}\n') if as_text else self._part()
        self.at += 1
        return Variable(match[1], quoted, match[2], _joined(parts))

    def _backquoted(self) -> Part:
        start = self.at
        self.at += 1
        while self.text[self.at : self.at + 1] not in ("`", ""):
            self.at += 2 if self.text[self.at] == "\\" else 1
        if self.at >= len(self.text):
            self.at = start
            raise ShellSyntaxError(self._line(), "a backquote is not closed")
        self.at += 1
        return Opaque("a command's output", self.text[start : self.at])

    def _nested(self) -> None:
        """Move behind the bracket that closes the one after the dollar sign here."""
        start, depth = self.at, 0
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in "'\"\\`":
                self._part()
                continue
            depth += (char in "({") - (char in ")}")
            self.at += 1
            if depth == 0:
                return
        self.at = start
        raise ShellSyntaxError(self._line(), "an expansion is not closed")


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """Neighbouring literals of one kind as one."""
    joined: list[Part] = []
    for bare, several in groupby(parts, lambda part: part.bare if isinstance(part, Literal) else None):
        if bare is None:
            joined += several
        else:
            joined.append(Literal("".join(one.text for one in several if isinstance(one, Literal)), bare))
    return tuple(joined)
