"""`/etc/default/grub` and its drop-ins: what the `GRUB_CMDLINE_LINUX*` variables come to.

They are shell scripts that grub-mkconfig sources one after the other. Here they are read as a strict
subset and never run: assignments, `export`, quotes, `$NAME`, continuation lines. Anything else is
passed over as long as it cannot touch those variables; where it can, it is `NotUnderstood`.

Source: GRUB 2.12 `util/grub-mkconfig.in`, Debian's `default-grub-d.patch`, POSIX XCU 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from cxlstate.formats.sh_expansion import State, Unknowable, assigns, expand
from cxlstate.formats.sh_lexer import (
    Literal,
    Opaque,
    Operator,
    Part,
    ShellSyntaxError,
    Token,
    Variable,
    Word,
    tokens,
)

WATCHED: Final = "GRUB_CMDLINE_LINUX"

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_APPENDED = re.compile(rf"{WATCHED}[A-Za-z0-9_]*\+=")
_MAY_SET = re.compile(r"(?<![\w$])(?<!\$\{)([A-Za-z_]\w*)|\$\{([A-Za-z_]\w*):?=", re.ASCII)
"""A name that stands in a statement in another form than `$NAME`: `NAME=`, `read NAME`, `${NAME:=…}`."""

_OPENERS: Final = frozenset({"if", "case", "for", "while", "until", "{"})
_CLOSERS: Final = frozenset({"fi", "esac", "done", "}"})
_INNER: Final = frozenset({"then", "do", "else", "elif", "!", *_OPENERS} - {"case", "for"})
_JOINING: Final = frozenset({"&&", "||", "|"})
_FAR_REACHING: Final = {
    ".": "it reads another file",
    "source": "it reads another file",
    "eval": "it runs text as a script",
    "exec": "it ends the script",
    "exit": "it ends the script",
    "return": "it may leave out what follows",
}


class NotUnderstood(Exception):
    """What a file says of the watched variables cannot be told without running it."""

    def __init__(self, file: str, line: int, why: str) -> None:
        super().__init__(f"{file}:{line}: {why}")
        self.file = file
        self.line = line
        self.why = why


@dataclass(frozen=True, slots=True)
class Assignment:
    """A watched variable got a value here.

    `source` is the assignment as it was written. `eaten` are positional parameters of the shell in it:
    grub-mkconfig has shifted its own away before it sources the files, so that they come to nothing.
    """

    file: str
    line: int
    name: str
    value: str
    source: str = ""
    eaten: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """`file:line`, as an editor takes it."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Defaults:
    """All values at the end, and the assignments to watched variables in order."""

    values: Mapping[str, str]
    assignments: tuple[Assignment, ...]

    def __getitem__(self, name: str) -> str:
        """The value at the end; empty where the variable is not set, or not known."""
        return self.values.get(name, "")


_Statement = list[Token]
_NO_VALUE: Final = None
_LONGEST: Final = 8192
"""Characters of a value that is told: `A="$A$A"` doubles it at each line, and x86 kernels read 2047."""


def evaluate(files: Sequence[tuple[str, str]]) -> Defaults:
    """Path and text of each file, in the order they are sourced. May raise NotUnderstood."""
    values: dict[str, str | None] = {}
    assignments: list[Assignment] = []
    forgetting = _Forgetting()
    for path, text in files:
        statements = _read(path, text)
        depth = 0
        for statement in statements:
            inside, depth = depth, depth + _nesting(statement)
            if inside == 0 and depth == 0 and (pairs := _pairs(statement)) is not None:
                for line, name, word in pairs:
                    text_of = _value(word, values, path, line, name)
                    values[name] = _NO_VALUE if name in forgetting.for_good else text_of
                    if name.startswith(WATCHED):
                        eaten = tuple(
                            part.text
                            for part in word.parts
                            if isinstance(part, Opaque) and _eaten(part) is not None
                        )
                        value = values[name] or ""
                        assignments.append(Assignment(path, line, name, value, word.text, eaten))
            elif not (inside == 0 and depth == 0 and _does_nothing(statement, values, path)):
                _pass_over(statement, path)
                forgetting.of(statement, values)
        if depth != 0:
            raise NotUnderstood(path, text.count("\n") or 1, "a compound command is not closed")
    known = {name: value for name, value in values.items() if value is not None}
    return Defaults(known, tuple(assignments))


def _read(path: str, text: str) -> list[_Statement]:
    carriage_return = text.find("\r\n")
    if carriage_return >= 0:
        line = text.count("\n", 0, carriage_return) + 1
        raise NotUnderstood(path, line, "the line ends with CR LF, and a shell takes the CR for a part of it")
    try:
        return list(_statements(tokens(text)))
    except ShellSyntaxError as error:
        raise NotUnderstood(path, error.line, error.why) from None


@dataclass
class _Forgetting:
    """Variables that a statement which is passed over may set are not known behind it.

    What a function sets may be set again by any later command, so it is not known for good.
    """

    for_good: set[str] = field(default_factory=set)
    functions: bool = False

    def of(self, statement: _Statement, values: dict[str, str | None]) -> None:
        texts = [token.what.text for token in statement]
        self.functions = self.functions or any(pair == ("(", ")") for pair in pairwise(texts))
        names = {name for text in texts for name in _settable(text)}
        if self.functions:
            self.for_good |= names
        for name in names & values.keys():
            values[name] = _NO_VALUE


def _settable(text: str) -> Iterator[str]:
    """Names that a word may set: `$NAME` and `${NAME:-word}` only read."""
    return (name for found in _MAY_SET.findall(text) for name in found if name)


def _only_reads(text: str) -> bool:
    """Whether a word looks at watched variables, and cannot set one."""
    return not any(name.startswith(WATCHED) for name in _settable(text))


def _does_nothing(statement: _Statement, values: dict[str, str | None], path: str) -> bool:
    """Whether it is `:` with words that can be told, in which `${NAME:=word}` may set a variable."""
    words = [token.what for token in statement if isinstance(token.what, Word)]
    if len(words) != len(statement) or words[0].bare != ":":
        return False
    about = WATCHED if any(WATCHED in word.text for word in words) else ""
    texts = [_value(word, values, path, statement[0].line, about) for word in words]
    return _NO_VALUE not in texts


def _statements(found: list[Token]) -> Iterator[_Statement]:
    """Cut at line breaks and semicolons; what `&&`, `||` and `|` join stays together."""
    statement: _Statement = []
    for token in found:
        match token.what:
            case Operator(text="\n") if statement and _joins(statement[-1]):
                continue
            case Operator(text="\n" | ";" | ";;"):
                if statement:
                    yield statement
                statement = []
            case _:
                statement.append(token)
    if statement:
        yield statement


def _joins(token: Token) -> bool:
    return isinstance(token.what, Operator) and token.what.text in _JOINING


def _commands(statement: _Statement) -> Iterator[str]:
    """The bare words that stand where a command or reserved word is looked for."""
    expected = True
    for token in statement:
        match token.what:
            case Operator(text=text):
                expected = text in _JOINING or text in ("&", "(", ")")
            case Word() as word:
                if expected and word.bare is not None:
                    yield word.bare
                assigned = expected and _assignment(word) is not None
                expected = expected and (word.bare in _INNER or assigned)


def _nesting(statement: _Statement) -> int:
    return sum((word in _OPENERS) - (word in _CLOSERS) for word in _commands(statement))


def _pass_over(statement: _Statement, path: str) -> None:
    line, before = statement[0].line, None
    for token in statement:
        if _APPENDED.match(token.what.text):
            why = "`+=` is understood by bash only: grub-mkconfig is run by sh, and dash ends there"
            raise NotUnderstood(path, token.line, why)
        operand = isinstance(before, Word) and before.bare not in _INNER
        if WATCHED in token.what.text and not (operand and _only_reads(token.what.text)):
            raise NotUnderstood(path, token.line, f"{WATCHED}… is used in more than a plain assignment")
        before = token.what
    for word in _commands(statement):
        if word in _FAR_REACHING:
            raise NotUnderstood(path, line, f"`{word}`: {_FAR_REACHING[word]}")


def _pairs(statement: _Statement) -> list[tuple[int, str, Word]] | None:
    """Line, name and value of each assignment of a statement that is nothing but assignments."""
    words = [(token.line, token.what) for token in statement if isinstance(token.what, Word)]
    if len(words) != len(statement):
        return None
    exported = words[0][1].bare == "export"
    pairs = []
    for line, word in words[exported:]:
        if exported and word.bare is not None and word.bare.isidentifier():
            continue
        if (pair := _assignment(word)) is None or (exported and _splits(pair[1])):
            return None
        pairs.append((line, *pair))
    return pairs


def _splits(word: Word) -> bool:
    """Whether `export` may make several fields of it, which a plain assignment never does."""
    return any(
        (isinstance(part, Variable) and not part.quoted)
        or (isinstance(part, Literal) and part.bare and any(char in part.text for char in "*?["))
        for part in word.parts
    )


def _assignment(word: Word) -> tuple[str, Word] | None:
    match word.parts:
        case (Literal(text=text, bare=True), *rest) if match := _ASSIGNMENT.fullmatch(text):
            first = [Literal(match[2], bare=True)] if match[2] else []
            return match[1], Word((*first, *rest), word.text)
        case _:
            return None


def _variable(
    part: Variable, values: dict[str, str | None], path: str, line: int, name: str
) -> tuple[str | None, str]:
    """What an expansion comes to, or why that cannot be told."""

    def inner(parts: tuple[Part, ...]) -> str:
        text = _value(Word(parts, ""), values, path, line, name)
        if text is _NO_VALUE:
            raise Unknowable(f"${{{part.name}{part.operation}…}}")
        return text

    other = part.name
    unset = False if other.startswith(WATCHED) else None
    state = State(is_set=True, value=values[other]) if other in values else State(is_set=unset)
    try:
        text = expand(part, state, inner)
    except Unknowable as unknowable:
        return _NO_VALUE, str(unknowable)
    if assigns(part, state):
        values[other] = text
    return text, ""


_EATEN: Final = {**{f"${digit}": "" for digit in range(1, 10)}, "$@": "", "$*": "", "$#": "0"}
_SHELLS_NAME: Final = "/usr/sbin/grub-mkconfig"  # $0: update-grub finds it by PATH


def _eaten(part: object) -> str | None:
    """What a parameter of the shell itself comes to when grub-mkconfig sources the file."""
    if not isinstance(part, Opaque):
        return None
    return _SHELLS_NAME if part.text == "$0" else _EATEN.get(part.text)


def as_sourced(text: str) -> str:
    """A part of a double-quoted text as the shell reads it, its own parameters put in."""

    def read(found: re.Match[str]) -> str:
        if found[1]:
            return found[1]
        return _SHELLS_NAME if found[0] == "$0" else _EATEN[found[0]]

    return re.sub(r"\\([$\"\\`])|\$[0-9@*#]", read, text)


def _value(word: Word, values: dict[str, str | None], path: str, line: int, name: str) -> str | None:
    """What a word comes to. None, for a variable that is not watched, where it cannot be told."""
    text = ""
    for part in word.parts:
        match part:
            case Literal(bare=True) if part.text.startswith("~") or ":~" in part.text:
                known, why = _NO_VALUE, "a ~ that the shell expands"
            case Literal():
                known, why = part.text, ""
            case Variable():
                known, why = _variable(part, values, path, line, name)
            case Opaque() if (eaten := _eaten(part)) is not None:
                known, why = eaten, ""
            case _:
                known, why = _NO_VALUE, f"{part.what} ({part.excerpt})"
        if known is not _NO_VALUE and len(text) + len(known) > _LONGEST:
            known, why = _NO_VALUE, f"more than {_LONGEST} characters"
        if known is not _NO_VALUE:
            text += known
        elif name.startswith(WATCHED):
            raise NotUnderstood(path, line, f"the value of {name} holds {why}")
        else:
            return _NO_VALUE
    if "\n" in text and name.startswith(WATCHED):
        raise NotUnderstood(path, line, f"the value of {name} holds a line break")
    return text
