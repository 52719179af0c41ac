"""What is being done and what is waited for, on standard error, with how long it has taken."""

from __future__ import annotations

import os
import sys
import threading
import time
from shutil import get_terminal_size

from click import style

from cxlstate.core.address import ScopedAddress
from cxlstate.engine.execute import Done
from cxlstate.engine.plan import Interruption, Plan, ResourcePlan
from cxlstate.engine.turns import todo
from cxlstate.machine.outcome import Result
from cxlstate.render.output import say, write_live
from cxlstate.render.shown import field
from cxlstate.render.terminal import scoped_text


class Progress:
    """A watcher for people. On a terminal one line tells the time; elsewhere a line a step."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._tty = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not quiet
        self._text = ""
        self._since = 0.0
        self._ended = threading.Event()
        self._lock = threading.Lock()
        if self._tty:
            threading.Thread(target=self._tick, daemon=True).start()

    def planned(self, plan: Plan) -> None:
        """After a reboot: where it stands now is shown at the end."""

    def begins(self, plans: tuple[ResourcePlan, ...]) -> None:
        """Name what is being done."""
        first = todo(plans[0])
        more = f" and {len(plans) - 1} more" if len(plans) > 1 else ""
        does = "; ".join(action.does for action in first)
        self._now(f"{scoped_text(plans[0])}{more}: {does}")

    def ended(self, done: Done) -> None:
        """Tell how it ended; what it said comes at the end."""
        names = ", ".join(field(_named(at)) for at in done.addresses[:4])
        more = f" and {len(done.addresses) - 4} more" if len(done.addresses) > 4 else ""  # noqa: PLR2004  # as many as fit a line
        seconds = f" ({time.monotonic() - self._since:.0f} s)" if time.monotonic() - self._since > 1 else ""
        good = done.result is Result.DONE
        sign = style("✓", fg="green") if good else style("✗", fg="red")
        self._line(f"{sign} {names}{more}{seconds}" + ("" if good else f": {done.result.value}"))

    def proven(self, plans: tuple[ResourcePlan, ...]) -> None:
        """Proof is what the last lines of the report say."""

    def away(self, interruption: Interruption, *, begins: bool) -> None:
        """Somebody goes away, or comes back."""
        steps = interruption.begin if begins else interruption.end
        does = "; ".join(step.action.does for step in steps)
        self._now(f"{interruption.risk.value} {interruption.subject}: {does}")

    def waits(self, what: str) -> None:
        """Something takes long."""
        if field(what) != self._text:
            self._now(what)

    def end(self) -> None:
        """Leave the terminal clean."""
        self._ended.set()
        with self._lock:
            self._clear()
            self._text = ""

    def _now(self, text: str) -> None:
        with self._lock:
            self._text, self._since = field(text), time.monotonic()
        if not self._tty and not self._quiet:
            say(f"  {self._text}", err=True)

    def _line(self, text: str) -> None:
        with self._lock:
            self._text = ""
            self._clear()
            if not self._quiet:
                say(f"  {text}", err=True)

    def _tick(self) -> None:
        while not self._ended.wait(0.2):
            with self._lock:
                if self._text:
                    self._clear()
                    seconds = time.monotonic() - self._since
                    write_live(f"  … {self._text[: get_terminal_size().columns - 12]}  {seconds:.0f} s")

    def _clear(self) -> None:
        if self._tty:
            write_live("\r\x1b[2K")


def _named(at: ScopedAddress) -> str:
    return str(at).partition("/")[2]
