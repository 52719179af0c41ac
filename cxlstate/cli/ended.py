"""What ended a run early, as diagnostics."""

from __future__ import annotations

import click

from cxlstate.core.defect import defect
from cxlstate.core.diagnostic import CxlstateError, Diagnostic
from cxlstate.render.output import Unwritable


def problems_of(error: BaseException) -> tuple[Diagnostic, ...]:
    """The diagnostics of an error of any kind. Never raises."""
    match error:
        case CxlstateError():
            return error.diagnostics
        case _ if cause := unwritten(error):
            return (_unwritable(cause),)
        case click.Abort() | KeyboardInterrupt():
            return (_interrupted(),)
        case click.ClickException():
            hint = "`cxlstate --help` lists the commands, `cxlstate COMMAND --help` their options"
            return (Diagnostic("CXE230", "wrong usage", found=error.format_message(), hint=hint),)
        case _:
            return (defect(error),)


def unwritten(error: BaseException) -> BaseException | None:
    """Why standard output did not take what was written to it: by us, or by click (its help)."""
    if isinstance(error, Unwritable):
        return error.__cause__
    return error if isinstance(error, OSError) and _is_raised_by_click(error) else None


def _unwritable(cause: BaseException) -> Diagnostic:
    return Diagnostic(
        "CXE231",
        "cannot write to standard output",
        found=getattr(cause, "strerror", None) or str(cause),
        hint="what was done stays done; `cxlstate plan` shows where the machines stand",
    )


def _interrupted() -> Diagnostic:
    return Diagnostic(
        "CXE233",
        "interrupted",
        found="Ctrl-C, or the end of input at a question",
        hint="run the same command again; an apply goes on from where it stopped",
    )


def _is_raised_by_click(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("click.")
