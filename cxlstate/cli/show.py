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
    unmeasured,
)
from cxlstate.render.output import say

if TYPE_CHECKING:
    from cxlstate.engine.plan import MachinePlan


@click.command("show", short_help="Show the live state of what the specs name, and the memory map.")
@paths_argument
@json_option
@target_option
@click.option("--measure", is_flag=True, help="Measure its memory, too: see `cxlstate measure`.")
def command(paths: tuple[Path, ...], as_json: bool, targets: tuple[str, ...], measure: bool) -> int:
    """Ask the machines and show how everything that the specs name stands. Changes nothing.

    Below it stands the map of each machine's memory: what is where, on which node, and the type that
    the MTRRs give it. With --target it is left out.

    \b
    Examples:
      cxlstate show specs/cloudcxl2.yaml
      cxlstate show --measure --target dax.cxl0
    """
    with loading(paths) as (loaded, opener):
        if has_errors(loaded.diagnostics):
            return refuse_specs(loaded.diagnostics, as_json=as_json)
        from cxlstate.engine.measuring import Wanted
        from cxlstate.engine.memory_map import READS
        from cxlstate.engine.plan import Exit, worst
        from cxlstate.engine.survey import survey
        from cxlstate.resources import kinds

        wanted, more = only(targets, loaded.trees), () if targets else READS
        plans = survey(
            trees(loaded),
            kinds(),
            wanted,
            opener,
            closer=True,
            more=more,
            measure=Wanted() if measure else None,
        )
    found = [each for plan in plans for one in plan.machines for each in one.measured]
    if as_json:
        say_json(plans, loaded.diagnostics, targets, found if measure else None)
    else:
        say("\n\n".join(_text(one, plan.tree.file) for plan in plans for one in plan.machines))
        say_problems([d for plan in plans for d in plan.all_diagnostics])
    errors = [plan.exit for plan in plans if plan.exit in (Exit.ERROR, Exit.UNKNOWN)]
    return worst([*errors, Exit.UNKNOWN] if unmeasured(found) else errors)


def _text(plan: MachinePlan, file: str) -> str:
    from cxlstate.core.defect import summary
    from cxlstate.engine.memory_map import memory_map
    from cxlstate.render.measured import measured_text
    from cxlstate.render.memory_map import memory_map_text
    from cxlstate.render.terminal import live_text

    live = live_text(plan, file)
    if plan.measured:
        live += f"\n\n{measured_text(plan.measured)}"
    if plan.answers is None:
        return live
    try:
        below = memory_map_text(memory_map(plan.answers))
    except Exception as odd:  # noqa: BLE001  # an odd answer must not hide what else is known
        below = f"  memory map unknown: cannot parse the answer: {summary(odd)}"
    return f"{live}\n\n{below}"
