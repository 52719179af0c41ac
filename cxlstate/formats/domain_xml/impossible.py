"""What cannot be had by an edit."""

from __future__ import annotations

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
