"""The one way out of the program: text, and the JSON document, whatever the locale and the listener."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

import click


class Unwritable(Exception):
    """Standard output does not take what is written to it; the cause is the OSError."""


def say(text: str, *, err: bool = False, blank: bool = False) -> None:
    """Print a line, with colour on a terminal only; NO_COLOR is honoured. Raises Unwritable.

    What the stream's encoding does not have is written out. Standard error that is full or closed is no
    reason to end: there is nowhere left to complain, and an `apply` goes on. `blank` prints an empty line.
    """
    if not text and not blank:
        return
    try:
        click.echo(
            _encodable(text, sys.stderr if err else sys.stdout),
            err=err,
            color=False if os.environ.get("NO_COLOR") else None,
        )
    except OSError as error:
        if not err:
            raise Unwritable from error


def dumps(content: dict[str, Any]) -> str:
    """JSON as it is printed and kept."""
    return json.dumps(content, indent=2, ensure_ascii=False)


def say_json(content: dict[str, Any]) -> None:
    """Print a JSON document: UTF-8 in every locale (RFC 8259, section 8.1). Raises Unwritable."""
    try:
        click.echo((dumps(content) + "\n").encode(), nl=False)
    except OSError as error:
        raise Unwritable from error


def write_live(text: str) -> None:
    """Write a part of the line that tells the time to the terminal at standard error."""
    with suppress(OSError):
        sys.stderr.write(_encodable(text, sys.stderr))
        sys.stderr.flush()


def _encodable(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def repair_streams() -> None:
    """Stand in for standard streams that were closed, as a shell does with `>&-`.

    A file that is opened later does not get their numbers. Output to one that was closed still fails.
    """
    for number, name, flags in (
        (0, "stdin", os.O_RDONLY),
        (1, "stdout", os.O_RDONLY),
        (2, "stderr", os.O_RDWR),
    ):
        if getattr(sys, name) is None:
            os.set_inheritable(os.open(os.devnull, flags), True)  # noqa: FBT003  # the lowest number that is free
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115  # as long as the process
            setattr(sys, name, stream)


def let_go_of_streams() -> None:
    """Drop what a stream does not take: the interpreter would try again at its end, and fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
