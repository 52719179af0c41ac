# ruff: noqa: PLC0415  # the libraries of an adapter cost 100 ms and more
"""From what a spec says under `connect` to the machine. Each adapter is loaded only when needed."""

from __future__ import annotations

from cxlstate.core.connect import Connect, Local, Sim, Ssh
from cxlstate.machine.ports import Progress, Reader, Writer


def open_reader(connect: Connect, name: str) -> Reader:
    """Something that can be asked and cannot change anything. Connects at the first question."""
    match connect:
        case Local():
            from cxlstate.machine.local import LocalTransport
            from cxlstate.machine.posix.reader import PosixReader

            return PosixReader(LocalTransport(), name)
        case Ssh():
            from cxlstate.machine.posix.reader import PosixReader
            from cxlstate.machine.ssh import SshTransport

            return PosixReader(SshTransport(connect, name), name)
        case Sim(directory=directory):
            from cxlstate.machine.sim.machine import SimReader

            return SimReader(directory, name)


def open_writer(connect: Connect, name: str, *, progress: Progress) -> Writer:
    """Something that can change the machine, and holds its lock. Raises CxlstateError."""
    match connect:
        case Local():
            from cxlstate.machine.local import LocalTransport
            from cxlstate.machine.posix.writer import PosixWriter

            return PosixWriter(LocalTransport(), name, survives_reboot=False)
        case Ssh():
            from cxlstate.machine.posix.writer import PosixWriter
            from cxlstate.machine.ssh import SshTransport

            progress(f"connecting to {name}")
            return PosixWriter(SshTransport(connect, name), name, survives_reboot=True)
        case Sim(directory=directory):
            from cxlstate.machine.sim.machine import SimWriter

            return SimWriter(directory, name)
