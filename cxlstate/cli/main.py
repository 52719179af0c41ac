"""The `cxlstate` command: finds the verb, and turns every error into words and an exit status."""

from __future__ import annotations

import gc
import signal
import sys
from importlib import import_module
from typing import NoReturn

import click

from cxlstate import __version__
from cxlstate.render import output
from cxlstate.render.shown import block

VERBS = ("validate", "plan", "apply", "drift", "show", "measure", "ssh-config", "schema", "explain")
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
        command: click.Command = import_module(f"cxlstate.cli.{cmd_name.replace('-', '_')}").command
        return command


EPILOG = """\b
Examples:
  cxlstate validate specs/                  check every spec, no machine needed
  cxlstate plan specs/cloudcxl2.yaml        what differs, what it would run
  cxlstate apply specs/cloudcxl2.yaml       do it, and prove it
  cxlstate drift specs/                     for cron: silent when in sync
  cxlstate measure dax.cxl0                 whether its memory is really uncached

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
    output.repair_streams()
    status = _run(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # from here on Ctrl-C has nothing to stop
    output.let_go_of_streams()
    gc.freeze()
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    try:
        return int(cxlstate.main(arguments, prog_name="cxlstate", standalone_mode=False) or 0)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # no traceback ever reaches a user
        try:
            return _end(error, as_json="--json" in arguments)
        except KeyboardInterrupt:
            return ERROR  # a second Ctrl-C, while the first one is told
        except Exception as worse:  # noqa: BLE001  # the last stand
            return _end_bare(error, worse, as_json="--json" in arguments)


def _end_bare(error: BaseException, worse: Exception, *, as_json: bool) -> int:
    """Tell it without another import: Ctrl-C within one leaves modules that cannot be used."""
    code, message = "CXE900", f"{type(error).__name__}, then {type(worse).__name__}"
    if isinstance(error, click.Abort | KeyboardInterrupt):
        code, message = "CXE233", "interrupted"
    if as_json:
        blank = dict.fromkeys(("file", "line", "column", "found", "expected", "hint", "machine", "address"))
        problem = {"code": code, "severity": "error", "message": message, **blank}
        tool = f"cxlstate {__version__}"
        empty: dict[str, object] = {key: [] for key in ("targets", "machines", "interruptions", "turns")}
        output.say_json({"format": 2, "minor": 0, "tool": tool, **empty, "diagnostics": [problem]})
    else:
        output.say(f"error[{code}] {message}", err=True)
    return ERROR


def _end(error: BaseException, *, as_json: bool) -> int:
    """Tell how a run ended early: in words on standard error, or as the one JSON document."""
    from cxlstate.cli.ended import problems_of, unwritten
    from cxlstate.render.problems import diagnostics_text

    cause = unwritten(error)
    if isinstance(cause, BrokenPipeError):
        return ERROR  # the reader of our output went away, as `head` does
    problems = problems_of(error)
    if as_json and cause is None:
        from cxlstate.cli.common import say_json

        say_json([], problems)
    elif isinstance(error, click.ClickException):
        output.say(_usage(error), err=True)
    else:
        output.say(diagnostics_text(problems), err=True)
    return USAGE if isinstance(error, click.UsageError) else ERROR


def _usage(error: click.ClickException) -> str:
    """The lines that click would print; what was typed is shown and not obeyed."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    help_ = f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n\n" if context else ""
    return "\n".join(block(f"{help_}Error: {error.format_message()}"))
