"""What must hold *between* resources of different kinds, before any machine is asked.

One function, one code, one page a rule. A rule sees what was written and nothing else; what only a
machine can tell is in the `check` of a kind, which is handed what others export.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import chain
from pathlib import Path as FilePath
from types import ModuleType
from typing import Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.spec.load import Loaded
from cxlstate.spec.load import load as load_each
from cxlstate.spec.tree import Tree

MODULES: Final[Mapping[str, frozenset[str]]] = {
    "alignment": frozenset({"vm"}),
    "files": frozenset({"file"}),
    "forwards": frozenset({"forward"}),
    "host_memory": frozenset({"dax", "mtrr"}),
    "networks": frozenset({"network"}),
    "slips": frozenset({"dax", "memmap", "mtrr", "vm"}),
    "virtual_machines": frozenset({"image", "vm"}),
    "guests": frozenset({"vm"}),
}
"""The modules of rules, each with the kinds of which a file must have one before a rule in it can be broken.

`RULES` of a module are rules within a machine, `BETWEEN` are those between the machines of a file.
"""


def load(paths: Sequence[FilePath], *, fetch: bool = False) -> Loaded:
    """Specs that are right by themselves and between their resources, and every problem of all."""
    loaded = load_each(paths, fetch=fetch)
    if not loaded.trees:
        return loaded
    found = {tree.file: list(check(tree)) for tree in loaded.trees}
    good = tuple(tree for tree in loaded.trees if not any(_stops(one) for one in found[tree.file]))
    return Loaded(good, (*loaded.diagnostics, *(one for problems in found.values() for one in problems)))


def check(tree: Tree) -> Iterator[Diagnostic]:
    """Every rule that a file breaks, within a machine or between two, with its place in the file."""
    kinds = {resource.address.kind for machine in tree.machines for resource in machine.resources}
    modules = list(modules_for(kinds))
    for machine in tree.machines:
        for rule in chain.from_iterable(module.RULES for module in modules):
            for problem in rule(machine.resources):
                yield replace(problem, source=tree.locate(problem.path), machine=machine.id)
    for between in chain.from_iterable(module.BETWEEN for module in modules):
        for problem in between(tree):
            at = problem.machine or tree.host.id
            yield replace(problem, source=tree.locate(problem.path), machine=at)


def modules_for(kinds: Iterable[str]) -> Iterator[ModuleType]:
    """The modules whose rules resources of these kinds may break. They load the models of kinds."""
    found = frozenset(kinds)
    return (import_module(f"{__name__}.{name}") for name, of in MODULES.items() if of & found)


def _stops(problem: Diagnostic) -> bool:
    return problem.severity is Severity.ERROR
