"""What a machine can be asked: all that `plan`, `drift` and `show` are handed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from cxlstate.core.read import Answers, Question


class Reader(Protocol):
    """Asks a machine. Everything asked in one call is one exchange with it."""

    def read(self, reads: Collection[Question]) -> Answers:
        """Answers to all reads, duplicates dropped and commands merged.

        Raises CxlstateError (CXC…) where the machine cannot be reached or the exchange breaks. A
        single read that fails is no error: its answer carries the status.
        """
        ...

    def close(self) -> None:
        """End the connection. May be called twice."""
        ...
