"""`cxlstate apply`: make it so, and prove it."""

from __future__ import annotations

from pathlib import Path

import click

from cxlstate.cli.common import (
    consents,
    has_errors,
    json_option,
    load_specs,
    only,
    paths_argument,
    refuse_specs,
    target_option,
)


@click.command("apply", short_help="Do what a plan shows, and prove it.")
@paths_argument
@click.option("--yes", "-y", is_flag=True, help="Do not ask. Covers what interrupts nothing, and no more.")
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    metavar="CLASS[=NAME]",
    help="Allow actions of this risk class, such as reboot-host. NAME narrows it: HOST, HOST/kind.name, "
    "HOST/GUEST or HOST/GUEST:kind.name. May be repeated or joined by commas.",
)
@json_option
@target_option
def command(
    paths: tuple[Path, ...],
    yes: bool,
    allowed: tuple[str, ...],
    as_json: bool,
    targets: tuple[str, ...],
) -> int:
    """Plan, show, ask, do, and ask the machine again to prove that nothing is left.

    PATH is a spec, a folder of specs, or a file made by `plan --out`: then only what that plan holds is
    done, and nothing where the machine has moved on. It ends at the first reboot (exit status 3). What
    interrupts or destroys is done only where its class is allowed by name; the rest stays untouched
    (exit status 4).

    \b
    Examples:
      cxlstate apply specs/cloudcxl2.yaml
      cxlstate apply specs/ --yes --allow reboot-host
      cxlstate apply specs/cloudcxl2.yaml --allow foreign-boot=cloudcxl2/grub
    """
    from cxlstate.cli import plan_file

    kept = plan_file.read(paths[0]) if len(paths) == 1 and plan_file.is_one(paths[0]) else None
    loaded = load_specs(kept.specs if kept else paths, fetch=True)
    if has_errors(loaded.diagnostics):
        return refuse_specs(loaded.diagnostics, as_json=as_json)
    allow = consents(allowed, loaded.trees)
    targets = targets or (kept.targets if kept else ())
    from cxlstate.cli.converge import Session

    session = Session(
        consents=allow,
        yes=yes or kept is not None,
        as_json=as_json,
        targets=targets,
        only=only(targets, loaded.trees),
        kept=kept,
    )
    return session.apply(loaded)
