"""What must hold *between* resources of different kinds, before any machine is asked.

One function, one code, one page a rule. A rule sees what was written and nothing else; what only a
machine can tell is in the `check` of a kind, which is handed what others export.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path as FilePath

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.rules import files, host_memory, slips, virtual_machines
from cxlstate.spec.load import Loaded, MachineSpec
from cxlstate.spec.load import load as load_each

RULES = (*files.RULES, *host_memory.RULES, *slips.RULES, *virtual_machines.RULES)


def load(paths: Sequence[FilePath], *, fetch: bool = False) -> Loaded:
    """Specs that are right by themselves and between their resources, and every problem of all."""
    loaded = load_each(paths, fetch=fetch)
    if not loaded.specs:
        return loaded
    found = {spec.file: list(check(spec)) for spec in loaded.specs}
    good = tuple(spec for spec in loaded.specs if not any(_stops(one) for one in found[spec.file]))
    return Loaded(good, (*loaded.diagnostics, *(one for problems in found.values() for one in problems)))


def check(spec: MachineSpec) -> Iterator[Diagnostic]:
    """Every rule that a spec breaks, with its place in the file."""
    for rule in RULES:
        for problem in rule(spec.resources):
            yield replace(problem, source=spec.locate(problem.path), machine=spec.name)


def _stops(problem: Diagnostic) -> bool:
    return problem.severity is Severity.ERROR
