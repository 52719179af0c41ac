"""What a shell script does to its own variables (POSIX XCU 2.6, 2.9, 2.14), and nothing else.

This stands for the shell that sources `/etc/default/grub` and its drop-ins. It can assign, compare
and loop; a command that is no builtin is an error, so that no text is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from cxlstate.simulator.sh_parse import (
    Case,
    Command,
    For,
    Function,
    If,
    Loop,
    Not,
    Output,
    Sequence,
    ShellError,
    Simple,
    Text,
    Value,
    Word,
    parse,
)

_MOST_STEPS = 50_000
_SILENT = ("true", ":", "echo", "printf", "umask")


class _Left(Exception):
    """`return`, `break` or `continue`, with the number after it."""

    def __init__(self, word: str, number: int) -> None:
        super().__init__(word)
        self.word = word
        self.number = number


class Shell:
    """A shell without programs and without files: variables, functions and positional parameters."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        self._functions: dict[str, Sequence] = {}
        self._arguments: list[str] = []
        self._steps = 0
        self._status = 0
        self._builtins = self._all_builtins()

    def source(self, text: str) -> None:
        """Run a script in this shell. Raises ShellError."""
        try:
            self._run(parse(text))
        except _Left as left:
            if left.word != "return":
                raise ShellError(0, f"{left.word} outside a loop") from None

    def _run(self, command: Command) -> int:  # noqa: C901  # a branch for each node of the grammar
        match command:
            case Simple():
                return self._simple(command)
            case Sequence(parts=parts):
                return self._sequence(parts)
            case Not(of=of):
                return int(self._run(of) == 0)
            case If(branches=branches, otherwise=otherwise):
                for condition, body in branches:
                    if self._run(condition) == 0:
                        return self._run(body)
                return self._run(otherwise)
            case Loop():
                return self._loop(command)
            case For(name=name, words=words, body=body):
                return self._for(name, words, body)
            case Case(word=word, branches=branches):
                return self._case(self._text(word), branches)
            case Function(name=name, body=body):
                self._functions[name] = body
                return 0

    def _sequence(self, parts: tuple[tuple[str, Command], ...]) -> int:
        status = 0
        for how, part in parts:
            if how == ";" or (how == "&&") == (status == 0):
                self._status = status = self._run(part)
        return status

    def _loop(self, loop: Loop) -> int:
        while (self._run(loop.condition) == 0) != loop.ends_on:
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise ShellError(loop.line, "this loop does not end")
            if self._leaves(loop.body):
                break
        return 0

    def _for(self, name: str, words: tuple[Word, ...], body: Sequence) -> int:
        for value in [field for word in words for field in self._fields(word)]:
            self.variables[name] = value
            if self._leaves(body):
                break
        return 0

    def _leaves(self, body: Sequence) -> bool:
        """Run the body of a loop once; whether the loop is to be left."""
        try:
            self._run(body)
        except _Left as left:
            if left.word == "return":
                raise
            if left.number > 1:
                raise _Left(left.word, left.number - 1) from None
            return left.word == "break"
        return False

    def _case(self, text: str, branches: tuple[tuple[tuple[Word, ...], Sequence], ...]) -> int:
        for patterns, body in branches:
            if any(re.fullmatch(self._pattern(one), text, re.DOTALL) for one in patterns):
                return self._run(body)
        return 0

    def _simple(self, command: Simple) -> int:
        words = [field for word in command.words for field in self._fields(word)]
        for name, word in command.assignments:
            self.variables[name] = self._text(word)
        if not words:
            return 0
        name, *arguments = words
        if name in self._functions:
            return self._call(self._functions[name], arguments)
        builtin = self._builtins.get(name)
        if builtin is None:
            raise ShellError(command.line, f"the simulator runs no programs: {name}")
        return builtin(arguments)

    def _call(self, body: Sequence, arguments: list[str]) -> int:
        outer, self._arguments = self._arguments, arguments
        try:
            return self._run(body)
        except _Left as left:
            if left.word != "return":
                raise
            return left.number
        finally:
            self._arguments = outer

    def _all_builtins(self) -> dict[str, Callable[[list[str]], int]]:
        return {
            **dict.fromkeys(_SILENT, lambda _: 0),
            "false": lambda _: 1,
            "[": lambda words: _test(words[:-1]),
            "test": _test,
            "export": self._export,
            "local": self._export,
            "unset": self._unset,
            "set": self._set,
            "shift": self._shift,
            **{word: _leave(word) for word in ("return", "break", "continue")},
        }

    def _export(self, words: list[str]) -> int:
        for name, equals, value in (word.partition("=") for word in words):
            if equals:
                self.variables[name] = value
        return 0

    def _unset(self, words: list[str]) -> int:
        for name in words:
            self.variables.pop(name, None)
        return 0

    def _set(self, words: list[str]) -> int:
        if words[:1] == ["--"]:
            self._arguments = words[1:]
        return 0

    def _shift(self, words: list[str]) -> int:
        del self._arguments[: int(words[0]) if words else 1]
        return 0

    def _text(self, word: Word) -> str:
        """A word's expansion, not split."""
        return "".join(self._one(part) for part in word)

    def _pattern(self, word: Word) -> str:
        """A word as a regular expression: only what was not quoted can be a wildcard."""
        return "".join(re.escape(self._one(part)) if part.quoted else _glob(self._one(part)) for part in word)

    def _fields(self, word: Word) -> list[str]:
        """A word as arguments: an expansion that was not quoted is split at blanks."""
        if word == (Value("@", quoted=True),) or word == (Text("", quoted=True), Value("@", quoted=True)):
            return list(self._arguments)
        fields: list[str] = []
        current: str | None = None
        for part in word:
            text = self._one(part)
            if part.quoted or isinstance(part, Text):
                current = (current or "") + text
                continue
            pieces = re.split(r"[ \t\n]+", text)
            for number, piece in enumerate(pieces):
                if number and current is not None:
                    fields.append(current)
                    current = None
                if piece:
                    current = (current or "") + piece
        return fields if current is None else [*fields, current]

    def _one(self, part: Text | Value | Output) -> str:
        match part:
            case Text(text=text):
                return text
            case Output():
                return ""
            case Value():
                return self._value(part)

    def _value(self, part: Value) -> str:
        value = self._parameter(part.name)
        missing = value is None or (part.operation.startswith(":") and not value)
        match part.operation.strip(":"):
            case "-":
                return self._text(part.word) if missing else value or ""
            case "+":
                return "" if missing else self._text(part.word)
            case "=":
                if missing:
                    self.variables[part.name] = self._text(part.word)
                return self.variables[part.name]
            case "?" if missing:
                raise ShellError(0, f"{part.name}: parameter not set or null")
            case "length":
                return str(len(value or ""))
            case "#" | "##" | "%" | "%%":
                return self._cut(value or "", part)
        return value or ""

    def _cut(self, value: str, part: Value) -> str:
        """`${x#pattern}`: the shortest (or longest) beginning or end that matches is taken away."""
        pattern = re.compile(self._pattern(part.word), re.DOTALL)
        lengths = range(len(value) + 1)
        for length in reversed(lengths) if len(part.operation) > 1 else lengths:
            cut = value[:length] if part.operation[0] == "#" else value[len(value) - length :]
            if pattern.fullmatch(cut):
                return value[length:] if part.operation[0] == "#" else value[: len(value) - length]
        return value

    def _parameter(self, name: str) -> str | None:
        if name.isdigit() and name != "0":
            return self._arguments[int(name) - 1] if int(name) <= len(self._arguments) else None
        if name in ("@", "*"):
            return " ".join(self._arguments)
        own = {"#": len(self._arguments), "?": self._status}
        return str(own[name]) if name in own else self.variables.get(name)


def _test(words: list[str]) -> int:
    """`[ … ]` on texts and numbers; files are not looked at."""
    match words:
        case ["!", *rest]:
            return int(_test(rest) == 0)
        case ["-n", text] | [text]:
            return int(text == "")
        case ["-z", text]:
            return int(text != "")
        case [left, "=", right]:
            return int(left != right)
        case [left, "!=", right]:
            return int(left == right)
        case [left, ("-eq" | "-ne" | "-gt" | "-lt" | "-ge" | "-le") as how, right]:
            return int(how[1:] not in _order(int(left), int(right)))
        case [("-f" | "-e" | "-s" | "-r" | "-d" | "-x"), _]:
            return 1
    return int(not words) or 2


def _order(left: int, right: int) -> Iterator[str]:
    yield "eq" if left == right else "ne"
    yield "ge" if left >= right else "lt"
    yield "gt" if left > right else "le"


def _leave(word: str) -> Callable[[list[str]], int]:
    def leave(words: list[str]) -> int:
        raise _Left(word, int(words[0]) if words else int(word != "return"))

    return leave


def _glob(text: str) -> str:
    """A shell pattern as a regular expression."""
    pieces = re.findall(r"\*|\?|\[[!^]?\]?[^]]*\]|.", text, re.DOTALL)
    kinds = {"*": ".*", "?": "."}
    return "".join(
        "[" + ("^" + piece[2:] if piece[1] in "!^" else piece[1:])
        if len(piece) > 1
        else kinds.get(piece, re.escape(piece))
        for piece in pieces
    )
