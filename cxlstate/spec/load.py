"""Spec files → validated resources with their positions; every problem of every file in one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from cxlstate.core.address import Address
from cxlstate.core.connect import Connect, Ssh
from cxlstate.core.diagnostic import Diagnostic, Severity, Source
from cxlstate.core.model import BESIDE, BESIDE_BYTES, Hole, Refused
from cxlstate.core.path import Path, show
from cxlstate.core.reconciler import Reconciler, Resource, Section, Shape
from cxlstate.core.reference import FETCH
from cxlstate.machine import own_files
from cxlstate.spec import refusals, yaml_text
from cxlstate.spec.connection import format_connect, parse_connect
from cxlstate.spec.document import Document, Mapping, Node, plain
from cxlstate.spec.document import Sequence as SequenceNode
from cxlstate.spec.entry import Entry, EntryReader
from cxlstate.spec.envelope import API_VERSION, MAX_RESOURCE_NAME, NOT_YET, Host
from cxlstate.spec.fetching import content_beside, fetching, text_beside
from cxlstate.spec.schema import Kinds, keys_at, schema

_ENVELOPE: Final = {Section.ROOT: ("apiVersion", "host"), Section.HOST: ("name", "connect")}
_SECTIONS: Final[dict[Section, Path]] = {Section.HOST: ("host",), Section.ROOT: ()}


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """One file: a machine, how to reach it, and what is to be there, in the order of the file."""

    name: str
    connect: Connect
    file: str
    resources: tuple[Resource[Any], ...]
    document: Document = field(compare=False, repr=False)

    def locate(self, path: Path) -> Source:
        """File, line and column of a path, or of the deepest part of it that was written."""
        return self.document.locate(path)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The specs without errors, and the problems of all, by file, line and column."""

    specs: tuple[MachineSpec, ...]
    diagnostics: tuple[Diagnostic, ...]


def load(paths: Sequence[FilePath], kinds: Kinds | None = None, *, fetch: bool = False) -> Loaded:
    """Read files, and of folders the `*.yaml` and `*.yml` in them (not below). Never raises.

    `fetch`: the secrets that a spec references, too. Commands that print one are run.

    Whatever else has such a name in a folder must be readable: a spec behind a broken link is no host that
    is in sync.
    """
    if kinds is None:
        from cxlstate.resources import kinds as all_kinds  # noqa: PLC0415  # tests load without them

        kinds = all_kinds()
    vocabulary = _Vocabulary(kinds)
    specs: list[MachineSpec] = []
    problems: list[Diagnostic] = []
    for file in _files(paths, problems):
        reading = _Reading(str(file), vocabulary, fetch=fetch)
        spec = reading.read(file)
        problems += reading.problems[: yaml_text.MAX_PROBLEMS]
        if spec and (clash := _same_name(spec, specs)):
            problems.append(clash)
        elif spec:
            specs.append(spec)
    return Loaded(tuple(specs), tuple(sorted(problems, key=_by_position)))


def dump(spec: MachineSpec, kinds: Kinds | None = None) -> str:
    """YAML text that loads, under the same file name, as the same spec: only what was written."""
    if kinds is None:
        from cxlstate.resources import kinds as all_kinds  # noqa: PLC0415  # tests load without them

        kinds = all_kinds()
    host: dict[str, Any] = {"name": spec.name, "connect": format_connect(spec.connect, spec.file)}
    root: dict[str, Any] = {"apiVersion": API_VERSION, "host": host}
    for resource in spec.resources:
        kind = kinds[resource.address.kind]
        section = host if kind.place.section is Section.HOST else root
        entry = TypeAdapter(kind.model).dump_python(
            resource.spec, mode="json", by_alias=True, exclude_unset=True
        )
        match kind.place.shape:
            case Shape.ONE:
                section[kind.place.key] = entry
            case Shape.MAP:
                section.setdefault(kind.place.key, {})[resource.name] = entry
            case Shape.LIST:
                section.setdefault(kind.place.key, []).append(entry)
    return yaml_text.dump(root)


class _Vocabulary:
    """The kinds by place, with what validates them made once and the schema only for an error."""

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.at = {(kind.place.section, kind.place.key): kind for kind in kinds.values()}
        self._readers: dict[str, EntryReader] = {}
        self._keys: dict[str, TypeAdapter[Any]] = {}
        self._schema: dict[str, Any] | None = None

    def reader(self, kind: Reconciler[Any, Any]) -> EntryReader:
        if kind.kind not in self._readers:
            self._readers[kind.kind] = EntryReader(kind.model)
        return self._readers[kind.kind]

    def key_adapter(self, kind: Reconciler[Any, Any]) -> TypeAdapter[Any]:
        if kind.kind not in self._keys:
            self._keys[kind.kind] = TypeAdapter(kind.key)
        return self._keys[kind.kind]

    def keys_at(self, path: Path) -> list[str]:
        if self._schema is None:
            self._schema = schema(self.kinds)
        return keys_at(self._schema, path)


class _Reading:
    """The reading of one file, from bytes to resources."""

    def __init__(self, file: str, vocabulary: _Vocabulary, *, fetch: bool) -> None:
        self.file = file
        self.vocabulary = vocabulary
        self.context: dict[str, Any] = {
            BESIDE: partial(text_beside, FilePath(file).parent),
            BESIDE_BYTES: partial(content_beside, FilePath(file).parent),
        }
        if fetch:
            self.context[FETCH] = fetching(FilePath(file).parent)
        self.problems: list[Diagnostic] = []
        self.document: Document

    def read(self, path: FilePath) -> MachineSpec | None:
        try:
            content = own_files.read_start(path, yaml_text.MAX_BYTES + 1)
        except own_files.Unreadable as error:
            self.problems.append(_unreadable(path, str(error)))
            return None
        document, problems = yaml_text.parse(content, self.file)
        self.problems += problems
        if document is None:
            return None
        self.document = document
        spec = self.machine(document.root)
        known = {problem.source for problem in problems}  # what YAML refused has no meaning besides
        self.problems = [
            *problems,
            *(problem for problem in self.problems[len(problems) :] if problem.source not in known),
        ]
        return spec

    def machine(self, root: Node) -> MachineSpec | None:
        if not isinstance(root, Mapping):
            self.problems.append(refusals.wrong_type((), "a mapping", self.document, root))
            return None
        if not self.right_version(root):
            return None
        host = self.host(root)
        resources = [
            *(self.section(host, Section.HOST) if host else ()),
            *self.section(root, Section.ROOT),
        ]
        if host is None or any(problem.severity is Severity.ERROR for problem in self.problems):
            return None
        written = {key: plain(host.entries[key].value) for key in ("name", "connect") if key in host.entries}
        connect = (
            parse_connect(written["connect"], self.file) if "connect" in written else Ssh(written["name"])
        )
        return MachineSpec(written["name"], connect, self.file, tuple(resources), self.document)

    # The envelope -----------------------------------------------------------------------------

    def right_version(self, root: Mapping) -> bool:
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

    def host(self, root: Mapping) -> Mapping | None:
        if (entry := root.entries.get("host")) is None:
            self.problems.append(refusals.missing(("host",), self.document))
            return None
        if not isinstance(entry.value, Mapping):
            self.problems.append(refusals.wrong_type(("host",), "a mapping", self.document, entry.value))
            return None
        written = {
            key: plain(entry.value.entries[key].value)
            for key in _ENVELOPE[Section.HOST]
            if key in entry.value.entries
        }
        try:
            Host.model_validate(written)
        except ValidationError as error:
            self.problems += refusals.diagnose(error, ("host",), self.document, self.vocabulary.keys_at)
        return entry.value

    # The kinds --------------------------------------------------------------------------------

    def section(self, node: Mapping, section: Section) -> Iterator[Resource[Any]]:
        base = _SECTIONS[section]
        for key, entry in node.entries.items():
            if kind := self.vocabulary.at.get((section, key)):
                yield from self.entries(kind, entry.value, (*base, key))
            elif key in NOT_YET[section]:
                self.problems.append(self.not_yet((*base, key)))
            elif key not in _ENVELOPE[section]:
                self.problems.append(
                    refusals.unknown_key((*base, key), self.document, self.vocabulary.keys_at)
                )

    def not_yet(self, path: Path) -> Diagnostic:
        return Diagnostic(
            "CXS207",
            f"{show(path)} is not supported yet",
            path=path,
            source=self.document.locate_key(path),
            hint="remove it; this version of cxlstate does not implement it",
        )

    def entries(self, kind: Reconciler[Any, Any], node: Node, path: Path) -> Iterator[Resource[Any]]:
        match kind.place.shape, node:
            case Shape.ONE, _:
                if (read := self.validated(kind, node, path)).whole:
                    yield Resource(Address(kind.kind), read.spec, path)
            case Shape.MAP, Mapping(entries=entries):
                for name, entry in entries.items():
                    read = self.validated(kind, entry.value, (*path, name))
                    if self.named(kind, name, (*path, name)) and read.whole:
                        yield Resource(Address(kind.kind, name), read.spec, (*path, name))
            case Shape.LIST, SequenceNode(items=items):
                yield from self.listed(kind, items, path)
            case shape, _:
                expected = "a mapping" if shape is Shape.MAP else "a list"
                self.problems.append(refusals.wrong_type(path, expected, self.document, node))

    def listed(
        self, kind: Reconciler[Any, Any], items: Sequence[Node], path: Path
    ) -> Iterator[Resource[Any]]:
        first: dict[str, Path] = {}
        for index, item in enumerate(items):
            place = (*path, index)
            read = self.validated(kind, item, place)
            name = self.listed_name(kind, read.spec)
            if name is None or not self.usable(name, place):
                continue
            if name in first:
                self.problems.append(self.twice(name, first[name], place))
                continue
            first[name] = place
            if read.whole:
                yield Resource(Address(kind.kind, name), read.spec, place)

    def listed_name(self, kind: Reconciler[Any, Any], spec: Any) -> str | None:
        """The name of an entry, None where it was refused."""
        try:
            return None if isinstance(spec, Hole) else kind.name(spec)
        except Refused:
            return None

    def validated(self, kind: Reconciler[Any, Any], node: Node, path: Path) -> Entry:
        """The entry as the kind's model; all that is wrong with it is told."""
        read = self.vocabulary.reader(kind).read(plain(node), self.context)
        if read.refused:
            self.problems += refusals.diagnose(read.refused, path, self.document, self.vocabulary.keys_at)
        for found in read.problems:
            place = (*path, *found.path)
            self.problems.append(replace(found, path=place, source=self.document.locate(place)))
        return read

    def named(self, kind: Reconciler[Any, Any], name: str, path: Path) -> bool:
        try:
            self.vocabulary.key_adapter(kind).validate_python(name, strict=True)
        except ValidationError as error:
            at = self.document.locate_key(path)
            known = self.vocabulary.keys_at
            self.problems += [
                problem.at(at) for problem in refusals.diagnose(error, path, self.document, known)
            ]
            return False
        return self.usable(name, path)

    def usable(self, name: str, path: Path) -> bool:
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

    def twice(self, name: str, first: Path, second: Path) -> Diagnostic:
        return Diagnostic(
            "CXS208",
            f"{name} is listed twice",
            path=second,
            source=self.document.locate(second),
            found=name,
            hint=f"keep one of them; the first is in line {self.document.locate(first).line}",
        )


def _files(paths: Sequence[FilePath], problems: list[Diagnostic]) -> list[FilePath]:
    """The files that the paths mean, each once; what cannot be read is told in `problems`."""
    found: dict[FilePath, FilePath] = {}
    for path in paths:
        try:
            inside = _inside(path) if path.is_dir() else [path]
        except OSError as error:
            problems.append(_unreadable(path, error.strerror or str(error)))
            continue
        if not inside:
            problems.append(_unreadable(path, "the directory contains no *.yaml or *.yml"))
        for file in inside:
            found.setdefault(file.absolute(), file)
    return list(found.values())


def _inside(folder: FilePath) -> list[FilePath]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in (".yaml", ".yml") and not path.name.startswith(".") and not path.is_dir()
    )


def _unreadable(path: FilePath, why: str) -> Diagnostic:
    return Diagnostic("CXS112", f"{path}: {why}", source=Source(str(path), 1, 1))


def _same_name(spec: MachineSpec, others: Sequence[MachineSpec]) -> Diagnostic | None:
    for other in others:
        if other.name.casefold() == spec.name.casefold():
            return Diagnostic(
                "CXS209",
                f"two specs declare host {spec.name}",
                path=("host", "name"),
                source=spec.locate(("host", "name")),
                found=spec.name,
                hint=f"the other is {other.locate(('host', 'name'))}; keep one file per host",
            )
    return None


def _by_position(problem: Diagnostic) -> tuple[str, int, int, str]:
    at = problem.source
    return (at.file, at.line, at.column, problem.code) if at else ("", 0, 0, problem.code)
