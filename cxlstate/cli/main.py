"""The `cxlstate` command: finds the verb, and turns every error into words and an exit status."""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import NoReturn

import click

from cxlstate import __version__

VERBS = ("validate", "plan", "apply", "drift", "show", "schema", "explain")
USAGE, ERROR = 64, 1


class Verbs(click.Group):
    """The verbs, each in a module of its own that is imported when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # click's signature
        """The verbs in the order of a day's work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # click's signature
        """The verb of that name."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"cxlstate.cli.{cmd_name}").command
        return command


EPILOG = """\b
Examples:
  cxlstate validate specs/                  check every spec, no machine needed
  cxlstate plan specs/cloudcxl2.yaml        what differs, what it would run
  cxlstate apply specs/cloudcxl2.yaml       do it, and prove it
  cxlstate drift specs/                     for cron: silent when in sync

\b
Exit status: 0 in sync, 1 error, 2 changes, 3 pending reboot or restart,
4 refused for want of consent, 5 unknown, 64 wrong usage.
"""


@click.group(
    cls=Verbs,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="cxlstate", message="%(prog)s %(version)s")
def cxlstate() -> None:
    """Make a CXL memory host and its virtual machines be what one YAML file says."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command line and exit with the status of the contract.

    The collector of cycles is off: a run leaves few and ends soon, and while libraries are loaded,
    and once more at the end, it would go through all of them to find nothing.
    """
    gc.disable()
    status = _run(arguments)
    gc.freeze()
    sys.exit(status)


def _run(arguments: list[str] | None) -> int:
    try:
        result = cxlstate.main(arguments, prog_name="cxlstate", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        error.show()
        return ERROR
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: nothing more was begun; the next apply goes on from here", err=True)
        return ERROR
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except Exception as error:  # noqa: BLE001  # the last stand: no traceback ever reaches a user
        return _told(error)
    return int(result or 0)


def _told(error: Exception) -> int:
    from cxlstate.core.defect import defect
    from cxlstate.core.diagnostic import CxlstateError
    from cxlstate.render.terminal import diagnostics_text

    diagnostics = error.diagnostics if isinstance(error, CxlstateError) else (defect(error),)
    try:
        said = diagnostics_text(diagnostics)
    except Exception:  # noqa: BLE001  # what cannot be shown is told all the same
        said = "\n".join(f"error[{one.code}] {one.message!a}: {one.found!a}" for one in diagnostics)
    click.echo(said.encode("utf-8", "backslashreplace").decode(), err=True)
    return ERROR
