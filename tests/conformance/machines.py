"""The machines that every fact is checked on, and the few ways in which they may differ."""

from __future__ import annotations

import json
import shutil
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from cxlstate.adapters.open_reader import open_reader
from cxlstate.adapters.open_writer import open_writer
from cxlstate.core.action import Effect, Generate, RemoveFile, Run, WriteFile
from cxlstate.core.answers import Answer
from cxlstate.core.connect import Sim, Ssh
from cxlstate.core.read import Command, File, Read
from cxlstate.machine.outcome import Entry, Outcome
from cxlstate.machine.reader import Reader
from cxlstate.machine.writer import Writer
from cxlstate.simulator.default import create
from tests.lab.host import LabHost

ENTRY = Entry("conformance", ("test",), "a conformance fact", "live")
HOLDER = "sleep 3600"
DNSMASQ = (
    "/usr/sbin/dnsmasq --conf-file=/var/lib/libvirt/dnsmasq/{}.conf"
    " --leasefile-ro --dhcp-script=/usr/lib/libvirt/libvirt_leaseshelper"
)
GRUB_CFG = "/boot/grub/grub.cfg"

# Units that every machine has: one runs, one fails, one could be reloaded. The lab gets them as files, the
# simulator as state.
UNITS = {
    "fact-runs.service": "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
    "fact-fails.service": (
        "[Service]\nType=oneshot\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n"
    ),
    "fact-reloads.service": "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n",
}
# The small packages of the lab's archive, as the simulator has them.
PACKAGES = [
    {"name": "cxlstate-demo", "version": "1.0", "architecture": "all"},
    {"name": "cxlstate-demo", "version": "2.0", "architecture": "all"},
    {"name": "cxlstate-broken", "version": "1.0", "architecture": "all", "broken": True},
    *(
        {
            "name": f"cxlstate-provider-{letter}",
            "version": "1.0",
            "architecture": "all",
            "provides": ["cxlstate-virtual"],
            "conflicts": ["cxlstate-virtual"],
        }
        for letter in "ab"
    ),
]


@dataclass(frozen=True)
class Names:
    """What is called differently on the machines."""

    soft_reserved: str  # where its Soft Reserved range begins, as a number of memmap=
    kvm: str  # the module that uses the module kvm
    held_back: str  # a module that is built in


class Subject(ABC):
    """One machine, with its reader and writer and what only a test needs."""

    names: Names
    writer: Writer

    def reboot(self) -> None:
        self.writer.reboot(ENTRY, lambda _: None)

    @abstractmethod
    def snapshot(self, name: str) -> None: ...

    @abstractmethod
    def restore(self, name: str) -> None: ...

    def answer(self, read: Read) -> Answer:
        return self.writer.read([read]).raw(read)

    def text(self, path: str) -> str:
        return self.writer.read([File(path)]).text(File(path))

    def ask(self, *argv: str, operands: tuple[str, ...] = ()) -> Answer:
        return self.answer(Command(argv, operands))

    def perform(self, effect: Effect) -> Outcome:
        return self.writer.perform(effect, ENTRY)

    def run(self, *argv: str) -> Outcome:
        """Words as they are without a terminal, and without sudo."""
        outcome = self.perform(Run(argv, environment=(("DEBIAN_FRONTEND", "noninteractive"),)))
        said = outcome.output.replace("\r\n", "\n").replace("run 'sudo dpkg ", "run 'dpkg ")
        return replace(outcome, output=said)

    def write(self, path: str, text: str, mode: int = 0o644) -> Outcome:
        answer = self.answer(File(path))
        expected = sha256(answer.stdout).hexdigest() if answer.status == 0 else None
        return self.perform(WriteFile(path, text.encode(), expected, mode))

    def remove(self, path: str) -> Outcome:
        return self.perform(RemoveFile(path, sha256(self.text(path).encode()).hexdigest()))

    def generate(self, *, foreign: bool = True) -> Outcome:
        before = self.text(GRUB_CFG).encode()
        expected = sha256(before).hexdigest()
        argv = ("grub-mkconfig", "-o")
        return self.perform(Generate(GRUB_CFG, argv, before, expected=expected, foreign=foreign))

    @contextmanager
    @abstractmethod
    def unprivileged(self) -> Iterator[Reader]: ...

    @abstractmethod
    def held(self, device: str) -> AbstractContextManager[int]: ...

    @abstractmethod
    def locked(self, path: str) -> AbstractContextManager[int]:
        """Somebody writes to an image; the process."""

    @abstractmethod
    def served(self, path: str) -> AbstractContextManager[str]:
        """A file of the machine can be fetched by it; the URL."""

    @abstractmethod
    def stray(self, bridge: str, mac: str) -> None:
        """There is a bridge that libvirt knows nothing of."""

    @abstractmethod
    def serve(self, network: str, bridge: str) -> None:
        """There is a dnsmasq of a network that libvirt knows nothing of."""

    @abstractmethod
    def mode(self, path: str) -> int: ...

    @abstractmethod
    def link(self, path: str, target: str) -> None: ...

    @abstractmethod
    def interrupt_dpkg(self) -> None: ...

    @abstractmethod
    def offline(self, *, away: bool) -> None: ...


class Simulated(Subject):
    """The simulator's default host, with the units and packages of the lab."""

    names = Names(soft_reserved="322G", kvm="kvm_intel", held_back="8250")

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        create(directory)
        with self._edited() as world:
            world["archive"]["packages"] += PACKAGES
            for name in UNITS:
                fails = name == "fact-fails.service"
                world["units"][name] = {
                    "type": "oneshot" if fails else "simple",
                    "starts": not fails,
                    "reloads": name == "fact-reloads.service",
                }
        self._open()
        self.run("apt-get", "update")

    def _open(self) -> None:
        self.writer = open_writer(Sim(self._directory), "sim", progress=lambda _: None)

    def snapshot(self, name: str) -> None:
        shutil.copytree(self._directory, self._directory.with_name(f"kept-{name}"), symlinks=True)

    def restore(self, name: str) -> None:
        self.close()
        shutil.copytree(self._directory.with_name(f"kept-{name}"), self._directory, symlinks=True)
        self._open()

    @contextmanager
    def _edited(self):
        path = self._directory / "machine.json"
        world = json.loads(path.read_text())
        yield world
        path.write_text(json.dumps(world, indent=2))

    @contextmanager
    def unprivileged(self) -> Iterator[Reader]:
        with self._edited() as world:
            world["login"] = {"user": "reader", "root": False}
        try:
            yield open_reader(Sim(self._directory), "sim")
        finally:
            with self._edited() as world:
                world["login"] = {"user": "admin", "root": True}

    @contextmanager
    def held(self, device: str) -> Iterator[int]:
        pid = 4711
        with self._edited() as world:
            world["running"]["processes"].append({"pid": pid, "holds": [device], "command": HOLDER})
        try:
            yield pid
        finally:
            with self._edited() as world:
                kept = [one for one in world["running"]["processes"] if one["pid"] != pid]
                world["running"]["processes"] = kept

    @contextmanager
    def locked(self, path: str) -> Iterator[int]:
        with self._edited() as world:
            there = world["running"]["processes"]
            world["running"]["processes"] = [
                *there,
                {"pid": 4712, "holds": [path], "command": f"qemu-io {path}"},
            ]
        try:
            yield 4712
        finally:
            with self._edited() as world:
                world["running"]["processes"] = there

    @contextmanager
    def served(self, path: str) -> Iterator[str]:
        file = self._directory / f"web/127.0.0.1{path}"
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self._directory / f"root{path}", file)
        yield f"http://127.0.0.1{path}"
        file.unlink()

    def stray(self, bridge: str, mac: str) -> None:
        with self._edited() as world:
            world["running"]["strays"] = {bridge: mac}

    def serve(self, network: str, bridge: str) -> None:
        with self._edited() as world:
            world["running"]["processes"].append({"pid": 4713, "command": DNSMASQ.format(network)})

    def link(self, path: str, target: str) -> None:
        (self._directory / "root" / path.lstrip("/")).symlink_to(target)

    def mode(self, path: str) -> int:
        return stat.S_IMODE((self._directory / "root" / path.lstrip("/")).stat().st_mode)

    def interrupt_dpkg(self) -> None:
        (self._directory / "root/var/lib/dpkg/updates/0001").touch()

    def offline(self, *, away: bool) -> None:
        with self._edited() as world:
            world["archive"]["online"] = not away

    def close(self) -> None:
        self.writer.close()
        shutil.rmtree(self._directory)


class Emulated(Subject):
    """The emulated host of `tests/lab`."""

    names = Names(soft_reserved="4G", kvm="kvm_amd", held_back="8250")

    def __init__(self, host: LabHost) -> None:
        self._host = host
        for name, text in UNITS.items():
            host.run(["tee", f"/usr/lib/systemd/system/{name}"], input=text)
        host.run(["systemctl", "daemon-reload"])
        self._open()

    def _open(self) -> None:
        self.writer = open_writer(Ssh("lab"), "lab", progress=lambda _: None)

    def snapshot(self, name: str) -> None:
        self.writer.close()  # what is kept shall not hold the lock
        self._host.snapshot(name)
        self._open()

    def restore(self, name: str) -> None:
        self.writer.close()
        self._host.restore(name)
        self._open()

    def reboot(self) -> None:
        super().reboot()
        self._host.wait_booted()

    def shell(self, script: str) -> str:
        """What a script of the host's own shell says."""
        return self._host.run(["sh"], input=script).stdout

    @contextmanager
    def unprivileged(self) -> Iterator[Reader]:
        reader = open_reader(Ssh("lab-reader"), "lab")
        try:
            yield reader
        finally:
            reader.close()

    @contextmanager
    def held(self, device: str) -> Iterator[int]:
        started = f"{HOLDER} </dev/{device} >/dev/null 2>&1 & echo $!"
        pid = int(self._host.run(started).stdout)
        try:
            yield pid
        finally:
            self._host.run(["kill", str(pid)])

    @contextmanager
    def locked(self, path: str) -> Iterator[int]:
        # It tells itself when it has the lock: who asks by opening the image has it for a moment.
        writes = f"exec stdbuf -oL qemu-io -c 'read 0 512' -c 'sleep 3600000' {path}"
        pid = int(self._host.run(f"({writes}) >/root/written 2>&1 & echo $!").stdout)
        try:
            self._host.run(f"until grep -q ^read /root/written; do kill -0 {pid} || exit; sleep 0.1; done")
            yield pid
        finally:
            self._host.run(["kill", str(pid)])

    @contextmanager
    def served(self, path: str) -> Iterator[str]:
        server = "python3 -m http.server --bind 127.0.0.1 --directory / 8099"
        pid = int(self._host.run(f"{server} >/dev/null 2>&1 & echo $!").stdout)
        try:
            listens = "socket.create_connection(('127.0.0.1', 8099))"
            self._host.run(f'until python3 -c "import socket; {listens}" 2>/dev/null; do sleep 0.2; done')
            yield f"http://127.0.0.1:8099{path}"
        finally:
            self._host.run(["kill", str(pid)])

    def stray(self, bridge: str, mac: str) -> None:
        self._host.run(["ip", "link", "add", "dev", bridge, "address", mac, "type", "bridge"])

    def serve(self, network: str, bridge: str) -> None:
        conf, virsh = f"/var/lib/libvirt/dnsmasq/{network}.conf", "virsh --quiet"
        self._host.run(
            f"{virsh} net-start {network} && cp {conf} /root/kept && {virsh} net-destroy {network}"
            f" && mv /root/kept {conf} && VIR_BRIDGE_NAME={bridge} {DNSMASQ.format(network)}"
        )

    def link(self, path: str, target: str) -> None:
        self._host.run(["ln", "-s", target, path])

    def mode(self, path: str) -> int:
        return int(self._host.run(["stat", "--format=%a", path]).stdout, 8)

    def interrupt_dpkg(self) -> None:
        self._host.run(["touch", "/var/lib/dpkg/updates/0001"])

    def offline(self, *, away: bool) -> None:
        names = ["/srv/apt", "/srv/apt.away"]
        self._host.run(["mv", *(names if away else reversed(names))])

    def close(self) -> None:
        self.writer.close()
