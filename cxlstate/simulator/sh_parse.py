"""The part of the POSIX shell's grammar that configuration files are written in (XCU 2.3, 2.9, 2.10).

Text to a tree; `sh_run` walks it. No program is run for it and no file is opened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-]")
_LENGTH = re.compile(r"#([A-Za-z_][A-Za-z0-9_]*)\}")
_OPERATIONS = (":-", ":+", ":=", ":?", "##", "%%", "-", "+", "=", "?", "#", "%")
_SEPARATORS = " \t\n;&|()<>"
_ENDS = ("then", "do", "done", "fi", "else", "elif", "esac", "}")


class ShellError(ValueError):
    """A text that the simulator cannot take as a shell would. `line` counts from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Text:
    """Text that means itself. Unquoted, it may be part of a pattern."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Value:
    """`$name`, `${name}`, or with an operation and its word: `${name%word}`; `length` is `${#name}`."""

    name: str
    quoted: bool
    operation: str = ""
    word: tuple[Text | Value | Output, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """What a command would print: not known here, taken as nothing."""

    quoted: bool


Word = tuple[Text | Value | Output, ...]


@dataclass(frozen=True, slots=True)
class Simple:
    """Assignments and the words of a command, either of which may be missing."""

    line: int
    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """Commands one after the other, each with what decides whether it runs: `;`, `&&` or `||`."""

    parts: tuple[tuple[str, Command], ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`! command`."""

    of: Command


@dataclass(frozen=True, slots=True)
class If:
    """Conditions with what follows them; `otherwise` is empty where there is no else."""

    branches: tuple[tuple[Sequence, Sequence], ...]
    otherwise: Sequence


@dataclass(frozen=True, slots=True)
class Loop:
    """`while`, or `until` where `ends_on` is true."""

    line: int
    condition: Sequence
    body: Sequence
    ends_on: bool


@dataclass(frozen=True, slots=True)
class For:
    """`for name in words`."""

    name: str
    words: tuple[Word, ...]
    body: Sequence


@dataclass(frozen=True, slots=True)
class Case:
    """`case word in patterns) …`."""

    word: Word
    branches: tuple[tuple[tuple[Word, ...], Sequence], ...]


@dataclass(frozen=True, slots=True)
class Function:
    """`name() { … }`."""

    name: str
    body: Sequence


Command = Simple | Sequence | Not | If | Loop | For | Case | Function


def parse(text: str) -> Sequence:
    """A whole script. Raises ShellError."""
    parser = _Parser(text)
    script = parser.sequence(())
    if parser.at < len(text):
        raise parser.error(f"unexpected {text[parser.at]!r}")
    return script


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def error(self, why: str) -> ShellError:
        return ShellError(self.text.count("\n", 0, self.at) + 1, why)

    def sequence(self, ends: tuple[str, ...]) -> Sequence:
        """Commands up to one of the reserved words, which is left there."""
        parts: list[tuple[str, Command]] = []
        how = ";"
        while True:
            self._skip(newlines=True)
            if self.at >= len(self.text) or self._peek() in ends or self.text[self.at] == ")":
                return Sequence(tuple(parts))
            if self.text.startswith(";;", self.at):
                return Sequence(tuple(parts))
            parts.append((how, self._command()))
            how = self._separator()

    def _separator(self) -> str:
        self._skip()
        for operator in ("&&", "||"):
            if self._take(operator):
                return operator
        if self.text.startswith(";;", self.at) or self._take(";") or self._take("\n"):
            return ";"
        if self.at < len(self.text) and self.text[self.at] in "&|<>(":
            raise self.error(f"{self.text[self.at]} is not understood")
        return ";"

    def _command(self) -> Command:
        match self._peek():
            case "!":
                self._keyword("!")
                return Not(self._command())
            case "if":
                return self._if()
            case ("while" | "until") as word:
                line = self.text.count("\n", 0, self.at) + 1
                self._keyword(word)
                condition = self.sequence(("do",))
                return Loop(line, condition, self._body("do", "done"), ends_on=word == "until")
            case "for":
                return self._for()
            case "case":
                return self._case()
            case "{":
                return self._body("{", "}")
            case word if word in _ENDS:
                raise self.error(f"unexpected {word}")
            case name:
                found = _NAME.match(self.text, self.at)
                if found and re.match(r"[ \t]*\([ \t]*\)\s*", self.text[found.end() :]):
                    self.at = self.text.index(")", found.end()) + 1
                    self._skip(newlines=True)
                    return Function(name.partition("(")[0], self._body("{", "}"))
                return self._simple()

    def _body(self, begin: str, end: str) -> Sequence:
        self._skip(newlines=True)
        self._keyword(begin)
        body = self.sequence((end,))
        self._keyword(end)
        return body

    def _if(self) -> If:
        branches = []
        word = "if"
        while word in ("if", "elif"):
            self._keyword(word)
            condition = self.sequence(("then",))
            self._keyword("then")
            branches.append((condition, self.sequence(("elif", "else", "fi"))))
            word = self._peek()
        otherwise = Sequence(())
        if word == "else":
            self._keyword("else")
            otherwise = self.sequence(("fi",))
        self._keyword("fi")
        return If(tuple(branches), otherwise)

    def _for(self) -> For:
        self._keyword("for")
        name = self._peek()
        self._keyword(name)
        self._keyword("in")
        words = []
        while not self._ended():
            words.append(self._word())
        self._separator()
        return For(name, tuple(words), self._body("do", "done"))

    def _case(self) -> Case:
        self._keyword("case")
        self._skip()
        word = self._word()
        self._skip(newlines=True)
        self._keyword("in")
        branches = []
        self._skip(newlines=True)
        while self._peek() != "esac":
            self._take("(")
            patterns = [self._pattern()]
            while self._take("|"):
                patterns.append(self._pattern())
            if not self._take(")"):
                raise self.error("a pattern of case is not closed")
            branches.append((tuple(patterns), self.sequence(("esac",))))
            self._take(";;")
            self._skip(newlines=True)
        self._keyword("esac")
        return Case(word, tuple(branches))

    def _pattern(self) -> Word:
        self._skip()
        word = self._word()
        self._skip()
        return word

    def _simple(self) -> Simple:
        line = self.text.count("\n", 0, self.at) + 1
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        while not self._ended():
            name = _NAME.match(self.text, self.at)
            if not words and name and self.text[name.end() : name.end() + 1] == "=":
                self.at = name.end() + 1
                assignments.append((name[0], self._word()))
            else:
                words.append(self._word())
        return Simple(line, tuple(assignments), tuple(words))

    def _ended(self) -> bool:
        """Whether a simple command is at its end."""
        self._skip()
        return self.at >= len(self.text) or self.text[self.at] in "\n;&|()<>"

    def _word(self, ends: str = _SEPARATORS) -> Word:
        parts: list[Text | Value | Output] = []
        while self.at < len(self.text) and self.text[self.at] not in ends:
            char = self.text[self.at]
            if char == "'":
                end = self.text.find("'", self.at + 1)
                if end < 0:
                    raise self.error("a single quote is not closed")
                parts.append(Text(self.text[self.at + 1 : end], quoted=True))
                self.at = end + 1
            elif char == '"':
                self.at += 1
                parts += [Text("", quoted=True), *self._double_quoted('"')]
                self.at += 1
            elif char == "\\":
                escaped = self.text[self.at + 1 : self.at + 2]
                parts += [] if escaped == "\n" else [Text(escaped, quoted=True)]
                self.at += 2
            elif char in "$`":
                parts.append(self._expansion(quoted=False))
            else:
                parts.append(Text(char, quoted=False))
                self.at += 1
        return _joined(parts)

    def _double_quoted(self, end: str) -> Word:
        parts: list[Text | Value | Output] = []
        while self.text[self.at : self.at + 1] != end:
            char = self.text[self.at : self.at + 1]
            if not char:
                raise self.error("a double quote is not closed")
            escaped = self.text[self.at + 1 : self.at + 2]
            if char == "\\" and escaped and escaped in '$`"\\\n':
                parts += [] if escaped == "\n" else [Text(escaped, quoted=True)]
                self.at += 2
            elif char in "$`":
                parts.append(self._expansion(quoted=True))
            else:
                parts.append(Text(char, quoted=True))
                self.at += 1
        return _joined(parts)

    def _expansion(self, *, quoted: bool) -> Text | Value | Output:
        if self.text[self.at] == "`" or self.text.startswith("$(", self.at):
            self._pass_command()
            return Output(quoted)
        self.at += 1
        braced = self._take("{")
        if braced and (length := _LENGTH.match(self.text, self.at)):
            self.at = length.end()
            return Value(length[1], quoted, "length")
        name = _PARAMETER.match(self.text, self.at)
        if name is None:
            if braced:
                raise self.error("${ is followed by no name")
            return Text("$", quoted)
        self.at = name.end()
        if not braced:
            return Value(name[0], quoted)
        operation = next((one for one in _OPERATIONS if self._take(one)), "")
        plain = operation.strip(":") in ("-", "+", "=", "?")
        word = self._double_quoted("}") if quoted and plain else self._word("}")
        if not self._take("}"):
            raise self.error("a ${ is not closed")
        return Value(name[0], quoted, operation, word)

    def _pass_command(self) -> None:
        """Move behind a command substitution."""
        if self._take("`"):
            end = self.text.find("`", self.at)
        else:
            depth, end = 0, -1
            for place in range(self.at + 1, len(self.text)):
                depth += (self.text[place] == "(") - (self.text[place] == ")")
                if depth == 0:
                    end = place
                    break
        if end < 0:
            raise self.error("a command substitution is not closed")
        self.at = end + 1

    def _peek(self) -> str:
        """The word at this place, as reserved words are compared."""
        found = re.compile(r"[^\s;&|()<>]*").match(self.text, self.at)
        return found[0] if found else ""

    def _keyword(self, word: str) -> None:
        self._skip(newlines=word in ("in", *_ENDS))
        if self._peek() != word:
            raise self.error(f"{word} is missing")
        self.at += len(word)
        self._skip()

    def _take(self, text: str) -> bool:
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def _skip(self, *, newlines: bool = False) -> None:
        """Pass blanks, comments and line joins."""
        while self.at < len(self.text):
            if self.text[self.at] in " \t" or (newlines and self.text[self.at] == "\n"):
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return


def _joined(parts: list[Text | Value | Output]) -> Word:
    """Neighbouring texts of one kind as one: a pattern such as `[-_]` is seen whole."""
    joined: list[Text | Value | Output] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, Text) and isinstance(last, Text) and part.quoted == last.quoted:
            joined[-1] = Text(last.text + part.text, part.quoted)
        else:
            joined.append(part)
    return tuple(joined)
