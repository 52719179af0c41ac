"""What a spec references: files beside it; secrets from the environment, a file, or what a command prints.

Nothing of a secret, and nothing that a command said, gets into an error: it may be the secret.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from pydantic_core import PydanticCustomError

from cxlstate.core.model import problem
from cxlstate.core.reference import Reference
from cxlstate.core.secret import Secret
from cxlstate.machine import own_files
from cxlstate.spec import yaml_text
from cxlstate.spec.withheld import variable

_MOST_BYTES = 1 << 16
_SECONDS = 60


def fetching(folder: Path) -> Callable[[Reference], Secret]:
    """What fetches the secrets of a spec in `folder`, each once. It raises a `problem`."""
    fetched: dict[Reference, Secret] = {}

    def fetch(reference: Reference) -> Secret:
        if reference not in fetched:
            fetched[reference] = Secret(_content(reference, folder), str(reference))
        return fetched[reference]

    return fetch


def _content(reference: Reference, folder: Path) -> bytes:
    match reference.way:
        case "env":
            value = variable(reference.words[0])
            if value is None:
                raise _unavailable(reference, "not set", hint=f"export {reference.words[0]}")
            return value
        case "file":
            try:
                return own_files.read(folder / own_files.at_home(reference.words[0]), _MOST_BYTES)
            except own_files.Unreadable as error:
                raise _unavailable(reference, str(error)) from error
        case _:
            return _printed(reference, folder)


def _printed(reference: Reference, folder: Path) -> bytes:
    """What the command prints; it is given no input, and runs in the folder of the spec."""
    try:
        with subprocess.Popen(
            reference.words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                end = time.monotonic() + _SECONDS
                output = _up_to_a_byte_too_many(process, end)
                if len(output) > _MOST_BYTES:
                    raise _unavailable(reference, f"more than {_MOST_BYTES} bytes")
                status = process.wait(max(0, end - time.monotonic()))
            finally:
                process.kill()
    except subprocess.TimeoutExpired:
        raise _unavailable(reference, f"still running after {_SECONDS} s") from None
    except OSError as error:
        raise _unavailable(reference, os.strerror(error.errno or 0)) from None
    if status:
        raise _unavailable(reference, f"exit status {status}", hint="run it by hand to see what it says")
    if not output:
        raise _unavailable(reference, "no output")
    return output


def _up_to_a_byte_too_many(process: subprocess.Popen[bytes], end: float) -> bytes:
    """Its output, of which no more is read: it may have no end. Raises TimeoutExpired."""
    assert process.stdout  # noqa: S101  # opened by who calls this
    found, pipe = b"", process.stdout.fileno()
    while len(found) <= _MOST_BYTES:
        left = end - time.monotonic()
        if left < 0 or not select.select([pipe], [], [], left)[0]:
            raise subprocess.TimeoutExpired(process.args, _SECONDS)
        if not (piece := os.read(pipe, _MOST_BYTES)):
            break
        found += piece
    return found


def _unavailable(reference: Reference, why: str, hint: str | None = None) -> PydanticCustomError:
    return problem(
        "CXS215", f"cannot read the secret from {reference}", found=why, expected="the secret", hint=hint
    )


def text_beside(folder: Path, written: str) -> str:
    """The text of a file that a spec in `folder` names, by its path from there."""
    try:
        return content_beside(folder, written).decode()
    except UnicodeDecodeError as error:
        raise _not_beside(folder / written, str(error)) from error


def content_beside(folder: Path, written: str) -> bytes:
    """The same, of a file that may be no text; `~` is the home of whoever runs this."""
    path = folder / own_files.at_home(written)
    try:
        return own_files.read(path, yaml_text.MAX_BYTES)
    except own_files.Unreadable as error:
        raise _not_beside(path, str(error)) from error


def _not_beside(path: Path, reason: str) -> PydanticCustomError:
    return problem(
        "CXS213",
        "cannot read a file that the spec references",
        found=f"{path}: {reason}",
        expected="a regular file; its path is relative to the folder of the spec",
    )
