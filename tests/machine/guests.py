"""A host and its guest: two SSH servers, of which only the first can be reached from here.

Both are in a network namespace of their own, from whose loopback interface nothing leads here. Each
has its own /var/lib/cxlstate and /run; other files are this machine's.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from cxlstate.core.guest import HostKey
from cxlstate.formats import host_keys
from cxlstate.machine.qga.ask import Denied, Silent
from tests.machine import sshd

ADDRESS = "127.99.0.1"  # of the loopback interface there: nothing can leave this machine
PORT = 22

_SERVER = """
HostKey {key}
PidFile none
UsePAM no
StrictModes no
AuthorizedKeysFile {folder}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel VERBOSE
"""

_PRIVATE = """
mount --make-rprivate /
for there in /run /var/lib/cxlstate; do mkdir -p $there; mount -t tmpfs none $there; done
mkdir -p /run/sshd
"""


@dataclass
class Space:
    """Namespaces, and the process that keeps them."""

    process: subprocess.Popen[bytes]

    @property
    def enter(self) -> list[str]:
        return ["nsenter", f"--target={self.process.pid}", "--mount", "--net"]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)

    def run(self, *argv: str, **more):
        return subprocess.run([*self.enter, *argv], check=True, capture_output=True, **more)

    def read(self, path: str) -> str:
        return self.run("cat", path, text=True).stdout


def _space(*, network: Space | None = None) -> Space:
    """With a network of its own, or another's."""
    own = ["unshare", "--mount", "--net"] if network is None else ["unshare", "--mount"]
    join = [] if network is None else ["nsenter", f"--target={network.process.pid}", "--net"]
    script = f"set -e{_PRIVATE}ip link set lo up; echo ready; exec sleep infinity"
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", *join, *own, "sh", "-c", script], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    return Space(process)


class Host:
    """Serves connections to a port of the loopback interface, each by an sshd inside of the namespaces."""

    def __init__(self, folder: Path, space: Space) -> None:
        self.space = space
        self.folder = folder
        self.log = folder / "log"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._servers: list[subprocess.Popen[bytes]] = []
        self.configure("")
        threading.Thread(target=self._serve, daemon=True).start()

    def configure(self, more: str) -> None:
        config = _SERVER.format(key=self.folder / "host_key", folder=self.folder)
        (self.folder / "sshd_config").write_text(config + more)

    @property
    def connections(self) -> int:
        return len(self._servers)

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                with connection, self.log.open("ab") as log:
                    sshd_ = ["/usr/sbin/sshd", "-i", "-e", "-f", str(self.folder / "sshd_config")]
                    self._servers.append(
                        subprocess.Popen(
                            [*self.space.enter, *sshd_], stdin=connection, stdout=connection, stderr=log
                        )
                    )

    def stop(self) -> None:
        self._listener.close()
        for server in self._servers:
            server.terminate()
            server.wait(10)


@dataclass
class Pair:
    """The two, and the client's configuration."""

    folder: Path
    host: Host
    guest: Space
    server: subprocess.Popen[bytes]

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def guest_log(self) -> str:
        return (self.folder / "guest_log").read_text()

    def key(self, name: str = "guest_key") -> HostKey:
        """The guest's, as it is offered to who has no wishes."""
        return host_keys.parse((self.folder / f"{name}.pub").read_text())[0]

    def stop(self) -> None:
        self.server.terminate()
        self.server.wait(10)
        self.host.stop()
        for space in (self.guest, self.host.space):
            space.close()


def start(folder: Path) -> Pair:
    folder.chmod(0o700)
    for name in ("host_key", "guest_key", "user_key"):
        sshd.keygen(folder / name)
    sshd.keygen(folder / "guest_ecdsa", "ecdsa")
    (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
    outside = _space()
    inside = _space(network=outside)
    host = Host(folder, outside)
    sshd.trust(folder, f"[127.0.0.1]:{host.port}")
    user = os.environ.get("USER", "root")
    (folder / "ssh_config").write_text(
        f"Host box\n  HostName 127.0.0.1\n  Port {host.port}\n"
        f"Host *\n  User {user}\n  IdentityFile {folder}/user_key\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
    )
    (folder / "guest_config").write_text(
        f"ListenAddress {ADDRESS}\nHostKey {folder}/guest_ecdsa\n"
        + _SERVER.format(key=folder / "guest_key", folder=folder)
    )
    with (folder / "guest_log").open("wb") as log:
        server = subprocess.Popen(
            [*inside.enter, "/usr/sbin/sshd", "-D", "-e", "-f", folder / "guest_config", "-p", str(PORT)],
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    pair = Pair(folder, host, inside, server)
    for _ in range(400):
        assert server.poll() is None, pair.guest_log
        if "Server listening" in pair.guest_log:
            return pair
        time.sleep(0.05)
    raise AssertionError("the guest's sshd does not listen")


class Agent:
    """A real qemu-ga on a socket, and what libvirt does between us and it."""

    def __init__(self, folder: Path, *more: str, enter: tuple[str, ...] = ()) -> None:
        self.path = folder / "qga"
        self.calls: list[str] = []
        self._asking = threading.Lock()
        self.process = subprocess.Popen(
            [
                *enter,
                "qemu-ga",
                "-m",
                "unix-listen",
                "-p",
                self.path,
                "-t",
                folder,
                "-f",
                folder / "pid",
                *more,
            ],
            stderr=subprocess.DEVNULL,
        )
        for _ in range(400):
            if self.path.exists():
                return
            time.sleep(0.05)
        raise AssertionError("qemu-ga does not listen")

    def ask(self, command: str, patience: int) -> str:
        """One connection a command: the agent serves one at a time."""
        self.calls.append(json.loads(command)["execute"])
        with self._asking, closing(socket.socket(socket.AF_UNIX)) as line:
            line.settimeout(patience)
            try:
                line.connect(str(self.path))
                line.sendall(command.encode() + b"\n")
                answer = line.makefile().readline()
            except OSError as silent:
                raise Silent(str(silent)) from silent
        if "error" in (said := json.loads(answer)):
            raise Denied(said["error"]["desc"])
        assert len(answer) <= 4 << 20, "longer than libvirt's RPC carries"
        return answer

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)
