"""`cxlstate validate`: is what is written right? No machine is asked."""

from __future__ import annotations

from pathlib import Path

import click

from cxlstate.cli.common import (
    has_errors,
    json_option,
    load_specs,
    paths_argument,
    say_json,
    say_problems,
)
from cxlstate.render.output import say


@click.command("validate", short_help="Check specs; no machine is asked.")
@paths_argument
@json_option
def command(paths: tuple[Path, ...], as_json: bool) -> int:
    """Check specs without asking any machine.

    Every problem of every file is reported, with file:line:col, a code, what was found, what is
    expected and what to do. PATH is a file or a folder; without one, specs/.

    \b
    Examples:
      cxlstate validate
      cxlstate validate specs/cloudcxl2.yaml --json
    """
    loaded = load_specs(paths)
    if as_json:
        say_json([], loaded.diagnostics)
    else:
        say_problems(loaded.diagnostics)
        good = len(loaded.trees)
        if not has_errors(loaded.diagnostics):
            say(f"{good} spec{'s' * (good != 1)} valid")
    return int(has_errors(loaded.diagnostics))
