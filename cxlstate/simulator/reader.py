"""The reader of a simulated machine: the same contract as for a real one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Self

from cxlstate.core.diagnostic import CxlstateError, Diagnostic, fail
from cxlstate.core.effect import Effect
from cxlstate.core.read import Answers, Read
from cxlstate.machine.posix.read_script import merge
from cxlstate.simulator import loader
from cxlstate.simulator.answers import answer
from cxlstate.simulator.default import create
from cxlstate.simulator.host import Host, Still
from cxlstate.simulator.loader import NoBoot
from cxlstate.simulator.world import legible


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

    def read(self, reads: Collection[Read]) -> Answers:
        """Answers to all reads, from one moment. Raises CxlstateError CXC401, CXC402."""
        with legible(self._directory):
            host = Still.load(self._directory)
            if not host.world.running.boot_id:
                raise self._switched_off(host)
            asked_for = merge(reads)
            answers = {read: answer(host, read) for read in dict.fromkeys(asked_for.values())}
        return Answers({read: answers[question] for read, question in asked_for.items()})

    def lacks(self, _effect: type[Effect]) -> Diagnostic | None:
        """Nothing: it is here."""
        return None

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
