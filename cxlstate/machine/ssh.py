"""Machines over SSH, by fabric: the only module that knows it, paramiko or invoke.

Connects the way `ssh` would: `~/.ssh/config` (or the file that CXLSTATE_SSH_CONFIG names), agent and
key files, jump hosts. Host keys are verified on every hop, and nothing is ever asked for: a missing
key or password is an error.
"""

from __future__ import annotations

import logging
import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import paramiko
from fabric import Config, Connection
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from cxlstate.core.connect import Ssh
from cxlstate.core.diagnostic import CxlstateError, fail
from cxlstate.machine import known_hosts, ssh_config
from cxlstate.machine.aside import Aside
from cxlstate.machine.libvirt.access import through
from cxlstate.machine.line import UNANSWERED, Line, ProxyLine
from cxlstate.machine.posix.transport import Lost, Reply
from cxlstate.machine.qga.ask import Ask
from cxlstate.machine.ssh_channel import WINDOW, SshStream, forwarded, lost, receive_all, send_all
from cxlstate.machine.ssh_words import parsed, refusing

CONNECT_TIMEOUT = 10
"""Seconds for reaching the port."""

ANSWER_TIMEOUT = 60
"""Seconds for each of greeting, authentication and a channel: a loaded machine takes its time for them."""

KEEPALIVE = 15
"""Seconds of silence after which a sign of life is sent."""


class SshTransport:
    """One connection, made when it is first needed, and one channel for each command.

    `before_authentication` returns once the server may be told who we are, on every hop.
    """

    def __init__(
        self, connect: Ssh, name: str, before_authentication: Callable[[], object] = lambda: None
    ) -> None:
        self._connect = connect
        self._gate = before_authentication
        self._name = name
        self._connection: Connection | None = None
        self._connecting = threading.Lock()
        self.libvirt = through(self.start)
        _silence()

    def connect(self) -> None:
        """Connect now, and not when it is first needed. Raises CxlstateError (CXC1…)."""
        self._connected()

    def exchange(self, command: str, stdin: bytes, timeout: float, limit: int) -> Reply:
        """One channel: send and receive at the same time, so that neither end waits for the other."""
        deadline = time.monotonic() + timeout
        with lost():
            channel = self._channel(command)
            sender = threading.Thread(target=send_all, args=(channel, stdin), daemon=True)
            sender.start()
            try:
                stdout, stderr = receive_all(channel, deadline, limit)
                if not channel.status_event.wait(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                status = channel.recv_exit_status()
            finally:
                channel.close()
        if status < 0:
            raise Lost("the connection was closed before the command ended")
        return Reply(status, stdout, stderr)

    def start(self, command: str) -> SshStream:
        """Begin a conversation on a channel of its own."""
        with lost():
            return SshStream(self._channel(command))

    def close(self) -> None:
        """End the connection and those to the jump hosts."""
        self.libvirt.close()
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        while isinstance(connection, Connection):
            with suppress(Exception):  # nothing that goes wrong while leaving matters
                connection.close()
            connection = connection.gateway

    def _channel(self, command: str) -> paramiko.Channel:
        connection = self._connected()
        channel: paramiko.Channel = connection.transport.open_session(window_size=WINDOW)
        try:  # aside, since the library waits for ever for the answer
            Aside(lambda: channel.exec_command(command)).result(ANSWER_TIMEOUT)
        except TimeoutError:
            channel.close()
            raise Lost(f"the server did not answer within {ANSWER_TIMEOUT} s") from None
        return channel

    def channel(self, address: str, port: int, patience: float) -> paramiko.Channel:
        """A TCP connection that the machine makes. Raises Lost, and OSError where it leads nowhere."""
        return forwarded(self._connected().transport, address, port, patience)

    def agent(self, vm: str) -> Ask:
        """The guest agent of one of its VMs."""
        return partial(self.libvirt.agent, vm)

    def _connected(self) -> Connection:
        with self._connecting:
            if self._connection is None or not self._connection.is_connected:
                self._disconnect()
                self._connection = connection = self._prepared()
                self._open(connection)
            return self._connection

    def _prepared(self) -> Connection:
        return prepare(self._connect, self._name, _trust, self._gate)

    def _open(self, connection: Connection) -> None:
        _open(connection, self._name, self._gate)


def _silence() -> None:
    """What the library would say on standard error is said by our diagnostics."""
    log = logging.getLogger("paramiko")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())


# Preparing: everything that is decided before the first packet.


def prepare(
    connect: Ssh, name: str, trust: Callable[[Connection], None], gate: Callable[[], object]
) -> Connection:
    """The connection as the configuration wants it, not yet open. `trust` gives each hop its host keys."""
    with refusing(name):
        settings = parsed(ssh_config.files(), gate)
        # Lazy: fabric's own configuration files and variables have no say in this.
        config = Config(lazy=True, ssh_config=settings)
        connection = Connection(connect.host, user=connect.user, port=connect.port, config=config)
        if connection.ssh_config.get("proxyjump", "").lower() == "none":
            connection.gateway = None
        hop: object = connection
        while isinstance(hop, Connection):
            _settle(hop)
            trust(hop)
            hop = hop.gateway
        return connection


def _settle(hop: Connection) -> None:
    """Keys to authenticate with, limits of time, and no host key that is trusted yet."""
    words = hop.ssh_config
    hop.client.set_missing_host_key_policy(_Refuse())
    hop.connect_timeout = int(words.get("connecttimeout", CONNECT_TIMEOUT))
    hop.connect_kwargs = {
        "key_filename": list(filter(_is_file, words.get("identityfile", []))),
        "look_for_keys": words.get("identitiesonly", "no") != "yes",
        "banner_timeout": int(words.get("connecttimeout", ANSWER_TIMEOUT)),
        "auth_timeout": max(hop.connect_timeout, ANSWER_TIMEOUT),
        "channel_timeout": max(hop.connect_timeout, ANSWER_TIMEOUT),
    }
    hop.forward_agent = False


def _trust(hop: Connection) -> None:
    """The host keys that the user's files know."""
    wanted = _host_key_name(hop)
    for key in _known_keys(hop.ssh_config, hop.ssh_config.get("hostkeyalias", wanted)):
        hop.client.get_host_keys().add(wanted, key.get_name(), key)


def _is_file(path: str) -> bool:
    return Path(os.path.expanduser(path)).is_file()  # noqa: PTH111  # an unknown user is no error


def _host_key_name(hop: Connection) -> str:
    return str(hop.host) if hop.port == paramiko.config.SSH_PORT else f"[{hop.host}]:{hop.port}"


def _known_keys(words: dict[str, str], host: str) -> Iterator[paramiko.PKey]:
    files = [path for path in known_hosts.files(words) if path.is_file()]
    lines = [line for path in files for line in path.read_text(errors="replace").splitlines()]
    for kind, key in known_hosts.keys(lines, host):
        with suppress(paramiko.SSHException, ValueError, InvalidHostKey):  # a kind that is too new
            entry = HostKeyEntry.from_line(f"{host} {kind} {key}")
            if entry:
                yield entry.key


class _UnknownHostKey(paramiko.SSHException):
    def __init__(self, key: paramiko.PKey) -> None:
        super().__init__("unknown host key")
        self.key = key


class _Refuse(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> NoReturn:
        raise _UnknownHostKey(key)


class _Gated(paramiko.Transport):
    """Waits between the exchange of keys and everything after it."""

    def __init__(self, gate: Callable[[], object], *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self._gate = gate

    def start_client(self, event: threading.Event | None = None, timeout: float | None = None) -> None:
        super().start_client(event, timeout)
        self._gate()


# Opening: hop by hop, so that an error names the one it is about.


def _open(connection: Connection, name: str, gate: Callable[[], object]) -> None:
    before = connection.gateway
    if isinstance(before, Connection) and not before.is_connected:
        _open(before, name, gate)
    elif before is not None:  # a ProxyCommand, which may authenticate anywhere
        gate()

    def factory(*words: Any, **more: Any) -> paramiko.Transport:
        return _Gated(gate, *words, **more)

    connection.connect_kwargs["transport_factory"] = factory
    try:
        if isinstance(before, str):
            connection.gateway = None  # or else the library runs it, and does not notice its end
            connection.connect_kwargs["sock"] = ProxyLine(before)
        elif before is None:
            connection.connect_kwargs["sock"] = Line(
                connection.host, connection.port, connection.connect_timeout, UNANSWERED
            )
        connection.open()
    except (OSError, EOFError, paramiko.SSHException, ValueError) as refused:
        problem = _explain(connection, name, refused)
        connection.close()
        if isinstance(line := connection.connect_kwargs.get("sock"), ProxyLine):
            line.close()
        raise problem from refused
    connection.transport.set_keepalive(KEEPALIVE)


def _explain(hop: Connection, name: str, error: BaseException) -> CxlstateError:
    """A failed hop in words: which, what was found, what to do."""
    where = f"{hop.user}@{hop.host}:{hop.port}"
    # So the library says that the greeting or the key exchange took too long.
    if isinstance(error.__context__, TimeoutError) or str(error) == "No existing session":
        error = TimeoutError()
    by_hand = f"try `ssh {_as_ssh(hop)} true`"
    match error:
        case _UnknownHostKey(key=key):
            known = hop.ssh_config.get("hostkeyalias", _host_key_name(hop))
            return known_hosts.unknown(name, f"{hop.host}:{hop.port}", _shown(key), known, _as_ssh(hop))
        case paramiko.BadHostKeyException(key=key, expected_key=expected):
            return known_hosts.changed(
                name, f"{hop.host}:{hop.port}", _shown(key), _shown(expected), _cure(hop)
            )
        case paramiko.AuthenticationException():
            return fail(
                "CXC106",
                f"authentication failed on {where}: the server accepted none of the keys",
                machine=name,
                found=str(error) or "authentication failed",
                expected="a key from the agent or ~/.ssh that the server accepts (no password is asked for)",
                hint=f"`ssh-copy-id {_as_ssh(hop)}` puts yours there; {by_hand}",
            )
        case paramiko.ChannelException() | paramiko.ProxyCommandFailure():
            return fail(
                "CXC107",
                f"the jump host cannot reach {where}",
                machine=name,
                found=str(error),
                expected="a connection through it",
                hint=f"look at ProxyJump in the SSH configuration, AllowTcpForwarding there; {by_hand}",
            )
        case _ if isinstance(line := hop.connect_kwargs.get("sock"), ProxyLine):
            return fail(
                "CXC110",
                f"ProxyCommand does not lead to {where}",
                machine=name,
                found=line.complaint() or str(error) or "it ended",
                expected="a program that passes its input and output on to an SSH server",
                hint=f"look at ProxyCommand in the SSH configuration; {by_hand}",
            )
        case socket.gaierror():
            return fail(
                "CXC101",
                f"cannot resolve host name {hop.host}",
                machine=name,
                found=str(error.strerror),
                expected="a name that resolves, or an alias of the SSH configuration",
                hint="look at `connect` in the spec for a slip; an IP address will do as well",
            )
        case TimeoutError():
            return fail(
                "CXC103",
                f"{where} does not answer",
                machine=name,
                found=f"no SSH handshake within {hop.connect_timeout} s",
                expected="an SSH server",
                hint=f"is it switched on, and is no firewall in between? {by_hand}",
            )
        case OSError():
            return fail(
                "CXC102",
                f"{where} cannot be reached",
                machine=name,
                found=error.strerror or str(error),
                expected="an SSH server",
                hint=f"is sshd running there, and on this port? {by_hand}",
            )
    return fail(
        "CXC108",
        f"SSH with {where} failed",
        machine=name,
        found=str(error) or type(error).__name__,
        hint=by_hand,
    )


def _as_ssh(hop: Connection) -> str:
    """The arguments with which `ssh` would go there."""
    port = "" if str(hop.port) == str(hop.ssh_config.get("port", 22)) else f"-p {hop.port} "
    user = "" if hop.user == hop.ssh_config.get("user", hop.config.user) else f"{hop.user}@"
    named = os.environ.get("CXLSTATE_SSH_CONFIG")
    config = f"-F {shlex.quote(named)} " if named else ""
    return f"{config}{port}{shlex.quote(f'{user}{hop.original_host}')}"


def _shown(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.fingerprint}"


def _cure(hop: Connection) -> str:
    """Commands that forget the host's key, and ask about the new one."""
    files = [str(path) for path in known_hosts.files(hop.ssh_config) if path.is_file()]
    target = hop.ssh_config.get("hostkeyalias", _host_key_name(hop))
    return f"ssh-keygen -R {shlex.quote(target)} -f {shlex.quote(files[0])}; ssh {_as_ssh(hop)} true"
