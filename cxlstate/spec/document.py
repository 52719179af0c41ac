"""A document as a tree that knows where everything stands. Lines and columns count from 1."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from typing import Any

from cxlstate.core.diagnostic import Source
from cxlstate.core.path import Path


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value; `text` is what was written, without quotes."""

    value: str | int | bool | None
    text: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value, each with its own position."""

    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys are text and unique, in the order of the file."""

    entries: MappingABC[str, Entry]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    line: int
    column: int


Node = Scalar | Mapping | Sequence


def plain(node: Node) -> Any:
    """The same as Python data: dict, list, str, int, bool and None."""
    match node:
        case Scalar(value=value):
            return value
        case Sequence(items=items):
            return [plain(item) for item in items]
        case Mapping(entries=entries):
            return {key: plain(entry.value) for key, entry in entries.items()}


@dataclass(frozen=True, slots=True)
class Document:
    """The tree of one file, and the only place where a path becomes file, line and column."""

    file: str
    root: Node

    def locate(self, path: Path) -> Source:
        """Where a path stands, or the deepest part of it that exists.

        A single value is where it is written; a mapping or list is where its key is.
        """
        node, key = self._deepest(path)
        return self._source(key if key and not isinstance(node, Scalar) else node)

    def locate_key(self, path: Path) -> Source:
        """Where the key at the end of a path stands; the value where there is no key."""
        node, key = self._deepest(path)
        return self._source(key or node)

    def node(self, path: Path) -> Node:
        """What stands at a path, or at the deepest part of it that exists."""
        return self._deepest(path)[0]

    def existing(self, path: Path) -> Path:
        """`path` without the steps that lead nowhere in this document."""
        node, found = self.root, []
        for step in path:
            below = _step(node, step)
            if below is not None:
                node = below.value if isinstance(below, Entry) else below
                found.append(step)
        return tuple(found)

    def _deepest(self, path: Path) -> tuple[Node, Scalar | None]:
        node: Node = self.root
        key: Scalar | None = None
        for step in path:
            match _step(node, step):
                case None:
                    break
                case Entry(key=key, value=node):
                    pass
                case item:
                    node, key = item, None
        return node, key

    def _source(self, at: Node) -> Source:
        return Source(self.file, at.line, at.column)


def _step(node: Node, step: str | int) -> Entry | Node | None:
    if isinstance(node, Mapping) and isinstance(step, str):
        return node.entries.get(step)
    if isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.items):
        return node.items[step]
    return None
