"""Spec files → trees of machines with positions; every problem of every file in one run. And back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import TypeAdapter

from cxlstate.core.connect import Sim, Ssh, Through
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.machine import Scope
from cxlstate.core.reconciler import Shape
from cxlstate.spec import yaml_text
from cxlstate.spec.connection import format_connect
from cxlstate.spec.envelope import API_VERSION, GUEST
from cxlstate.spec.reading import Reading, unreadable
from cxlstate.spec.schema import Kinds
from cxlstate.spec.tree import Machine, Tree
from cxlstate.spec.vocabulary import Vocabulary

__all__ = ["Loaded", "dump", "load"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The trees without errors, and the problems of all, by file, line and column."""

    trees: tuple[Tree, ...]
    diagnostics: tuple[Diagnostic, ...]


def load(paths: Sequence[FilePath], kinds: Kinds | None = None, *, fetch: bool = False) -> Loaded:
    """Read files, and of folders the `*.yaml` and `*.yml` in them (not below). Never raises.

    `fetch`: the secrets that a spec references, too. Commands that print one are run.

    Whatever else has such a name in a folder must be readable: a spec behind a broken link is no host that
    is in sync.
    """
    vocabulary = Vocabulary(_all_unless(kinds))
    trees: list[Tree] = []
    problems: list[Diagnostic] = []
    for file in _files(paths, problems):
        reading = Reading(str(file), vocabulary, fetch=fetch)
        tree = reading.read(file)
        problems += reading.problems[: yaml_text.MAX_PROBLEMS]
        if tree and (clash := _same_name(tree, trees) or _same_machine(tree, trees)):
            problems.append(clash)
        elif tree:
            trees.append(tree)
    return Loaded(tuple(trees), tuple(sorted(problems, key=_by_position)))


def dump(tree: Tree, kinds: Kinds | None = None) -> str:
    """YAML text that loads, under the same file name, as the same tree: only what was written."""
    kinds = _all_unless(kinds)
    host: dict[str, Any] = {"name": tree.host.id}
    if not isinstance(tree.host.connect, Through):
        host["connect"] = format_connect(tree.host.connect, tree.file)
    root: dict[str, Any] = {"apiVersion": API_VERSION, "host": host}
    _put(tree.host, {Scope.HOST: host, Scope.ROOT: root}, kinds)
    for guest in tree.guests:
        if isinstance(way := guest.connect, Through):
            section = root[kinds[way.vm.kind].place.key][way.vm.name][GUEST] = _connect(way)
            _put(guest, {Scope.GUEST: section}, kinds)
    return yaml_text.dump(root)


def _connect(way: Through) -> dict[str, Any]:
    default = Through(way.vm)
    words = ("user", "via", "port")
    written = {word: getattr(way, word) for word in words if getattr(way, word) != getattr(default, word)}
    return {"connect": written} if written else {}


def _put(machine: Machine, sections: Mapping[Scope, dict[str, Any]], kinds: Kinds) -> None:
    """Write the resources of a machine into the sections of its scopes."""
    for resource in machine.resources:
        kind = kinds[resource.address.kind]
        section = next((sections[scope] for scope in sections if scope in kind.place.scopes), None)
        if section is None:  # what a host has for a guest stands in the section of that
            continue
        entry = TypeAdapter(kind.reconciler.model).dump_python(
            resource.spec, mode="json", by_alias=True, exclude_unset=True
        )
        match kind.place.shape:
            case Shape.ONE:
                section[kind.place.key] = entry
            case Shape.MAP:
                section.setdefault(kind.place.key, {})[resource.name] = entry
            case Shape.LIST:
                section.setdefault(kind.place.key, []).append(entry)


def _all_unless(kinds: Kinds | None) -> Kinds:
    if kinds is not None:
        return kinds
    from cxlstate.resources import kinds as all_kinds  # noqa: PLC0415  # tests load without them

    return all_kinds()


def _files(paths: Sequence[FilePath], problems: list[Diagnostic]) -> list[FilePath]:
    """The files that the paths mean, each once; what cannot be read is told in `problems`."""
    found: dict[FilePath, FilePath] = {}
    for path in paths:
        try:
            inside = _inside(path) if path.is_dir() else [path]
            for file in inside:
                found.setdefault(file.absolute(), file)
        except OSError as error:
            problems.append(unreadable(path, error.strerror or str(error)))
            continue
        if not inside:
            problems.append(unreadable(path, "the directory contains no *.yaml or *.yml"))
    return list(found.values())


def _inside(folder: FilePath) -> list[FilePath]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in (".yaml", ".yml") and not path.name.startswith(".") and not path.is_dir()
    )


def _same_name(tree: Tree, others: Sequence[Tree]) -> Diagnostic | None:
    for other in others:
        if other.host.id.casefold() == tree.host.id.casefold():
            return Diagnostic(
                "CXS209",
                f"two specs declare host {tree.host.id}",
                path=("host", "name"),
                source=tree.locate(("host", "name")),
                found=tree.host.id,
                hint=f"the other is {other.locate(('host', 'name'))}; keep one file per host",
            )
    return None


def _same_machine(tree: Tree, others: Sequence[Tree]) -> Diagnostic | None:
    """A copy with another name. Of `local` it is not told: each host may read its own."""
    at, connect = ("host", "connect"), tree.host.connect
    if not isinstance(connect, Ssh | Sim):
        return None
    for other in others:
        if _place(connect) == _place(other.host.connect):
            return Diagnostic(
                "CXS209",
                f"two specs connect to one machine: {tree.host.id} and {other.host.id}",
                path=at,
                source=tree.locate(at),
                found=format_connect(connect, tree.file),
                hint=f"the other is {other.locate(at)}; keep one file per host",
            )
    return None


def _place(connect: object) -> tuple[object, ...]:
    """What is the same for the same machine, as far as a spec says it."""
    match connect:
        case Ssh(host=host, port=port):
            return host.casefold(), port
        case Sim(directory=directory):
            return (directory,)
    return ()


def _by_position(problem: Diagnostic) -> tuple[str, int, int, str]:
    at = problem.source
    return (at.file, at.line, at.column, problem.code) if at else ("", 0, 0, problem.code)
