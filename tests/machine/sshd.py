"""A private sshd on the loopback interface: its own port, host key and authorized key."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Sshd:
    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def channels(self) -> int:
        """Sessions that were opened, by the server's own count."""
        return self.log.count("Starting session: command")

    def connections(self) -> int:
        return self.log.count("Connection from 127.0.0.1")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keygen(path: Path, kind: str = "ed25519") -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)


def start(folder: Path, more: str = "", enter: Sequence[str] = ()) -> Sshd:
    """Hosts of the client's configuration: `box`, and `behind` that is reached through `box`.

    `enter` is put before the server's own command.
    """
    folder.chmod(0o700)
    port = free_port()
    keygen(folder / "host_key")
    keygen(folder / "user_key")
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    Path("/run/sshd").mkdir(exist_ok=True)
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPermitRootLogin prohibit-password\n"
        f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nLogLevel VERBOSE\n{more}"
    )
    trust(folder, f"[127.0.0.1]:{port}")
    (folder / "ssh_config").write_text(
        f"Host *\n  HostName 127.0.0.1\n  Port {port}\n  User {os.environ.get('USER', 'root')}\n"
        f"  IdentityFile {folder}/user_key\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
        "  GlobalKnownHostsFile /dev/null\n"
        "Host behind\n  ProxyJump box\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*enter, "/usr/sbin/sshd", "-D", "-e", "-f", folder / "sshd_config", "-p", str(port)],
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    server = Sshd(folder, port, process)
    _await(server)
    return server


def trust(folder: Path, name: str) -> None:
    key = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"{name} {key}")


def _await(server: Sshd) -> None:
    """By its log: a probe would be counted as a connection."""
    for _ in range(200):
        assert server.process.poll() is None, server.log
        if "Server listening" in server.log:
            return
        time.sleep(0.05)
    raise AssertionError("sshd does not listen")
