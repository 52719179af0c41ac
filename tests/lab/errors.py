"""The errors of the lab: a sentence that says what is wrong and what to do."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked; the message names the remedy or the log to read."""


class EmulatorError(LabError):
    """The emulator ended by itself, or its machine never gave a first answer: no fault of what is tested."""
