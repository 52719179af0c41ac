"""What must hold *between* resources of different kinds, before any machine is asked.

One function, one code, one page a rule. A rule sees what was written and nothing else; what only a
machine can tell is in the `check` of a kind, which is handed what others export.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path as FilePath

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.rules import alignment, files, forwards, guests, host_memory, slips, virtual_machines
from cxlstate.spec.load import Loaded
from cxlstate.spec.load import load as load_each
from cxlstate.spec.tree import Tree

RULES = (
    *alignment.RULES,
    *files.RULES,
    *forwards.RULES,
    *host_memory.RULES,
    *slips.RULES,
    *virtual_machines.RULES,
)
BETWEEN = (*alignment.BETWEEN, *forwards.BETWEEN, *guests.RULES)


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
    for machine in tree.machines:
        for rule in RULES:
            for problem in rule(machine.resources):
                yield replace(problem, source=tree.locate(problem.path), machine=machine.id)
    for between in BETWEEN:
        for problem in between(tree):
            at = problem.machine or tree.host.id
            yield replace(problem, source=tree.locate(problem.path), machine=at)


def _stops(problem: Diagnostic) -> bool:
    return problem.severity is Severity.ERROR
