"""The machine as a whole: its programs, and how it boots."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path

from cxlstate.machine.sim import loader
from cxlstate.machine.sim.accounts import Accounts
from cxlstate.machine.sim.ended import Ended, unknown
from cxlstate.machine.sim.files import Files
from cxlstate.machine.sim.kernel import Modules, computed
from cxlstate.machine.sim.packages import Packages
from cxlstate.machine.sim.units import Units
from cxlstate.machine.sim.world import ROOT, Running, World, load, save

_TEXT = 2  # words of `-c` and its text
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,+-]+")


class Host:
    """One state of the machine in `directory`; `save` makes it the present one."""

    def __init__(self, directory: Path, world: World, step: Callable[[str], None] = lambda _: None) -> None:
        self.world = world
        self._directory = directory
        self._step = step

    @classmethod
    def load(cls, directory: Path, step: Callable[[str], None] = lambda _: None) -> Host:
        """The machine as it stands. Raises CxlstateError CXC401."""
        return cls(directory, load(directory), step)

    @property
    def files(self) -> Files:
        """Its files as they are at this moment."""
        return Files(self._directory / ROOT, computed(self.world), privileged=self.world.login.root)

    def save(self) -> None:
        """Write `machine.json`, if anything in it changed."""
        save(self.world, self._directory)

    def run(self, argv: tuple[str, ...]) -> Ended:
        """Run a program of the closed list that the simulator knows."""
        name, *words = argv
        program = self._programs().get(name)
        return program(words) if program else unknown(argv)

    def _programs(self) -> dict[str, Callable[[list[str]], Ended]]:
        files = self.files
        units, accounts = Units(self.world), Accounts(files)
        packages = Packages(self.world, files, accounts, units, self._checkpoint)
        return {
            "apt-get": packages.apt_get,
            "apt-mark": packages.mark,
            "dpkg": packages.dpkg,
            "dpkg-query": packages.query,
            "getent": accounts.getent,
            "gpasswd": accounts.gpasswd,
            "modprobe": lambda words: Modules(self.world, files).modprobe(words),
            "rmmod": lambda words: Modules(self.world, files).rmmod(words),
            "sh": self._plain_shell,
            "systemctl": units.systemctl,
            "uname": self._uname,
            "usermod": accounts.usermod,
        }

    def boot(self) -> None:
        """Everything volatile is lost; GRUB, the kernel, the modules, the services. Raises NoBoot."""
        self.world.running = Running()
        kernel, command_line = loader.boot(self.files)
        self.world.running = Running(str(uuid.uuid4()), kernel, command_line)
        Modules(self.world, self.files).boot()
        Units(self.world).boot()

    def _checkpoint(self, name: str) -> None:
        self.save()
        self._step(name)

    def _uname(self, words: list[str]) -> Ended:
        return (
            Ended(stdout=f"{self.world.running.kernel}\n") if words == ["-r"] else unknown(("uname", *words))
        )

    def _plain_shell(self, words: list[str]) -> Ended:
        """`sh -c` with commands of plain words and `;` between them, the last one perhaps after `exec`."""
        commands = [tuple(part.split()) for part in words[-1].split(";")] if len(words) == _TEXT else []
        commands = [one[1:] if one[:1] == ("exec",) else one for one in commands]
        if words[:1] != ["-c"] or not all(one and all(map(_PLAIN.fullmatch, one)) for one in commands):
            return unknown(("sh", *words))
        ended = [self.run(one) for one in commands]
        said = "".join(one.stdout for one in ended), "".join(one.stderr for one in ended)
        return Ended(ended[-1].status, *said)
