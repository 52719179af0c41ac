"""What becomes of an exception that nobody foresaw: a few words and a place in the source. Cannot fail."""

from __future__ import annotations

import os
import traceback
from contextlib import suppress

from cxlstate.core.diagnostic import Diagnostic

DEBUG = "CXLSTATE_DEBUG"
"""Environment variable that adds the traceback to what is told of a defect."""

_LONGEST = 300
"""Characters of an exception's own words: they may hold a whole answer of a machine."""


def summary(error: BaseException) -> str:
    """Type, words and place of an exception, in one line that can be encoded."""
    what = _words(error)
    return f"{type(error).__name__}{': ' if what else ''}{what} ({place(error)})"


def place(error: BaseException) -> str:
    """Where it was raised, as `module:line`: the innermost line that is our own."""
    ours, innermost = "", "unknown place"
    trace = error.__traceback__
    while trace:
        innermost = f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
        ours = innermost if innermost.startswith("cxlstate.") else ours
        trace = trace.tb_next
    return ours or innermost


def defect(error: BaseException) -> Diagnostic:
    """The error of the program itself: CXE900."""
    found = summary(error)
    if os.environ.get(DEBUG):
        with suppress(Exception):
            found += "\n" + "".join(traceback.format_exception(error)).encode("utf-8", "replace").decode()
    return Diagnostic(
        "CXE900",
        "cxlstate has a defect",
        found=found,
        hint=f"please report this with the output of `{DEBUG}=1 cxlstate …`, which adds the traceback",
    )


def _words(error: BaseException) -> str:
    """What it says. Saying it may fail, too: pydantic cannot show what is not UTF-8."""
    said = ""
    with suppress(Exception):
        said = str(error)
        if callable(problems := getattr(error, "errors", None)):  # pydantic's text has many lines and a URL
            said = "; ".join(one["msg"] for one in problems(include_url=False, include_input=False))
    line = " ".join(said.split())
    return line[:_LONGEST].encode("utf-8", "backslashreplace").decode()
