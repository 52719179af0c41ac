"""From an open connection to a host into one of its guests.

`Passage` is what the connection offers; `reach` goes through it, by SSH or by the guest agent. Who vouches
for a guest's host key is asked on the way, and only where the host keeps no such key.
"""
# ruff: noqa: PLC0415  # SSH costs 100 ms to load, and a guest by its agent needs none

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from cxlstate.core.answers import ReadFailed
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.guest import Accepted, HostKey, Route, Said, Source, Verdict, judge
from cxlstate.core.read import File
from cxlstate.formats import host_keys
from cxlstate.machine.posix.reader import PosixReader
from cxlstate.machine.posix.transport import Exchanger, Lost, TooMuch
from cxlstate.machine.qga.ask import Ask, Denied, Silent
from cxlstate.machine.qga.run import content, run
from cxlstate.machine.qga.transport import AgentTransport

if TYPE_CHECKING:
    from cxlstate.machine.ssh_guest import GuestSsh

_PUBLIC: Final = "sh -c 'cat /etc/ssh/ssh_host_*_key.pub'"
_FILES: Final = tuple(f"/etc/ssh/ssh_host_{kind}_key.pub" for kind in ("ed25519", "ecdsa", "rsa"))
_LARGEST: Final = 64 << 10
_SECONDS: Final = 10


class Channel(Protocol):
    """What SSH needs of a socket."""

    def send(self, data: bytes, /) -> int:
        """Hand over some of it; how much."""
        ...

    def recv(self, size: int, /) -> bytes:
        """What has come, up to `size` bytes; nothing at the end."""
        ...

    def settimeout(self, seconds: float | None, /) -> None:
        """How long each of the two may wait."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Passage(Exchanger, Protocol):
    """An open connection to a host, with what leads on into its guests.

    Reading uses no more of it than `Through.via` says: the agent is asked where the spec says so, or where a
    host key that the host does not keep has to be confirmed.
    """

    def agent(self, vm: str) -> Ask:
        """A VM's guest agent, over a connection of its own to libvirt, which could write."""
        ...

    def channel(self, address: str, port: int, patience: float) -> Channel:
        """A TCP connection that the host makes. Raises Lost, and OSError where it leads nowhere."""
        ...


def reach(host: Passage, name: str, route: Route) -> GuestSsh | AgentTransport:
    """A guest, connected. `name` is the host's. Raises CxlstateError (CXC106, CXC12x), Lost."""
    ask = host.agent(route.vm)
    transport: GuestSsh | AgentTransport
    if route.through.via == "agent":
        transport = AgentTransport(ask, route.machine)
    else:
        from cxlstate.machine.ssh_guest import GuestSsh

        transport = GuestSsh(host, route, partial(_judge, host, name, route, ask))
    transport.connect()
    return transport


def _judge(host: Passage, name: str, route: Route, ask: Ask, offered: HostKey) -> Verdict:
    sources: list[tuple[Source, Callable[[], Said]]] = [
        (Source.AGENT, partial(_agent, route, ask)),
        (Source.CONSOLE, partial(_console, host, name, route)),
    ]
    return judge(offered, route.access.keys, sources)


def _agent(route: Route, ask: Ask) -> Said:
    """By a command, or where those are blocked by the agent's own calls."""
    if not route.access.agent:
        return Said(reason="the VM has no channel for a guest agent")
    try:
        try:
            text = run(ask, _PUBLIC, b"", _SECONDS, _LARGEST).stdout
        except Denied:
            text = b"\n".join(_public(ask, path) for path in _FILES)
    except (Silent, Denied, Lost, TooMuch, TimeoutError) as failed:
        return Said(reason=f"the guest agent does not tell: {failed or 'no answer'}")
    except CxlstateError as failed:  # libvirt-python is missing here
        return Said(reason=f"the guest agent cannot be asked: {failed.diagnostics[0].message}")
    keys = host_keys.parse(text.decode("utf-8", "replace"))
    return Said(keys, "the guest agent finds no /etc/ssh/ssh_host_*_key.pub")


def _public(ask: Ask, path: str) -> bytes:
    """Nothing, where there is no such file but files can be read."""
    try:
        return content(ask, path, _LARGEST)
    except Denied as denied:
        if "No such file" in str(denied):
            return b""
        raise


def _console(host: Passage, name: str, route: Route) -> Said:
    """What cloud-init printed, in the log that libvirt keeps on the host; rotated once by virtlogd."""
    path = route.access.console
    if not path:
        return Said(reason="its serial console is not logged to a file on the host")
    reads = (File(f"{path}.0"), File(path))
    try:
        answers = PosixReader(host, name).read(reads)
        log = "".join(answers.text_or_none(read) or "" for read in reads)
    except (ReadFailed, CxlstateError) as failed:
        return Said(reason=f"the log of its serial console cannot be read: {failed}")
    return Said(host_keys.on_console(log), f"no host keys in the log of its serial console ({path})")


class GuestExchanger(Exchanger, Protocol):
    """A guest that was reached."""

    @property
    def accepted(self) -> Accepted | None:
        """The host key that it was reached by, if it has one."""
        ...


class PosixGuestReader(PosixReader):
    """Asks a guest in the same words as any machine."""

    def __init__(self, transport: GuestExchanger, name: str) -> None:
        super().__init__(transport, name)
        self._reached = transport

    @property
    def accepted(self) -> Accepted | None:
        """The host key that it was reached by, if it has one."""
        return self._reached.accepted


class PosixHostReader(PosixReader):
    """Asks a host, and leads on into its guests by `lead`."""

    def __init__(self, transport: Exchanger, name: str, lead: Callable[[Route], GuestExchanger]) -> None:
        super().__init__(transport, name)
        self._lead = lead

    def guest(self, route: Route) -> PosixGuestReader:
        """A guest, connected."""
        return PosixGuestReader(self._lead(route), route.machine)


def host_reader(host: Passage, name: str) -> PosixHostReader:
    """A host that is reached from this process."""
    return PosixHostReader(host, name, partial(reach, host, name))
