"""`cxlstate apply`: make it so, and prove it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxlstate.cli.common import (
    has_errors,
    json_option,
    load_specs,
    only,
    paths_argument,
    refuse_specs,
    target_option,
)

if TYPE_CHECKING:
    from cxlstate.core.consent import Consents
    from cxlstate.spec.load import MachineSpec


@click.command("apply", short_help="Do what a plan shows, and prove it.")
@paths_argument
@click.option("--yes", "-y", is_flag=True, help="Do not ask. Covers what interrupts nothing, and no more.")
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    metavar="CLASS[=MACHINE[/ADDRESS]]",
    help="Allow actions of this risk class, such as reboot-host. May be repeated or joined by commas.",
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
    from cxlstate.core.consent import parse_consents

    consents = parse_consents(allowed)
    kept = plan_file.read(paths[0]) if len(paths) == 1 and plan_file.is_one(paths[0]) else None
    loaded = load_specs(kept.specs if kept else paths, fetch=True)
    if has_errors(loaded.diagnostics):
        return refuse_specs(loaded.diagnostics, as_json=as_json)
    _refuse_unknown(consents, loaded.specs)
    from cxlstate.cli.converge import Session

    session = Session(
        consents=consents,
        yes=yes or kept is not None,
        as_json=as_json,
        only=only(targets or (kept.targets if kept else ()), loaded.specs),
        kept=kept.machines if kept else {},
    )
    return session.apply(loaded)


def _refuse_unknown(consents: Consents, specs: Sequence[MachineSpec]) -> None:
    """Refuse consent for a machine that no spec declares. A resource may be one that was dropped."""
    for machine in {consent.machine for consent in consents.given} - {None, *(spec.name for spec in specs)}:
        raise click.UsageError(f"--allow: no spec declares the machine {machine}")
