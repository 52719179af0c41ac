"""What a machine can be asked: all that `plan`, `drift` and `show` are handed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.effect import Effect
from cxlstate.core.read import Answers, Read


class Reader(Protocol):
    """Asks a machine. Everything asked in one call is one exchange with it."""

    def read(self, reads: Collection[Read]) -> Answers:
        """Answers to all reads, duplicates dropped and commands merged.

        Raises CxlstateError (CXC…) where the machine cannot be reached or the exchange breaks. A
        single read that fails is no error: its answer carries the status.
        """
        ...

    def lacks(self, effect: type[Effect]) -> Diagnostic | None:
        """Why an effect of this type could not be performed on the machine from here; None: it could.

        Asked while planning. Who can also write knows more, and tells what nobody performs (CXE900), too.
        """
        ...

    def close(self) -> None:
        """End the connection. May be called twice."""
        ...
