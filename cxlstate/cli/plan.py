"""`cxlstate plan`: what differs, and what would be done about it. Changes nothing."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click

from cxlstate.cli.common import (
    has_errors,
    json_option,
    loading,
    only,
    paths_argument,
    refuse_specs,
    say_json,
    say_plan,
    say_problems,
    target_option,
    trees,
)
from cxlstate.render.output import dumps, say


@click.command("plan", short_help="Show what differs and what would be done. Changes nothing.")
@paths_argument
@json_option
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Keep the plan for `apply FILE`."
)
@click.option("--all", "everything", is_flag=True, help="Show what is in sync, too.")
@click.option("--verbose", "-v", is_flag=True, help="Show every command, and why.")
@target_option
def command(  # noqa: PLR0913, PLR0917  # click's: one parameter an option
    paths: tuple[Path, ...],
    as_json: bool,
    out: Path | None,
    everything: bool,
    verbose: bool,
    targets: tuple[str, ...],
) -> int:
    """Ask the machines and show what differs, what would be run, and what that interrupts.

    Nothing is changed. Exit status 0: in sync; 2: changes to make; 3: only a reboot is pending;
    5: something could not be told; 1: an error.

    \b
    Examples:
      cxlstate plan specs/cloudcxl2.yaml
      cxlstate plan specs/cloudcxl2.yaml --target memmap
      cxlstate plan --out tonight.json; cxlstate apply tonight.json
    """
    with loading(paths) as (loaded, opener):
        if has_errors(loaded.diagnostics):
            return refuse_specs(loaded.diagnostics, as_json=as_json)
        if out and any(_same_file(out, tree.file) for tree in loaded.trees):
            raise click.UsageError(f"--out {out}: this is the spec")
        from cxlstate.engine.plan import worst
        from cxlstate.engine.survey import survey
        from cxlstate.resources import kinds

        plans = survey(trees(loaded), kinds(), only(targets, loaded.trees), opener)
    if out:
        from datetime import UTC, datetime

        from cxlstate.cli import out_file
        from cxlstate.render.document import document

        made = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
        kept = dumps({**document(plans, loaded.diagnostics, targets), "made": made}) + "\n"
        out_file.write(out, kept, private=True)
    if as_json:
        say_json(plans, loaded.diagnostics, targets)
    else:
        say_problems(loaded.diagnostics)
        for number, plan in enumerate(plans):
            say("", blank=number > 0)
            say_plan(plan, plan.all_diagnostics, everything=everything, verbose=verbose)
    return worst(plan.exit for plan in plans)


def _same_file(one: Path, other: str) -> bool:
    with suppress(OSError):  # the current folder may be gone
        return os.path.realpath(one) == os.path.realpath(other)
    return False
