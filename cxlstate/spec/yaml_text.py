"""YAML text ↔ a tree with positions: the only user of yaml.

A small, predictable YAML: the core schema of YAML 1.2 for null, true/false and decimal numbers, and
text for everything else, so that a MAC or PCI address, `on`, `6.10` and `01234567` are what was
written (PyYAML's own YAML 1.1 rules turn all of them into something else).

What is not taken: anchors, aliases and merge keys, since a value must stand where its position
says it does (and a few lines of them can expand to gigabytes); tags; several documents in a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import yaml

from cxlstate.core.diagnostic import Diagnostic, Source
from cxlstate.spec.document import Document, Entry, Mapping, Node, Scalar, Sequence

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32
MAX_PROBLEMS: Final = 100

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,19}")  # every one is written as Python writes it back
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

# No control characters, none that ends a line for some readers only, and none that changes the
# direction of what a person is shown before giving consent.
_UNSEEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


class _Stop(Exception):  # ends the parsing of one file; never seen outside
    """Nothing more can be learned from this file."""


@lru_cache(maxsize=1)  # who wants to know early where a machine is does not cost a second reading
def parse(content: bytes, file: str) -> tuple[Document | None, tuple[Diagnostic, ...]]:
    """Read a file's bytes: the document (None where nothing could be made of it) and all problems."""
    parser = _Parser(file)
    try:
        document = Document(file, parser.read(content))
    except _Stop:
        document = None
    return document, tuple(parser.problems)


def dump(data: Any) -> str:
    """Python data as YAML text that `parse` reads back the same, and YAML 1.1 readers too."""

    class Plain(Dumper):  # type: ignore[misc]  # the C class where there is one
        def ignore_aliases(self, _data: Any) -> bool:
            return True

    text: str = yaml.dump(data, Dumper=Plain, sort_keys=False, allow_unicode=True, width=100)
    return text


class _Parser:
    """Builds the tree of one file from the parser's events, and gathers what is wrong with it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Diagnostic] = []

    def read(self, content: bytes) -> Node:
        text = self.decode(content)
        try:
            return self.document(yaml.parse(text, Loader=Loader))
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            raise self.broken(text, error) from error

    # Before YAML ------------------------------------------------------------------------------

    def decode(self, content: bytes) -> str:
        if len(content) > MAX_BYTES:
            raise self.stop("CXS109", "file is too large", 1, 1, expected=f"at most {MAX_BYTES} bytes")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self.not_utf8(content, error.start) from error
        if unseen := _UNSEEN.search(text):
            line, column = _position(text, unseen.start())
            self.unseen(unseen.group(), line, column)
            raise _Stop
        return text

    def not_utf8(self, content: bytes, offset: int) -> _Stop:
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        line, column = _position(content[:offset].decode("utf-8-sig"), len(content))
        return self.stop(
            "CXS107",
            f"file is not UTF-8 (byte {offset})",
            line,
            column,
            found="UTF-16" if utf16 else f"byte 0x{content[offset]:02x}",
            expected="UTF-8",
            hint="save it as UTF-8",
        )

    def broken(self, text: str, error: Exception) -> _Stop:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        lines = _LINE_BREAK.split(text)
        if line > len(lines):  # libyaml may point behind the end
            line, column = len(lines), len(lines[-1]) + 1
        blank = lines[line - 1][: -len(lines[line - 1].lstrip()) or None]
        if (tab := blank.find("\t")) >= 0:
            return self.stop(
                "CXS102",
                "indentation contains a tab",
                line,
                tab + 1,
                hint="indent with spaces: `expand -t 2 FILE` replaces the tabs",
            )
        problem = getattr(error, "problem", None) or "cannot be read"
        if "nesting depth" in problem:  # a limit of newer libyaml's own, met before ours
            expected = f"at most {MAX_DEPTH} levels"
            return self.stop("CXS109", "nesting is too deep", line, column, expected=expected)
        return self.stop("CXS101", f"not valid YAML: {problem}", line, column, hint=_why(error, problem))

    # Events -----------------------------------------------------------------------------------

    def document(self, events: Iterator[Any]) -> Node:
        root: Node | None = None
        for event in events:
            match event:
                case yaml.DocumentStartEvent() if root is not None:
                    self.problem(
                        "CXS106",
                        "file contains a second document",
                        *_at(event),
                        hint="move it to another file: one file describes one machine",
                    )
                    raise _Stop
                case yaml.DocumentStartEvent():
                    root = self.node(next(events), events, 1)
        if root is None or (isinstance(root, Scalar) and root.value is None):
            raise self.stop("CXS108", "file is empty", 1, 1, expected="apiVersion and host")
        return root

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        line, column = _at(event)
        if depth > MAX_DEPTH:
            raise self.stop(
                "CXS109", "nesting is too deep", line, column, expected=f"at most {MAX_DEPTH} levels"
            )
        self.no_extras(event)
        match event:
            case yaml.ScalarEvent():
                return self.scalar(event)
            case yaml.SequenceStartEvent():
                items = []
                while not isinstance(event := next(events), yaml.SequenceEndEvent):
                    items.append(self.node(event, events, depth + 1))
                return Sequence(tuple(items), line, column)
            case yaml.MappingStartEvent():
                return Mapping(self.entries(events, depth), line, column)
            case _:  # an alias, which `no_extras` has told about
                return Scalar(None, "", line, column)

    def entries(self, events: Iterator[Any], depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            plain = isinstance(event, yaml.ScalarEvent) and not event.style
            key = self.node(event, events, depth + 1)
            value = self.node(next(events), events, depth + 1)
            if not isinstance(key, Scalar) or not isinstance(key.value, str):
                if not isinstance(event, yaml.AliasEvent):
                    self.bad_key(key)
            elif key.value == "<<" and plain:
                self.problem(
                    "CXS104",
                    "merge keys (<<) are not supported",
                    key.line,
                    key.column,
                    hint="write the keys out",
                )
            elif key.value in entries:
                first = entries[key.value].key
                self.problem(
                    "CXS103",
                    f"key {quote(key.value)} appears twice",
                    key.line,
                    key.column,
                    hint=f"keep one of them; the first is in line {first.line}",
                )
            else:
                entries[key.value] = Entry(key, value)
        return entries

    def scalar(self, event: Any) -> Scalar:
        text, (line, column) = event.value, _at(event)
        if unseen := _UNSEEN.search(text) or re.search("\r", text):
            self.unseen(unseen.group(), line, column)
        return Scalar(text if event.style else _resolve(text), text, line, column)

    # What is refused --------------------------------------------------------------------------

    def no_extras(self, event: Any) -> None:
        if event.anchor is not None:
            alias = isinstance(event, yaml.AliasEvent)
            self.problem(
                "CXS104",
                f"alias *{event.anchor} is not supported"
                if alias
                else f"anchor &{event.anchor} is not supported",
                *_at(event),
                hint="write the value out; quote it if it is meant to begin with * or &",
            )
        if getattr(event, "tag", None) is not None:
            self.problem(
                "CXS105",
                f"tag {quote(event.tag.replace('tag:yaml.org,2002:', '!!'))} is not supported",
                *_at(event),
                hint="remove it; quote the value if it is meant to begin with !",
            )

    def bad_key(self, key: Node) -> None:
        scalar = isinstance(key, Scalar)
        self.problem(
            "CXS110",
            "key is not text",
            key.line,
            key.column,
            found=describe(key),
            expected="text",
            hint=f'quote it: "{key.text}"' if isinstance(key, Scalar) and scalar and key.text else None,
        )

    def unseen(self, character: str, line: int, column: int) -> None:
        self.problem(
            "CXS111",
            "file contains an invisible character",
            line,
            column,
            found=f"U+{ord(character):04X}",
            hint="remove it",
        )

    def problem(self, code: str, message: str, line: int, column: int, **more: str | None) -> None:
        source = Source(self.file, line, column)
        self.problems.append(Diagnostic(code, message, source=source, **more))  # type: ignore[arg-type]  # found, expected, hint
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Stop

    def stop(self, code: str, message: str, line: int, column: int, **more: str | None) -> _Stop:
        self.problem(code, message, line, column, **more)
        return _Stop()


def quote(text: str, most: int = 60) -> str:
    """Text as it can be shown to a person: on one line, in quotes, and not too long."""
    shown = json.dumps(text[:most], ensure_ascii=False)
    return shown if len(text) <= most else f'{shown[:-1]}…" ({len(text)} characters)'


def describe(node: Node) -> str:
    """What stands there, in words: `the number 5`, `the text "on"`, `a list`, `nothing`."""
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool(), text=text):
            return text
        case Scalar(value=int(), text=text):
            return f"the number {text}"
        case Scalar(text=text):
            return f"the text {quote(text)}"


def _resolve(text: str) -> str | int | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _NUMBER.fullmatch(text) else text


def _at(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _position(text: str, index: int) -> tuple[int, int]:
    before = _LINE_BREAK.split(text[:index])
    return len(before), len(before[-1]) + 1


def _why(error: Exception, problem: str) -> str | None:
    if "mapping values are not allowed" in problem:
        return "quote a value that has a colon and a blank in it; or the indentation of this line is wrong"
    if "cannot start any token" in problem:
        return "quote a value that begins with this character"
    context, mark = getattr(error, "context", None), getattr(error, "context_mark", None)
    if context in ("while scanning an alias", "while scanning an anchor", "while scanning a tag"):
        return "quote a value that begins with *, & or !"
    return f"{context}; it begins in line {mark.line + 1}" if context and mark else None
