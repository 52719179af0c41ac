"""The one error of the lab: a sentence that says what is wrong and what to do."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked; the message names the remedy or the log to read."""
