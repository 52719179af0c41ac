"""`cxlstate explain`: the page of an error code."""

from __future__ import annotations

import click

from cxlstate.render.output import say


def _complete_code(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001  # click's signature
    from cxlstate.pages import pages

    return [code for code in sorted(pages()) if code.startswith(incomplete.upper())]


@click.command("explain", short_help="Explain an error code.")
@click.argument("code", shell_complete=_complete_code)
def command(code: str) -> int:
    """Show the page of an error code: what it means, an example, what to do.

    \b
    Examples:
      cxlstate explain CXS201
    """
    from cxlstate.pages import pages

    known = pages()
    page = known.get(code.upper())
    if page is None:
        from difflib import get_close_matches

        near = get_close_matches(code.upper(), known, n=3)
        raise click.UsageError(
            f"there is no error code {code}." + (f" Near: {', '.join(near)}." if near else "")
        )
    say(page.read_text(encoding="utf-8").rstrip())
    return 0
