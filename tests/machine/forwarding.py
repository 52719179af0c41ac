"""A host in namespaces of its own, with a client outside and guests on a bridge, as libvirt would have them.

Packets, nftables and iptables are the kernel's. Only systemd is played by a few lines, since none runs there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

HOST_OUTSIDE: Final = "198.51.100.1"
HOST_INSIDE: Final = "192.168.122.1"
GUESTS: Final = {"g1": "192.168.122.101", "g2": "192.168.122.102"}
CLIENT: Final = "198.51.100.9"

# What an apply writes is on a file system of the namespace.
_INSIDE: Final = r"""
set -e
mount --make-rprivate /
mkdir -p "$1/upper" "$1/work" "$1/state"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" /etc
mount --bind "$1/state" /var/lib/cxlstate
mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys
printf '%s\n' "$2" >/run/systemctl
chmod +x /run/systemctl
mount --bind /run/systemctl /usr/bin/systemctl
ip link set lo up
echo "$$"
exec cat
"""
_SYSTEMCTL: Final = r"""#!/bin/sh
wants=/run/enabled
case $1 in
    show)
        for unit; do
            case $unit in *.service) ;; *) continue ;; esac
            enabled=
            [ ! -e "$wants/$unit" ] || enabled=enabled
            printf 'Id=%s\nLoadState=loaded\nActiveState=inactive\nUnitFileState=%s\nResult=success\n' \
                "$unit" "$enabled"
            printf 'NeedDaemonReload=no\nStateChangeTimestamp=\n\n'
        done
        ;;
    enable) mkdir -p "$wants" && touch "$wants/$2" ;;
    disable) rm -f "$wants/$2" ;;
    is-active) exit 3 ;;
esac
"""
_SERVER: Final = r"""
import socket, sys, threading
def serve(kind, port):
    listening = socket.socket(socket.AF_INET, kind)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("0.0.0.0", port))
    if kind == socket.SOCK_STREAM:
        listening.listen(16)
    ready.release()
    while True:
        if kind == socket.SOCK_STREAM:
            connection, peer = listening.accept()
            with connection:
                connection.sendall(f"{sys.argv[1]} {port} {peer[0]}".encode())
        else:
            _, peer = listening.recvfrom(100)
            listening.sendto(f"{sys.argv[1]} {port} {peer[0]}".encode(), peer)
ready = threading.Semaphore(0)
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    for port in map(int, sys.argv[2:]):
        threading.Thread(target=serve, args=(kind, port), daemon=True).start()
        ready.acquire()
print("ready", flush=True)
sys.stdin.read()
"""
_CONNECT: Final = r"""
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
connection = socket.socket(socket.AF_INET, kind)
connection.settimeout(2)
try:
    connection.connect((sys.argv[2], int(sys.argv[3])))
    if sys.argv[1] == "udp":
        connection.send(b"?")
    print(connection.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""


class Namespace:
    """A process that holds a network namespace, and what runs in it."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "unshare", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.pid = int(self.process.stdout.readline())
        self.enter: tuple[str, ...] = ("nsenter", f"--target={self.pid}", "--net")

    def run(self, *argv: str, text: str | None = None, check: bool = True) -> str:
        done = subprocess.run([*self.enter, *argv], input=text, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout

    def sh(self, script: str) -> str:
        return self.run("sh", "-ec", script)

    def connect(self, address: str, port: int, protocol: str = "tcp") -> str:
        """What answers, or the class of the error."""
        return self.run(sys.executable, "-c", _CONNECT, protocol, address, str(port)).strip()

    def stop(self) -> None:
        end(self.process)


class Host(Namespace):
    """The host, its client and its guests."""

    def __init__(self, folder: Path) -> None:
        super().__init__("--mount", "--net", "sh", "-c", _INSIDE, "host", str(folder), _SYSTEMCTL)
        self.enter = (*self.enter, "--mount", f"--wdns={Path.cwd()}")
        self.folder = folder
        self.servers: list[subprocess.Popen[str]] = []
        self.client = self._peer("c0", HOST_OUTSIDE, CLIENT)
        self.sh(f"ip link add virbr0 up type bridge; ip address add {HOST_INSIDE}/24 dev virbr0")
        self.guests = {name: self._guest(name, address) for name, address in GUESTS.items()}

    def _peer(self, port: str, ours: str, theirs: str) -> Namespace:
        peer = Namespace("--net", "sh", "-c", "echo $$; exec cat")
        self.sh(f"ip link add {port} type veth peer name eth0 netns {peer.pid}; ip link set {port} up")
        peer.sh(f"ip link set lo up; ip address add {theirs}/24 dev eth0; ip link set eth0 up")
        peer.sh(f"ip route add default via {ours}")
        if port == "c0":
            self.sh(f"ip address add {ours}/24 dev {port}")
        return peer

    def _guest(self, name: str, address: str) -> Namespace:
        guest = Namespace("--net", "sh", "-c", "echo $$; exec cat")
        self.sh(
            f"ip link add v{name} type veth peer name eth0 netns {guest.pid};"
            f"ip link set v{name} master virbr0 up"
        )
        guest.sh(f"ip link set lo up; ip address add {address}/24 dev eth0; ip link set eth0 up")
        guest.sh(f"ip route add default via {HOST_INSIDE}")
        server = subprocess.Popen(
            [*guest.enter, sys.executable, "-c", _SERVER, name, "8080", "9000", "9001"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        assert server.stdout.readline().strip() == "ready"
        self.servers.append(server)
        return guest

    def cxlstate(self, *words: str) -> tuple[int, str]:
        """Run in it, as root of the machine that it is."""
        done = subprocess.run(
            [*self.enter, sys.executable, "-m", "cxlstate", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def stop(self) -> None:
        for one in (*self.servers, *(peer.process for peer in (*self.guests.values(), self.client))):
            end(one)
        super().stop()


def end(process: subprocess.Popen[str]) -> None:
    with process:  # its pipes are closed
        process.kill()
