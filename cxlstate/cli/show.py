"""`cxlstate show`: the live state of what the spec names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxlstate.cli.common import (
    has_errors,
    json_option,
    loading,
    only,
    paths_argument,
    refuse_specs,
    say_json,
    say_problems,
    target_option,
    trees,
)
from cxlstate.render.output import say

if TYPE_CHECKING:
    from cxlstate.engine.plan import MachinePlan


@click.command("show", short_help="Show the live state of what the specs name, and the memory map.")
@paths_argument
@json_option
@target_option
def command(paths: tuple[Path, ...], as_json: bool, targets: tuple[str, ...]) -> int:
    """Ask the machines and show how everything that the specs name stands. Changes nothing.

    Below it stands the map of each machine's memory: what is where, on which node, and the type that
    the MTRRs give it. With --target it is left out.

    \b
    Examples:
      cxlstate show specs/cloudcxl2.yaml
    """
    with loading(paths) as (loaded, opener):
        if has_errors(loaded.diagnostics):
            return refuse_specs(loaded.diagnostics, as_json=as_json)
        from cxlstate.engine.memory_map import READS
        from cxlstate.engine.plan import worst
        from cxlstate.engine.survey import survey
        from cxlstate.resources import kinds

        wanted, more = only(targets, loaded.trees), () if targets else READS
        plans = survey(trees(loaded), kinds(), wanted, opener, closer=True, more=more)
    if as_json:
        say_json(plans, loaded.diagnostics, targets)
    else:
        say("\n\n".join(_text(one, plan.tree.file) for plan in plans for one in plan.machines))
        say_problems([d for plan in plans for d in plan.all_diagnostics])
    errors = [plan.exit for plan in plans if plan.exit in (1, 5)]
    return worst(errors)


def _text(plan: MachinePlan, file: str) -> str:
    from cxlstate.core.defect import summary
    from cxlstate.engine.memory_map import memory_map
    from cxlstate.render.memory_map import memory_map_text
    from cxlstate.render.terminal import live_text

    if plan.answers is None:
        return live_text(plan, file)
    try:
        below = memory_map_text(memory_map(plan.answers))
    except Exception as odd:  # noqa: BLE001  # an odd answer must not hide what else is known
        below = f"  memory map unknown: cannot parse the answer: {summary(odd)}"
    return f"{live_text(plan, file)}\n\n{below}"
