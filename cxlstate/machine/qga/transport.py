"""A guest that is reached by its agent: single commands, and no conversation."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from cxlstate.core.answers import Answer
from cxlstate.core.diagnostic import CxlstateError, fail
from cxlstate.core.exit_status import NOT_FOUND
from cxlstate.core.read import LibvirtRead
from cxlstate.machine.posix.transport import LibvirtWrites, Lost, Reply, Stream
from cxlstate.machine.qga.ask import Ask, Denied, Silent, call
from cxlstate.machine.qga.run import PATIENCE, run

_NEEDED: Final = ("guest-exec", "guest-exec-status")
_HALF: Final = "VMs inside of a guest are not reached over its agent"


class AgentTransport:
    """Runs commands in a guest. Each is a process of the agent's own, as root."""

    accepted = None
    """No host key: the hypervisor itself is the way."""

    def __init__(self, ask: Ask, machine: str) -> None:
        self._ask = ask
        self._machine = machine
        self.libvirt = NoLibvirt()

    def connect(self) -> None:
        """Ask what the agent can do. Raises CxlstateError CXC124, CXC125."""
        try:
            said = call(self._ask, "guest-info", PATIENCE)
        except Silent as silent:
            raise self._silent(silent) from silent
        except Denied as denied:
            raise self._denied(str(denied)) from denied
        for name in _NEEDED:
            if (allowed := _allowed(said, name)) is not True:
                version = said.get("version") if isinstance(said, dict) else None
                why = f"is not in version {version}" if allowed is None else "has been disabled"
                raise self._denied(f"{name} {why}")

    def exchange(self, command: str, stdin: bytes, timeout: float, limit: int) -> Reply:
        """One command. Raises Lost, TooMuch, TimeoutError, and CxlstateError as `connect` does."""
        try:
            return run(self._ask, command, stdin, timeout, limit)
        except Silent as silent:
            raise Lost(str(silent)) from silent
        except Denied as denied:
            raise self._denied(str(denied)) from denied

    def start(self, command: str) -> Stream:
        """No conversation can be held. Raises Lost."""
        raise Lost("the guest agent runs single commands only")

    def close(self) -> None:
        """Nothing is held: the connection to libvirt is the host's."""

    def _silent(self, why: Exception) -> CxlstateError:
        vm = self._machine.rpartition("/")[2]
        return fail(
            "CXC124",
            f"guest agent of {self._machine} does not answer",
            machine=self._machine,
            found=str(why),
            expected="qemu-guest-agent running in the guest, and its channel in the VM",
            hint="in the guest: `systemctl start qemu-guest-agent`; on the host, `virsh dumpxml "
            f"{vm}` has to show a channel named org.qemu.guest_agent.0",
        )

    def _denied(self, found: str) -> CxlstateError:
        return fail(
            "CXC125",
            f"guest agent of {self._machine} runs no commands",
            machine=self._machine,
            found=found,
            expected="guest-exec and guest-exec-status to be allowed",
            hint="write `connect: {via: ssh}`; or allow both commands in the guest: BLOCK_RPCS or "
            "FILTER_RPC_ARGS in /etc/sysconfig/qemu-ga (RHEL, Fedora), block-rpcs in /etc/qemu/qemu-ga.conf",
        )


def _allowed(said: object, name: str) -> bool | None:
    """Whether a command may be used; None: the agent does not have it."""
    commands = said.get("supported_commands") if isinstance(said, dict) else None
    for one in commands if isinstance(commands, list) else ():
        if isinstance(one, dict) and one.get("name") == name:
            return one.get("enabled") is True
    return None


class NoLibvirt:
    """Nobody to ask about a guest's own guests."""

    def read(self, reads: Collection[LibvirtRead]) -> dict[LibvirtRead, Answer]:
        """That there is none, for all."""
        return dict.fromkeys(reads, Answer(NOT_FOUND, b"", _HALF))

    def writer(self) -> LibvirtWrites:
        """Raises Lost."""
        raise Lost(_HALF)

    def close(self) -> None:
        """Nothing is held."""
