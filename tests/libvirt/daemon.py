"""A libvirtd of our own: real drivers, networks and guests, out of everybody's way.

It lives in namespaces: its files are in a folder, its network leads nowhere, and all of its processes,
guests included, end with the first of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# The first process of the namespaces takes in what others leave behind. It starts the daemon again
# when that was killed, unless told to leave it.
_INSIDE = r"""
set -eu
cd "$1"
mount --make-rprivate /
for there in run/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt etc/libvirt; do
    mkdir -p "/$there" "$1/$there"
    mount --bind "$1/$there" "/$there"
done
for file in passwd group; do
    cp "/etc/$file" "$1/$file"
    chmod 644 "$1/$file"
done
echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>passwd
echo 'libvirt-qemu:x:64055:' >>group
for file in passwd group; do mount --bind "$1/$file" "/etc/$file"; done
ip link set lo up
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
stdio_handler = "file"
END
cat >/etc/libvirt/libvirtd.conf <<END
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
END
while :; do
    libvirtd --pid-file "$1/pid" --config /etc/libvirt/libvirtd.conf &
    wait $! || :
    while [ -e "$1/down" ]; do sleep 0.02; done
done
"""


@dataclass
class Daemon:
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.folder}/run/libvirt/libvirt-sock"

    @property
    def log(self) -> str:
        return (self.folder / "var/log/libvirt/libvirtd.log").read_text()

    @property
    def enter(self) -> list[str]:
        """Before a command: it sees the daemon's files, and this machine's network."""
        return ["nsenter", f"--target={self._first}", "--mount", "--pid"]

    @property
    def _first(self) -> int:
        return _children(self.process.pid)[0]

    @property
    def _libvirtd(self) -> int:
        return next(pid for pid in _children(self._first) if _name(pid) == "libvirtd")

    def kill(self) -> None:
        """As the kernel does it when memory is short. It is started again at once."""
        before = self._libvirtd
        os.kill(before, signal.SIGKILL)
        _await(lambda: before not in _children(self._first))

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It is there, and says nothing."""
        pid = self._libvirtd
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def down(self) -> Iterator[None]:
        """It was killed, and comes back at the end."""
        (self.folder / "down").touch()
        try:
            self.kill()
            yield
        finally:
            (self.folder / "down").unlink()
            self.await_up()

    def await_up(self) -> None:
        """By a client, since the socket may be that of one that was killed."""
        ask = ["virsh", "-c", self.uri, "uri"]
        _await(lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)


def start(folder: Path) -> Daemon:
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--net", "--pid"),
                *("--fork", "--mount-proc", "--kill-child"),
                "sh",
                "-c",
                _INSIDE,
                "libvirt",
                folder,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    daemon = Daemon(folder, process)
    daemon.await_up()
    return daemon


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _await(holds, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
