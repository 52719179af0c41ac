"""The states of a domain."""

from __future__ import annotations

from typing import Final

RUNS: Final = ("running", "idle", "paused", "pmsuspended", "in-shutdown", "shutdown", "crashed")
"""States with a process behind them: of one that crashed it is kept by `<on_crash>preserve</on_crash>`."""
