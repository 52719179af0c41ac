"""`cxlstate apply`: make it so, and prove it."""

from __future__ import annotations

from pathlib import Path

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

    PATH is a spec, a folder of specs, or a file made by `plan --out`: then exactly that plan is
    done, or nothing where the machine has moved on. What interrupts or destroys is done only where
    its class is allowed by name; the rest stays untouched (exit status 4).

    \b
    Examples:
      cxlstate apply specs/cloudcxl2.yaml
      cxlstate apply specs/ --yes --allow reboot-host
      cxlstate apply specs/cloudcxl2.yaml --allow foreign-boot=cloudcxl2/grub
    """
    from cxlstate.core.consent import parse_consents

    consents = parse_consents(allowed)
    kept = _kept_plan(paths)
    loaded = load_specs([Path(machine["spec"]) for machine in kept["machines"]] if kept else paths)
    if has_errors(loaded.diagnostics):
        return refuse_specs(loaded.diagnostics, as_json=as_json)
    from cxlstate.cli.converge import Session

    session = Session(
        consents=consents,
        yes=yes or kept is not None,
        as_json=as_json,
        only=only(targets or _targets(kept), loaded.specs),
        kept={machine["name"]: machine for machine in kept["machines"]} if kept else {},
    )
    return session.apply(loaded)


def _kept_plan(paths: tuple[Path, ...]) -> dict | None:  # type: ignore[type-arg]  # the document of render/document
    """The plan file, where one is given in place of specs."""
    if len(paths) != 1 or not paths[0].is_file() or paths[0].suffix != ".json":
        return None
    import json

    from cxlstate.core.diagnostic import fail
    from cxlstate.render.document import FORMAT

    try:
        kept: dict[str, object] = json.loads(paths[0].read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise fail("CXE206", f"{paths[0]} is not a plan", found=str(error)) from None
    if not _is_plan(kept, FORMAT):
        raise fail(
            "CXE206",
            f"{paths[0]} is not a plan that this version reads",
            found=f"format {kept.get('format')}" if isinstance(kept, dict) else type(kept).__name__,
            expected=f"format {FORMAT}, and one machine at least",
            hint="make it again with plan --out",
        )
    return kept


def _targets(kept: dict | None) -> list[str]:  # type: ignore[type-arg]  # as above
    """What a kept plan was narrowed to: the same is asked of the machine again."""
    targets = kept.get("targets", []) if kept else []
    return [str(target) for target in targets] if isinstance(targets, list) else []


def _is_plan(kept: object, format_: int) -> bool:
    """Whether it has what is needed of it: of each machine the name, and the file of its spec."""
    machines = kept.get("machines") if isinstance(kept, dict) and kept.get("format") == format_ else None
    return (
        isinstance(machines, list)
        and bool(machines)
        and all(isinstance(one, dict) for one in machines)
        and all(isinstance(one.get(key), str) for one in machines for key in ("name", "spec"))
    )
