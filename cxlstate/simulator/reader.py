"""The reader of a simulated machine: the same contract as for a real one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Self

from cxlstate.core.answers import Answer, Answers, NotAsked
from cxlstate.core.diagnostic import CxlstateError, Diagnostic, fail
from cxlstate.core.effect import Effect
from cxlstate.core.guest import Route
from cxlstate.core.read import LibvirtRead, Question, Read
from cxlstate.machine.posix.read_script import merge
from cxlstate.simulator import guests, loader
from cxlstate.simulator.answers import answer, asked
from cxlstate.simulator.default import create
from cxlstate.simulator.files import Files
from cxlstate.simulator.folder import ROOT, legible, load
from cxlstate.simulator.host import Host, Still
from cxlstate.simulator.loader import NoBoot


class SimReader:
    """Asks the machine in a folder; the default host is made where there is no such folder.

    That is all this ever writes: the folder of a machine that is there stays as it is, to the byte
    and to the time stamp.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        if not directory.exists():
            create(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, reads: Collection[Question]) -> Answers:
        """Answers to all reads, from one moment. Raises CxlstateError CXC401, CXC402."""
        with legible(self._directory):
            host = Still.load(self._directory)
            if not host.world.running.boot_id:
                raise self._switched_off(host)
            asked_for = merge([one for one in reads if not isinstance(one, LibvirtRead)])
            said = {one: asked(host, one) for one in dict.fromkeys(asked_for.values())}
            answers: dict[Read, Answer | NotAsked] = {
                one: answer(host, one) for one in reads if isinstance(one, LibvirtRead)
            }
        answers.update((read, said[question]) for read, question in asked_for.items())
        return Answers(answers)

    def lacks(self, _effect: type[Effect]) -> Diagnostic | None:
        """Nothing: it is here."""
        return None

    def guest(self, route: Route) -> SimGuestReader:
        """The machine in one of its domains. Raises CxlstateError CXC122 where that does not run."""
        return SimGuestReader(self._directory, route)

    def close(self) -> None:
        """Nothing is held."""

    def _switched_off(self, host: Host) -> CxlstateError:
        """Why it does not run, by looking whether GRUB would boot it."""
        try:
            loader.boot(host.files)
            found = "it is switched off"
        except NoBoot as why:
            found = str(why)
        return fail(
            "CXC402",
            "simulated machine is not running",
            machine=self._name,
            found=found,
            expected="a machine that has booted",
            hint=f"fix the files in {self._directory / 'root'}; the next apply boots it",
        )


class SimGuestReader(SimReader):
    """Asks the machine in a domain of the simulated `host`, as long as that runs. It needs no host key."""

    accepted = None

    def __init__(self, host: Path, route: Route) -> None:
        self._host = host
        self._vm = route.vm
        directory = reach(host, route)
        super().__init__(directory, route.machine)

    def read(self, reads: Collection[Question]) -> Answers:
        """As any machine, while there is a way to it."""
        guests.check_runs(self._host, self._vm, self._name)
        return super().read(reads)


def reach(host: Path, route: Route) -> Path:
    """The folder of a guest that runs; a default one is made. Raises CxlstateError CXC122."""
    with legible(host):
        domain = guests.check_runs(host, route.vm, route.machine)
        files = Files(host / ROOT, {}, privileged=True)
        power = guests.power(load(host), domain, files)
    directory = guests.folder(host, route.vm)
    if not directory.exists():
        create(directory, power, guests.seed_in(files, power.seed))
    return directory
