"""The reading of one file: from bytes to the resources of each machine in it, with every problem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import ValidationError

from cxlstate.core.address import Address
from cxlstate.core.connect import Ssh, Through
from cxlstate.core.diagnostic import Diagnostic, Severity, Source
from cxlstate.core.machine import Scope, guest_id
from cxlstate.core.model import BESIDE, BESIDE_BYTES, Hole, Refused
from cxlstate.core.path import Path, show
from cxlstate.core.reconciler import Kind, Resource, Shape
from cxlstate.core.reference import FETCH
from cxlstate.machine import own_files
from cxlstate.spec import refusals, yaml_text
from cxlstate.spec.connection import parse_connect
from cxlstate.spec.document import Document, Mapping, Node, plain
from cxlstate.spec.document import Sequence as SequenceNode
from cxlstate.spec.entry import Entry
from cxlstate.spec.envelope import API_VERSION, GUEST, MAX_RESOURCE_NAME, NOT_YET, Guest, Host
from cxlstate.spec.fetching import content_beside, fetching, text_beside
from cxlstate.spec.tree import Machine, Tree
from cxlstate.spec.vocabulary import Vocabulary
from cxlstate.spec.withheld import withhold

_ENVELOPE: Final = {
    Scope.ROOT: ("apiVersion", "host"),
    Scope.HOST: ("name", "connect"),
    Scope.GUEST: ("connect",),
}


class Reading:
    """The reading of one file, from bytes to resources."""

    def __init__(self, file: str, vocabulary: Vocabulary, *, fetch: bool) -> None:
        self.file = file
        self.vocabulary = vocabulary
        folder = FilePath(file).parent
        self.context: dict[str, Any] = {
            BESIDE: partial(text_beside, folder),
            BESIDE_BYTES: partial(content_beside, folder),
        }
        if fetch:
            self.context[FETCH] = fetching(folder)
        self.problems: list[Diagnostic] = []
        self.guests: dict[Address, tuple[Through, Sequence[Resource[Any]]]] = {}
        self.for_guests: list[Resource[Any]] = []
        self.document: Document

    def read(self, path: FilePath) -> Tree | None:
        """The machines of the file; None where anything is wrong. `problems` tells what."""
        try:
            content = own_files.read_start(path, yaml_text.MAX_BYTES + 1)
        except own_files.Unreadable as error:
            self.problems.append(unreadable(path, str(error)))
            return None
        document, problems = yaml_text.parse(content, self.file)
        self.problems += problems
        if document is None:
            return None
        self.document = document
        if FETCH in self.context:
            withhold(document)
        tree = self._tree(document.root)
        known = {problem.source for problem in problems}  # what YAML refused has no meaning besides
        self.problems = [
            *problems,
            *(problem for problem in self.problems[len(problems) :] if problem.source not in known),
        ]
        return tree

    def _tree(self, root: Node) -> Tree | None:
        if not isinstance(root, Mapping):
            self.problems.append(refusals.wrong_type((), "a mapping", self.document, root))
            return None
        if not self._right_version(root):
            return None
        host = self._host(root)
        resources = [
            *(self._section(host, Scope.HOST, ("host",)) if host else ()),
            *self._section(root, Scope.ROOT, ()),
        ]
        if host is None or any(problem.severity is Severity.ERROR for problem in self.problems):
            return None
        written = _written(host, Scope.HOST)
        name: str = written["name"]
        connect = parse_connect(written["connect"], self.file) if "connect" in written else Ssh(name)
        guests = [
            Machine(guest_id(name, vm.name), name, Scope.GUEST, through, tuple(its))
            for vm, (through, its) in self.guests.items()
        ]
        resources += self.for_guests
        machines = (Machine(name, None, Scope.HOST, connect, tuple(resources)), *guests)
        return Tree(self.file, machines, self.document)

    # The envelope -----------------------------------------------------------------------------

    def _right_version(self, root: Mapping) -> bool:
        if (entry := root.entries.get("apiVersion")) is None:
            self.problems.append(
                Diagnostic(
                    "CXS206",
                    "apiVersion is missing",
                    source=Source(self.file, root.line, root.column),
                    expected=f"apiVersion: {API_VERSION}",
                    hint=f"add the line `apiVersion: {API_VERSION}` at the top of the file",
                )
            )
        elif plain(entry.value) != API_VERSION:
            self.problems.append(
                Diagnostic(
                    "CXS206",
                    "apiVersion is not supported",
                    path=("apiVersion",),
                    source=self.document.locate(("apiVersion",)),
                    found=yaml_text.describe(entry.value),
                    expected=API_VERSION,
                )
            )
        return plain(entry.value) == API_VERSION if entry else False

    def _host(self, root: Mapping) -> Mapping | None:
        if (entry := root.entries.get("host")) is None:
            self.problems.append(refusals.missing(("host",), self.document))
            return None
        if not isinstance(entry.value, Mapping):
            self.problems.append(refusals.wrong_type(("host",), "a mapping", self.document, entry.value))
            return None
        try:
            Host.model_validate(_written(entry.value, Scope.HOST))
        except ValidationError as error:
            self.problems += refusals.diagnose(error, ("host",), self.document, self.vocabulary.keys_at)
        return entry.value

    # The kinds --------------------------------------------------------------------------------

    def _section(self, node: Mapping, scope: Scope, base: Path) -> Iterator[Resource[Any]]:
        for key, entry in node.entries.items():
            if kind := self.vocabulary.at.get((scope, key)):
                yield from self._entries(kind, entry.value, (*base, key))
            elif key in NOT_YET[scope]:
                self.problems.append(self._not_yet((*base, key)))
            elif key not in _ENVELOPE[scope]:
                self.problems.append(self._unknown(scope, (*base, key)))

    def _unknown(self, scope: Scope, path: Path) -> Diagnostic:
        unknown = refusals.unknown_key(path, self.document, self.vocabulary.keys_at)
        elsewhere = self.vocabulary.scopes_of(str(path[-1]))
        if scope is not Scope.GUEST or not elsewhere:
            return unknown
        where = "below `host`" if Scope.HOST in elsewhere else "at the top of the file"
        return replace(
            unknown,
            code="CXS330",
            message=f"`{path[-1]}` is for hosts, not for guests",
            hint=f"to have it on the host, write it {where}",
        )

    def _not_yet(self, path: Path) -> Diagnostic:
        return Diagnostic(
            "CXS207",
            f"{show(path)} is not supported yet",
            path=path,
            source=self.document.locate_key(path),
            hint="remove it; this version of cxlstate does not implement it",
        )

    def _entries(self, kind: Kind, node: Node, path: Path) -> Iterator[Resource[Any]]:
        match kind.place.shape, node:
            case Shape.ONE, _:
                if (read := self._validated(kind, node, path)).whole:
                    yield Resource(Address(kind.kind), read.spec, path)
            case Shape.MAP, Mapping(entries=entries):
                for name, entry in entries.items():
                    place = (*path, name)
                    own, guest = _apart(entry.value) if kind.has_guest else (entry.value, None)
                    read, at = self._validated(kind, own, place), Address(kind.kind, name)
                    inside = self._guest(at, guest, (*place, GUEST)) if guest else None
                    if self._named(kind, name, place) and read.whole:
                        yield Resource(at, read.spec, place, inside)
            case Shape.LIST, SequenceNode(items=items):
                yield from self._listed(kind, items, path)
            case shape, _:
                expected = "a mapping" if shape is Shape.MAP else "a list"
                self.problems.append(refusals.wrong_type(path, expected, self.document, node))

    def _listed(self, kind: Kind, items: Sequence[Node], path: Path) -> Iterator[Resource[Any]]:
        first: dict[str, Path] = {}
        for index, item in enumerate(items):
            place = (*path, index)
            read = self._validated(kind, item, place)
            name = self._listed_name(kind, read.spec)
            if name is None or not self._usable(name, place):
                continue
            if name in first:
                self.problems.append(self._twice(name, first[name], place))
                continue
            first[name] = place
            if read.whole:
                yield Resource(Address(kind.kind, name), read.spec, place)

    def _listed_name(self, kind: Kind, spec: Any) -> str | None:
        """The name of an entry, None where it was refused."""
        try:
            return None if isinstance(spec, Hole) else kind.reconciler.name(spec)
        except Refused:
            return None

    def _validated(self, kind: Kind, node: Node, path: Path) -> Entry:
        """The entry as the kind's model; all that is wrong with it is told."""
        return self._as_model(kind.kind, kind.reconciler.model, plain(node), path)

    def _as_model(self, name: str, model: Any, written: object, path: Path) -> Entry:
        read = self.vocabulary.reader(name, model).read(written, self.context)
        if read.refused:
            self.problems += refusals.diagnose(read.refused, path, self.document, self.vocabulary.keys_at)
        for found in read.problems:
            place = (*path, *found.path)
            self.problems.append(replace(found, path=place, source=self.document.locate(place)))
        return read

    def _guest(self, vm: Address, node: Node, path: Path) -> dict[str, Any]:
        """The kinds in the section of a guest: how it is reached, and entries as below `host`."""
        if not isinstance(node, Mapping):
            self.problems.append(refusals.wrong_type(path, "a mapping", self.document, node))
            return {}
        envelope = {
            key: plain(node.entries[key].value) for key in _ENVELOPE[Scope.GUEST] if key in node.entries
        }
        read = self._as_model(GUEST, Guest, envelope, path)
        resources = tuple(replace(one, vm=vm.name) for one in self._section(node, Scope.GUEST, path))
        for one in resources:
            if Scope.VM in self.vocabulary.kinds[one.address.kind].place.scopes:
                self.for_guests.append(replace(one, address=Address(one.address.kind, vm.name)))
        if read.whole:
            way = read.spec.connect
            self.guests[vm] = (Through(vm, way.user, way.via, way.port), resources)
        return {one.address.kind: one.spec for one in resources}

    def _named(self, kind: Kind, name: str, path: Path) -> bool:
        try:
            self.vocabulary.key_adapter(kind).validate_python(name, strict=True)
        except ValidationError as error:
            at = self.document.locate_key(path)
            known = self.vocabulary.keys_at
            self.problems += [
                problem.at(at) for problem in refusals.diagnose(error, path, self.document, known)
            ]
            return False
        return self._usable(name, path)

    def _usable(self, name: str, path: Path) -> bool:
        if name.isprintable() and 0 < len(name) <= MAX_RESOURCE_NAME:
            return True
        self.problems.append(
            Diagnostic(
                "CXS210",
                "name cannot be part of an address",
                path=path,
                source=self.document.locate_key(path),
                found=yaml_text.quote(name),
                expected=f"1 to {MAX_RESOURCE_NAME} printable characters",
            )
        )
        return False

    def _twice(self, name: str, first: Path, second: Path) -> Diagnostic:
        return Diagnostic(
            "CXS208",
            f"{name} is listed twice",
            path=second,
            source=self.document.locate(second),
            found=name,
            hint=f"keep one of them; the first is in line {self.document.locate(first).line}",
        )


def _written(node: Mapping, scope: Scope) -> dict[str, Any]:
    """What a section says of its envelope."""
    return {key: plain(node.entries[key].value) for key in _ENVELOPE[scope] if key in node.entries}


def _apart(node: Node) -> tuple[Node, Node | None]:
    """An entry without the section of the guest in it, and that section."""
    if not isinstance(node, Mapping) or GUEST not in node.entries:
        return node, None
    own = {key: entry for key, entry in node.entries.items() if key != GUEST}
    return replace(node, entries=own), node.entries[GUEST].value


def unreadable(path: FilePath, why: str) -> Diagnostic:
    """A file that cannot be read."""
    return Diagnostic("CXS112", f"{path}: {why}", source=Source(str(path), 1, 1))
