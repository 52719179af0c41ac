"""What cannot be had by an edit."""

from __future__ import annotations

from collections.abc import Sequence

from cxlstate.core.path import Path


class Impossible(ValueError):
    """No definition can be made that is as wished. The text says what is in the way.

    `path` is the word of the spec that cannot be had, in the form of `Difference.path`; `cure` is one thing
    to write or to run, as it can be pasted.
    """

    def __init__(self, why: str, path: Path = (), cure: str | None = None) -> None:
        super().__init__(why)
        self.path = path
        self.cure = cure


def lacking(key: str, value: str, needs: str, there: Sequence[str], path: Path) -> Impossible:
    """A disk or interface that is not there, and of which too little is said to make it.

    `key` is the word by which it is found; `needs` is what a new one needs; `there` are those of the VM.
    """
    has = f"it has {', '.join(there)}" if there else "it has none"
    why = f"no device of the VM has {key} {value} ({has}), and a new one needs {needs}"
    mistaken = f"write {key}: {there[0]}, or " if len(there) == 1 else ""
    return Impossible(why, path, f"{mistaken}add {needs}")
