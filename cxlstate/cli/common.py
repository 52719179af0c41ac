"""What the verbs share: options, loading specs, printing."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cxlstate.adapters.open_reader import Opener
    from cxlstate.core.address import Address
    from cxlstate.core.diagnostic import Diagnostic
    from cxlstate.engine.plan import MachinePlan
    from cxlstate.spec.load import Loaded, MachineSpec


def _complete_address(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001  # click's signature
    """Addresses of the specs named so far, for the shell's completion."""
    from cxlstate.spec.load import load

    paths = [Path(path) for path in ctx.params.get("paths") or ("specs",)]
    names = {str(resource.address) for spec in load(paths).specs for resource in spec.resources}
    return sorted(name for name in names if name.startswith(incomplete))


paths_argument = click.argument(
    "paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path), required=False
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)
target_option = click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="ADDRESS",
    shell_complete=_complete_address,
    help="Only this resource and what it needs. May be repeated.",
)


@contextmanager
def loading(paths: Sequence[Path]) -> Iterator[tuple[Loaded, Opener]]:
    """The specs, and how their machines are opened for reading.

    While the only spec is checked, its machine is being connected to; it is asked to let us in once
    nothing is wrong with the spec.
    """
    from cxlstate.adapters.open_reader import ahead
    from cxlstate.spec.glimpse import glimpse

    with ahead(glimpse(paths)) as (opener, authenticate):
        loaded = load_specs(paths, fetch=True)
        if not has_errors(loaded.diagnostics):
            authenticate()
        yield loaded, opener


def load_specs(paths: Sequence[Path], *, fetch: bool = False) -> Loaded:
    """The specs below the given paths, or below specs/; `fetch`: with the secrets that they reference."""
    from cxlstate.rules import load

    return load(list(paths) or [Path("specs")], fetch=fetch)


def has_errors(diagnostics: Sequence[Diagnostic]) -> bool:
    """Whether one of them stops something."""
    return any(diagnostic.severity.value == "error" for diagnostic in diagnostics)


def only(targets: Sequence[str], specs: Sequence[MachineSpec]) -> frozenset[Address] | None:
    """The addresses of `--target`; one that no spec declares is wrong usage."""
    from cxlstate.core.address import Address

    declared = {str(resource.address) for spec in specs for resource in spec.resources}
    for target in targets:
        if target not in declared:
            from difflib import get_close_matches

            near = get_close_matches(target, declared, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"--target {target}: no spec declares this resource.{hint}")
    return frozenset(Address.parse(target) for target in targets) or None


def say_problems(diagnostics: Sequence[Diagnostic]) -> None:
    """Print problems to standard error."""
    from cxlstate.render.output import say
    from cxlstate.render.terminal import diagnostics_text

    say(diagnostics_text(diagnostics), err=True)


def say_json(plans: Sequence[MachinePlan], diagnostics: Sequence[Diagnostic] = ()) -> None:
    """Print the JSON document."""
    from cxlstate.render import output
    from cxlstate.render.document import document

    output.say_json(document(plans, diagnostics))


def at_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def refuse_specs(diagnostics: Sequence[Diagnostic], *, as_json: bool) -> int:
    """Report specs that are not right; no machine is asked because of them."""
    if as_json:
        say_json([], diagnostics)
    else:
        say_problems(diagnostics)
    return 1
