# ruff: noqa: PLC0415  # the libraries of an adapter cost 100 ms and more
"""From `connect` in a spec to a machine that can be changed. Only `cli.converge` imports this."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxlstate.core.connect import Connect, Local, Sim, Ssh

if TYPE_CHECKING:
    from cxlstate.machine.writer import HostWriter, Progress


def open_writer(connect: Connect, name: str, *, progress: Progress) -> HostWriter:
    """Something that can change the machine, and holds its lock. Raises CxlstateError."""
    match connect:
        case Local():
            from cxlstate.machine.guest_writer import PosixHostWriter
            from cxlstate.machine.local import LocalTransport

            return PosixHostWriter(LocalTransport(), name, survives_reboot=False)
        case Ssh():
            from cxlstate.machine.guest_writer import PosixHostWriter
            from cxlstate.machine.ssh import SshTransport

            progress(f"connecting to {name}")
            return PosixHostWriter(SshTransport(connect, name), name, survives_reboot=True)
        case Sim(directory=directory):
            from cxlstate.simulator.writer import SimWriter

            return SimWriter(directory, name)
