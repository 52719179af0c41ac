"""SSH with a guest: a second handshake, inside a channel of the connection to its host.

User, port and identity are those of the SSH configuration for a host called like the VM. Its `HostName`,
`ProxyJump` and known_hosts have no say: the way is the host, the address is what the VM exports, and the host
key is judged by what the hypervisor says.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import paramiko
from fabric import Connection

from cxlstate.core.connect import Ssh
from cxlstate.core.diagnostic import CxlstateError, fail
from cxlstate.core.guest import Accepted, CannotTell, Changed, HostKey, Route, Source, Verdict
from cxlstate.formats import host_keys
from cxlstate.formats.ssh_client import is_name
from cxlstate.machine.posix.transport import Lost
from cxlstate.machine.ssh import KEEPALIVE, SshTransport, prepare

if TYPE_CHECKING:
    from cxlstate.machine.guest import Channel, Passage

_REACHING: Final = 10.0  # seconds for each address

Judge = Callable[[HostKey], Verdict]


class GuestSsh(SshTransport):
    """Connects through `host` as often as needed; `accepted` is the host key of the last time."""

    def __init__(self, host: Passage, route: Route, judge: Judge) -> None:
        self._host = host
        self._route = route
        self._judge = judge
        self.accepted: Accepted | None = None
        alias = route.vm if is_name(route.vm) else "guest"
        super().__init__(Ssh(alias, route.through.user, route.through.port), route.machine)

    def _prepared(self) -> Connection:
        connection = prepare(self._connect, self._name, lambda _: None, self._gate)
        connection.gateway = None
        return connection

    def _open(self, connection: Connection) -> None:
        address, channel = self._channel_to(connection.port)
        where = f"{connection.user}@{address}:{connection.port}"
        connection.connect_kwargs |= {"sock": channel, "transport_factory": self._preferring_known}
        connection.client.set_missing_host_key_policy(_Judged(self._accept, where))
        try:
            connection.open()
        except (OSError, EOFError, paramiko.SSHException, ValueError) as refused:
            channel.close()
            raise self._explained(connection, where, refused) from refused
        connection.transport.set_keepalive(KEEPALIVE)

    def _channel_to(self, port: int) -> tuple[str, Channel]:
        """To the first of the guest's addresses that takes a connection."""
        failures = []
        for address in self._route.access.addresses:
            try:
                return address, self._host.channel(address, port, _REACHING)
            except TimeoutError:
                failures.append(f"{address}:{port} does not answer within {_REACHING:.0f} s")
            except Lost:
                raise
            except OSError as refused:
                failures.append(f"{address}:{port}: {refused.strerror or refused}")
        raise self._unreached(failures)

    def _preferring_known(self, *words: Any, **more: Any) -> paramiko.Transport:
        """Types of keys that are kept come first, so that the server offers one of those."""
        transport = paramiko.Transport(*words, **more)
        options = transport.get_security_options()
        kept = [kind for key in self._route.access.keys for kind in key.signatures]
        first = [kind for kind in dict.fromkeys(kept) if kind in options.key_types]
        options.key_types = [*first, *(kind for kind in options.key_types if kind not in first)]
        return transport

    def _accept(self, offered: HostKey, where: str) -> None:
        match self._judge(offered):
            case Accepted() as accepted:
                self.accepted = accepted
            case Changed() as changed:
                raise _Refused(self._changed(changed, where))
            case CannotTell() as unknown:
                raise _Refused(self._cannot_tell(unknown, where))

    def _changed(self, changed: Changed, where: str) -> CxlstateError:
        reasons = "".join(f"; {reason}" for reason in changed.reasons)
        return fail(
            "CXC120",
            f"host key of {self._name} changed",
            machine=self._name,
            found=f"{changed.found} at {where}",
            expected=f"{' or '.join(map(str, changed.expected))}, as {changed.by} says{reasons}",
            hint=self._cure(changed),
        )

    def _cure(self, changed: Changed) -> str:
        """What has the hypervisor confirm the key, as far as it can."""
        console = f"on its console (virsh console {shlex.quote(self._route.vm)} on the host)"
        if changed.by is Source.AGENT:
            return f"another machine may have its address: compare it with `ip -brief address` {console}"
        if self._route.access.agent:
            return (
                f"run {console}: `systemctl start qemu-guest-agent`; the next plan asks the agent for the key"
            )
        return self._by_hand()

    def _by_hand(self) -> str:
        """Keeps the key that is on the guest's disk, in place of all that were kept."""
        vm, kept = shlex.quote(self._route.vm), shlex.quote(host_keys.path(self._route.vm))
        public = "/etc/ssh/ssh_host_ed25519_key.pub"
        return f"while the VM is off: `virt-cat -d {vm} {public} | sudo install -D -m 600 /dev/stdin {kept}`"

    def _cannot_tell(self, unknown: CannotTell, where: str) -> CxlstateError:
        by_agent = "in the guest: `apt-get install qemu-guest-agent`, and plan again"
        return fail(
            "CXC121",
            f"host key of {self._name} is not known",
            machine=self._name,
            found=f"{unknown.found} at {where}; {'; '.join(unknown.reasons)}",
            expected="a key that the hypervisor confirms",
            hint=by_agent if self._route.access.agent else self._by_hand(),
        )

    def _unreached(self, failures: list[str]) -> CxlstateError:
        return fail(
            "CXC122",
            f"{self._name} cannot be reached from its host",
            machine=self._name,
            found="; ".join(failures) or "no address of it is known: no reservation, no lease",
            expected="an SSH server",
            hint=f"look at its console (virsh console {shlex.quote(self._route.vm)} on the host); "
            "or write `connect: {via: agent}`",
        )

    def _explained(self, connection: Connection, where: str, error: BaseException) -> CxlstateError:
        if isinstance(error, _Refused):
            return error.problem
        # So the library says that the greeting or the key exchange took too long.
        if isinstance(error.__context__, TimeoutError) or str(error) == "No existing session":
            return self._unreached([f"{where}: no SSH handshake within {connection.connect_timeout} s"])
        if isinstance(error, paramiko.AuthenticationException):
            return fail(
                "CXC106",
                f"authentication failed on {where}: the server accepted none of the keys",
                machine=self._name,
                found=str(error) or "authentication failed",
                expected=f"a key from the agent or ~/.ssh that the server accepts for {connection.user}",
                hint=f"name `IdentityFile` for `Host {self._connect.host}` in ~/.ssh/config, `user` in the "
                "spec; or write `connect: {via: agent}`",
            )
        return fail(
            "CXC123",
            f"SSH with {self._name} failed",
            machine=self._name,
            found=f"{where}: {str(error) or type(error).__name__}",
            expected="an SSH server",
            hint="what listens there? Ask on its console: `ss -tlnp`, `journalctl -u ssh`",
        )


class _Refused(paramiko.SSHException):
    """A host key was judged, and is not taken."""

    def __init__(self, problem: CxlstateError) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Judged(paramiko.MissingHostKeyPolicy):
    """Asks for every key, since the library is given none to know."""

    def __init__(self, accept: Callable[[HostKey, str], None], where: str) -> None:
        self._accept = accept
        self._where = where

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        self._accept(HostKey(key.get_name(), key.get_base64()), self._where)
