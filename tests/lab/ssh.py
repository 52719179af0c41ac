"""SSH to the emulated host: a configuration that verifies its key, and one shared connection per user."""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Literal

from tests.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

User = Literal["root", "admin", "reader"]

ALIASES: dict[User, str] = {"admin": "lab", "reader": "lab-reader", "root": "lab-root"}

_CONFIG = """\
Host lab
    User admin
Host lab-reader
    User reader
Host lab-root
    User root
Host lab lab-reader lab-root
    HostName 127.0.0.1
    Port {port}
    HostKeyAlias cxl-lab
Host 192.168.*
    User root
    HostKeyAlias cxl-guest
    ProxyJump lab-root
Host lab lab-reader lab-root guest 192.168.*
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    IdentityFile {identity}
    IdentitiesOnly yes
    PasswordAuthentication no
    ConnectTimeout 10
    KexAlgorithms curve25519-sha256
    LogLevel ERROR
"""


class Ssh:
    """Runs commands on the host as one of its users.

    `config` is an ordinary ssh_config with the aliases `lab` (admin, may sudo), `lab-reader` and
    `lab-root`, through which it reaches a guest by its address, and with the key for a VM called `guest`;
    anybody may use it with `ssh -F`. The shared connections are this object's own.
    """

    def __init__(self, directory: Path, sockets: Path, *, port: int) -> None:
        """Use the configuration in `directory`, keeping control sockets in the short path `sockets`."""
        self.config = directory / "ssh_config"
        self._directory = directory
        self._sockets = sockets
        self._port = port
        self._masters: dict[User, tuple[subprocess.Popen[bytes], Path]] = {}
        self._count = 0

    def configure(self, *, identity: Path, host_key: str, guest_key: str) -> None:
        """Write `ssh_config` and `known_hosts`."""
        known_hosts = f"cxl-lab {host_key}\ncxl-guest {guest_key}\n"
        (self._directory / "known_hosts").write_text(known_hosts)
        self.config.write_text(_CONFIG.format(port=self._port, directory=self._directory, identity=identity))

    def argv(self, user: User, *options: str) -> list[str]:
        """Return the command that opens a connection of its own as `user`."""
        return ["ssh", "-F", str(self.config), *options, ALIASES[user]]

    def run(
        self,
        command: Sequence[str] | str,
        *,
        user: User = "root",
        check: bool = True,
        input: str | None = None,  # noqa: A002 - the name subprocess.run gives it
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run an argument list, or a line of shell, on the host; `check` raises on a failure."""
        line = command if isinstance(command, str) else shlex.join(command)
        argv = [*self.argv(user, "-o", f"ControlPath={self._master(user)}"), line]
        try:
            result = subprocess.run(
                argv,
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            msg = f"no end after {timeout:g} s on the emulated host: {line}"
            raise LabError(msg) from error
        if check and result.returncode:
            msg = f"exit {result.returncode} on the emulated host: {line}\n{result.stderr}{result.stdout}"
            raise LabError(msg)
        return result

    def wait_banner(self, *, timeout: float) -> None:
        """Wait until an SSH server greets on the forwarded port."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=3) as connection:
                    if connection.recv(4) == b"SSH-":
                        return
            except OSError:
                pass
            time.sleep(0.2)
        msg = f"no SSH server answered within {timeout:g} s"
        raise LabError(msg)

    def disconnect(self) -> None:
        """End the shared connections: they do not outlive a boot."""
        for process, _ in self._masters.values():
            process.kill()
            process.wait()
        self._masters.clear()

    def _master(self, user: User) -> Path:
        """Return the control socket of the live connection of `user`, opening one if there is none."""
        process, path = self._masters.get(user, (None, self._sockets))
        if process is not None and process.poll() is None:
            return path
        self._count += 1
        path = self._sockets / f"ssh-{user}-{self._count}"
        process = subprocess.Popen(
            [*self.argv(user, "-M", "-N", "-S", str(path))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._masters[user] = (process, path)
        deadline = time.monotonic() + 30
        while not path.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return path
