"""The command line. One file a verb; nothing heavy is imported before a verb needs it."""

from cxlstate.cli.main import main

__all__ = ["main"]
