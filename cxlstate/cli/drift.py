"""`cxlstate drift`: for cron and timers. Read-only, and silent when all is as it should be."""

from __future__ import annotations

from pathlib import Path

import click

from cxlstate.cli.common import (
    has_errors,
    json_option,
    loading,
    paths_argument,
    refuse_specs,
    say_json,
    say_problems,
    trees,
)
from cxlstate.render.output import say


@click.command("drift", short_help="For cron: print what is not as the specs say, else nothing.")
@paths_argument
@json_option
def command(paths: tuple[Path, ...], as_json: bool) -> int:
    """Ask the machines and print one line for each resource that is not as its spec says.

    It tells apart: drifted (it was so, and something changed it), unapplied (the spec changed since
    the last apply), pending (a reboot or restart is due), unknown (it could not be told). Nothing is
    printed when all is in sync. Nothing is ever changed.

    \b
    Examples:
      cxlstate drift specs/
      0 * * * *  cxlstate drift /etc/cxlstate/specs     # cron mails what it prints
    """
    with loading(paths) as (loaded, opener):
        if has_errors(loaded.diagnostics):
            return refuse_specs(loaded.diagnostics, as_json=as_json)
        from cxlstate.engine.plan import worst
        from cxlstate.engine.survey import survey
        from cxlstate.render.terminal import drift_text
        from cxlstate.resources import kinds

        plans = survey(trees(loaded), kinds(), opener=opener)
    if as_json:
        say_json(plans, loaded.diagnostics)
    else:
        say(drift_text(plans))
        say_problems([d for plan in plans for d in plan.all_diagnostics if has_errors([d])])
    return worst(plan.exit for plan in plans)
