"""`cxlstate show`: the live state of what the spec names."""

from __future__ import annotations

from pathlib import Path

import click

from cxlstate.cli.common import (
    connecting,
    has_errors,
    json_option,
    load_specs,
    only,
    paths_argument,
    refuse_specs,
    say,
    say_json,
    say_problems,
    target_option,
)


@click.command("show", short_help="Show the live state of what the specs name.")
@paths_argument
@json_option
@target_option
def command(paths: tuple[Path, ...], as_json: bool, targets: tuple[str, ...]) -> int:
    """Ask the machines and show how everything that the specs name stands. Changes nothing.

    \b
    Examples:
      cxlstate show specs/cloudcxl2.yaml
    """
    with connecting(paths) as opener:
        loaded = load_specs(paths)
        if has_errors(loaded.diagnostics):
            return refuse_specs(loaded.diagnostics, as_json=as_json)
        from cxlstate.engine.plan import worst
        from cxlstate.engine.survey import survey
        from cxlstate.render.terminal import live_text
        from cxlstate.resources import kinds

        plans = survey(loaded.specs, kinds(), only(targets, loaded.specs), opener)
    if as_json:
        say_json(plans, loaded.diagnostics)
    else:
        say("\n\n".join(live_text(plan) for plan in plans))
        say_problems([d for plan in plans for d in plan.all_diagnostics])
    errors = [plan.exit for plan in plans if plan.exit in (1, 5)]
    return worst(errors)
