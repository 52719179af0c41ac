"""`cxlstate measure`: whether memory is cached, and how long loads from it take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxlstate.cli.common import (
    did_you_mean,
    has_errors,
    json_option,
    loading,
    names_of,
    paths_argument,
    refuse_specs,
    say_json,
    say_problems,
    unmeasured,
)
from cxlstate.render.output import say

if TYPE_CHECKING:
    from cxlstate.core.machine import MachineId
    from cxlstate.engine.measuring import Wanted
    from cxlstate.engine.plan import Plan
    from cxlstate.spec.names import Only
    from cxlstate.spec.tree import Tree

_NODE = re.compile(r"(?:(.+)[/:])?node:([0-9]{1,4})", re.ASCII)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001  # click's signature
    """What can be measured of the specs in specs/, for the shell's completion."""
    from cxlstate.spec.load import load

    names = [*_measurable(load([Path("specs")]).trees), "node:"]
    return sorted(name for name in names if name.startswith(incomplete))


@click.command("measure", short_help="Measure whether memory is cached, and how fast it is.")
@click.argument("address", metavar="ADDRESS", shell_complete=_complete)
@paths_argument
@json_option
def command(address: str, paths: tuple[Path, ...], as_json: bool) -> int:
    """Tell whether loads from memory go past the cache, and how long they take. Changes nothing.

    ADDRESS is a dax device of the spec (dax.cxl0), a NUMA node of the host (node:2), or a namespace or a
    node of a guest (cxl_vmx:namespace.cxl, cxl_vmx:node:0). The memory is mapped for reading by python3 on
    that machine, for a few seconds at most; it does not matter who else uses it. Loads from it are compared
    with loads from ordinary memory by the same processor. An emulated processor has no cache: there it
    cannot tell.

    \b
    Examples:
      cxlstate measure dax.cxl0
      cxlstate measure node:2 specs/cloudcxl2.yaml --json

    \b
    Exit status: 0 it is told, 1 it is not what it should be (or an error), 5 it cannot tell.
    """
    with loading(paths) as (loaded, opener):
        if has_errors(loaded.diagnostics):
            return refuse_specs(loaded.diagnostics, as_json=as_json)
        from cxlstate.engine.survey import survey
        from cxlstate.resources import kinds

        wanted, only = _wanted(address, loaded.trees)
        plans = survey(loaded.trees, kinds(), only, opener, measure=wanted)
    return _told(plans, as_json=as_json)


def _told(plans: Sequence[Plan], *, as_json: bool) -> int:
    """Say what was measured, and what is wrong with it or kept us from it."""
    from cxlstate.render.measured import measured_text
    from cxlstate.render.shown import field

    machines = [one for plan in plans for one in plan.machines if one.measured or one.diagnostics]
    problems = list(dict.fromkeys(problem for one in machines for problem in one.diagnostics))
    found = [each for one in machines for each in one.measured]
    if as_json:
        say_json([], problems, measurements=found)
    else:
        texts = (
            f"{field(one.machine.id)}\n{measured_text(one.measured)}" for one in machines if one.measured
        )
        say("\n\n".join(texts))
        say_problems(problems)
    if has_errors(problems):
        return 1
    return 5 if unmeasured(found) or not found else 0


def _wanted(name: str, trees: Sequence[Tree]) -> tuple[Wanted, Only]:
    """What a name means, and what a survey is narrowed to; one that is no memory is wrong usage."""
    from cxlstate.engine.measuring import Wanted

    if (node := _NODE.fullmatch(name)) and (machines := _called(node[1], trees)):
        return Wanted({}, dict.fromkeys(machines, (int(node[2]),))), dict.fromkeys(machines, frozenset())
    possible, declared = _measurable(trees), names_of(trees)
    if name not in possible:
        why = "it is no memory." if name in declared.targets else "no spec declares it."
        raise click.UsageError(f"{name}: {why}{did_you_mean(name, [*possible, 'node:0'])}")
    only = declared.only([name])
    return Wanted({machine: some or () for machine, some in only.items()}), only


def _called(name: str | None, trees: Sequence[Tree]) -> list[MachineId]:
    """The machines of a name: without one all hosts; a guest also without the name of its host."""
    machines = [machine for tree in trees for machine in tree.machines]
    if name is None:
        return [one.id for one in machines if one.parent is None]
    return [one.id for one in machines if name in (one.id, one.id.partition("/")[2])]


def _measurable(trees: Sequence[Tree]) -> list[str]:
    """The names of resources whose kind says which memory they are."""
    from cxlstate.resources import kinds

    memories = {name for name, kind in kinds().items() if kind.measures}
    targets = names_of(trees).targets.items()
    return [
        name for name, meant in targets if all(one.address and one.address.kind in memories for one in meant)
    ]
