"""`cxlstate plan`: what differs, and what would be done about it. Changes nothing."""

from __future__ import annotations

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
    say_problems,
    target_option,
)
from cxlstate.render.output import dumps, say


@click.command("plan", short_help="Show what differs and what would be done. Changes nothing.")
@paths_argument
@json_option
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Keep the plan for `apply FILE`."
)
@click.option("--all", "everything", is_flag=True, help="Show what is in sync, too.")
@target_option
def command(
    paths: tuple[Path, ...],
    as_json: bool,
    out: Path | None,
    everything: bool,
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
        if out and out.resolve() in (Path(tree.file).resolve() for tree in loaded.trees):
            raise click.UsageError(f"--out {out}: this is the spec")
        from cxlstate.engine.plan import worst
        from cxlstate.engine.survey import survey
        from cxlstate.render.document import document
        from cxlstate.render.terminal import plan_text
        from cxlstate.resources import kinds

        plans = survey(loaded.specs, kinds(), only(targets, loaded.trees), opener)
    if out:
        from cxlstate.cli import out_file

        kept = dumps(document(plans, loaded.diagnostics, targets)) + "\n"
        out_file.write(out, kept, private=True)
    if as_json:
        say_json(plans, loaded.diagnostics)
    else:
        say("\n\n".join(plan_text(plan, everything=everything) for plan in plans))
        say_problems([*loaded.diagnostics, *(d for plan in plans for d in plan.all_diagnostics)])
    return worst(plan.exit for plan in plans)
