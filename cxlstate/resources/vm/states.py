"""The states of a domain."""

from __future__ import annotations

from typing import Final

RUNS: Final = ("running", "idle", "paused", "pmsuspended", "in-shutdown", "shutdown")
"""States with a process behind them."""
