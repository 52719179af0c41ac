"""Guest agents, as libvirt reaches them.

libvirt refuses `virDomainQemuAgentCommand` on a read-only connection (`virCheckReadOnlyGoto` in
src/libvirt-qemu.c), so that asking takes one that could write. It is this module's own, and hands
over nothing but agent commands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import libvirt
import libvirt_qemu

from cxlstate.machine.libvirt.connection import Broken, Connection, Unusable
from cxlstate.machine.libvirt.way import Way
from cxlstate.machine.posix.transport import Lost
from cxlstate.machine.qga.ask import Denied, Silent

_OPENING: Final = 60  # seconds for opening a connection, and for agreeing with the agent
_SILENT: Final = (
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
    libvirt.VIR_ERR_AGENT_UNSYNCED,
    getattr(libvirt, "VIR_ERR_AGENT_COMMAND_TIMEOUT", -1),
    libvirt.VIR_ERR_OPERATION_INVALID,  # the domain does not run
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,  # it has no channel for an agent
    libvirt.VIR_ERR_NO_DOMAIN,
)


class LibvirtAgents:
    """The agents of one machine's guests, over one connection that is kept."""

    def __init__(self, way: Callable[[], Way]) -> None:
        self._connection = Connection(way, read_only=False)

    def ask(self, vm: str, command: str, patience: int) -> str:
        """One command, once: it may have been done even where no answer came. Raises Silent, Denied, Lost."""

        def act(connection: libvirt.virConnect) -> str:
            answer: str = libvirt_qemu.qemuAgentCommand(connection.lookupByName(vm), command, patience, 0)
            return answer

        try:
            return self._connection.use(act, _OPENING + patience, again=False)
        except libvirt.libvirtError as error:
            kind = Silent if error.get_error_code() in _SILENT else Denied
            raise kind(str(error)) from error
        except (Unusable, ValueError) as nowhere:
            raise Silent(str(nowhere)) from nowhere
        except Broken as broken:
            raise Lost(str(broken)) from broken
        except TimeoutError as late:
            raise Silent("libvirt does not answer") from late

    def close(self) -> None:
        """End the connection."""
        self._connection.close()
