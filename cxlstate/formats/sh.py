"""POSIX shell words: the one way a value gets into a shell text."""

from __future__ import annotations


def quote(text: str) -> str:
    """One shell word that means exactly `text`, whatever is in it.

    Single quotes keep everything but themselves literal (POSIX XCU 2.2.2). A NUL cannot be passed
    to a program at all: ValueError.
    """
    if "\0" in text:
        raise ValueError("a NUL byte cannot stand in a shell word")
    return "'" + text.replace("'", "'\\''") + "'"
