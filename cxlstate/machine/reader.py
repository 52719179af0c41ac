"""What a machine can be asked: all that `plan`, `drift` and `show` are handed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from cxlstate.core.answers import Answers
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.effect import Effect
from cxlstate.core.guest import Accepted, Route
from cxlstate.core.read import Question


class Reader(Protocol):
    """Asks a machine. Everything asked in one call is one exchange with it."""

    def read(self, reads: Collection[Question]) -> Answers:
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


class GuestReader(Reader, Protocol):
    """Asks a guest."""

    @property
    def accepted(self) -> Accepted | None:
        """The host key that it was reached by; None of one that has none (agent, simulated)."""
        ...


class HostReader(Reader, Protocol):
    """Asks a host, and leads on into its guests."""

    def guest(self, route: Route) -> GuestReader:
        """A guest, over the connection that is open; it is closed by itself, and before the host.

        Connects. Several may be opened and asked at the same time. Raises CxlstateError: CXC120 where its
        host key changed, CXC106 where it lets us not in; CXC12x else: it cannot be reached, or it cannot be
        told whether it is the guest, and so all of it is unknown.
        """
        ...
