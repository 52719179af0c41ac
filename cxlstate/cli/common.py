"""What the verbs share: options, loading specs, printing."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cxlstate.adapters.open_reader import Opener
    from cxlstate.core.address import Address
    from cxlstate.core.consent import Consents
    from cxlstate.core.diagnostic import Diagnostic
    from cxlstate.engine.caching import Measurement
    from cxlstate.engine.plan import Plan
    from cxlstate.spec.load import Loaded
    from cxlstate.spec.names import Names, Only
    from cxlstate.spec.tree import Tree


def _complete_address(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001  # click's signature
    """Addresses of the specs named so far, for the shell's completion."""
    from cxlstate.spec.load import load

    paths = [Path(path) for path in ctx.params.get("paths") or ("specs",)]
    return sorted(name for name in names_of(load(paths).trees).targets if name.startswith(incomplete))


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


def trees(loaded: Loaded) -> Sequence[Tree]:
    """The trees to look at."""
    return loaded.trees


def unmeasured(found: Iterable[Measurement]) -> bool:
    """Whether of any of them it cannot be told what it is."""
    from cxlstate.engine.caching import Access

    return any(one.verdict.access is Access.CANNOT_TELL for one in found)


def has_errors(diagnostics: Sequence[Diagnostic]) -> bool:
    """Whether one of them stops something."""
    return any(diagnostic.severity.value == "error" for diagnostic in diagnostics)


def names_of(trees: Sequence[Tree]) -> Names:
    """The names that machines and resources of these specs have."""
    from cxlstate.resources import kinds
    from cxlstate.spec.names import Names

    return Names(trees, kinds())


def only(targets: Sequence[str], trees: Sequence[Tree]) -> Only | None:
    """What `--target` narrows the run to; a name that no spec declares is wrong usage."""
    if not targets:
        return None
    names = names_of(trees)
    for target in targets:
        if target not in names.targets:
            raise click.UsageError(
                f"--target {target}: no spec declares it.{did_you_mean(target, names.targets)}"
            )
    return names.only(targets)


def consents(allowed: Sequence[str], trees: Sequence[Tree]) -> Consents:
    """What `--allow` allows; a name that no spec declares is wrong usage, unless it is a VM's.

    Raises CxlstateError (CXE110) for what is no consent.
    """
    from cxlstate.core.consent import parse_consents

    names = names_of(trees)

    def meaning(name: str) -> tuple[str, Address | None]:
        other = names.undeclared(name)
        found = names.whole.get(name) or ([other] if other else [])
        if len(found) == 1:
            return found[0].machine, found[0].address
        if found:
            raise click.UsageError(f"--allow: {name} names {len(found)} resources; allow it for the machine.")
        hint = did_you_mean(name, names.whole) or " Allow it for HOST if the spec has dropped it."
        raise click.UsageError(f"--allow: no spec declares {name}.{hint}")

    return parse_consents(allowed, meaning)


def did_you_mean(name: str, possible: Iterable[str]) -> str:
    """A hint at the nearest name, if one is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, possible, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def say_problems(diagnostics: Sequence[Diagnostic]) -> None:
    """Print problems to standard error."""
    from cxlstate.render.output import say
    from cxlstate.render.problems import diagnostics_text

    say(diagnostics_text(diagnostics), err=True)


def say_plan(
    plan: Plan,
    problems: Sequence[Diagnostic],
    *,
    everything: bool = False,
    verbose: bool = False,
) -> None:
    """Print a plan: its head, then its problems to standard error, then what is done on each machine."""
    from cxlstate.render.head import head_text
    from cxlstate.render.output import say
    from cxlstate.render.plan_text import body_text

    body = body_text(plan, everything=everything, verbose=verbose)
    say(head_text(plan))
    if problems:
        say("", err=True, blank=True)
        say_problems(problems)
    say("\n" + body if body else "")


def say_json(
    plans: Sequence[Plan],
    diagnostics: Sequence[Diagnostic] = (),
    targets: Sequence[str] = (),
    measurements: Sequence[Measurement] | None = None,
) -> None:
    """Print the JSON document."""
    from cxlstate.render import output
    from cxlstate.render.document import document

    output.say_json(document(plans, diagnostics, targets, measurements=measurements))


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
