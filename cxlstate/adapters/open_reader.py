# ruff: noqa: PLC0415  # the libraries of an adapter cost 100 ms and more
"""From `connect` in a spec to a machine that can be asked. Each adapter is loaded only when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cxlstate.core.connect import Connect, Local, Sim, Ssh
from cxlstate.machine import early

if TYPE_CHECKING:
    from cxlstate.machine.reader import HostReader

Opener = Callable[[Connect, str], "HostReader"]
"""How a machine of a name is opened for reading."""


def open_reader(connect: Connect, name: str) -> HostReader:
    """Something that can be asked and cannot change anything. Connects at the first question."""
    match connect:
        case Local():
            from cxlstate.machine.guest import host_reader
            from cxlstate.machine.local import LocalTransport

            return host_reader(LocalTransport(), name)
        case Ssh():
            from cxlstate.machine.guest import host_reader
            from cxlstate.machine.ssh import SshTransport

            return host_reader(SshTransport(connect, name), name)
        case Sim(directory=directory):
            from cxlstate.simulator.reader import SimReader

            return SimReader(directory, name)


@contextmanager
def ahead(expected: Ssh | None) -> Iterator[tuple[Opener, Callable[[], None]]]:
    """`open_reader`, for whose first use with `expected` the connection is being made meanwhile.

    It is made as far as the exchange of keys. What comes beside the opener has it go on to authenticate,
    and so does the first question.
    """
    if expected is None:
        early.dismiss()
        yield open_reader, lambda: None
        return
    from cxlstate.machine.apart import ApartTransport

    try:
        transport = ApartTransport(expected)
    except OSError:  # no process is left to start: then this one connects, later
        yield open_reader, lambda: None
        return

    def opener(connect: Connect, name: str) -> HostReader:
        from cxlstate.machine.guest import PosixHostReader

        if connect == expected:
            return PosixHostReader(transport, name, transport.guest)
        return open_reader(connect, name)

    try:
        yield opener, transport.authenticate
    finally:
        transport.close()
