"""The writer of a simulated machine: the same contract as for a real one."""

from __future__ import annotations

import fcntl
import getpass
import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cxlstate.core.answers import Answers
from cxlstate.core.diagnostic import CxlstateError, Diagnostic, fail
from cxlstate.core.effect import Effect
from cxlstate.core.guest import Route
from cxlstate.core.read import Question
from cxlstate.machine import records
from cxlstate.machine.outcome import Entry, Outcome
from cxlstate.machine.performing import find_performer, nobody_performs
from cxlstate.machine.writer import Progress
from cxlstate.simulator import guests
from cxlstate.simulator.effects import Effects
from cxlstate.simulator.faults import Faults
from cxlstate.simulator.folder import legible
from cxlstate.simulator.host import Host
from cxlstate.simulator.libvirt.driver import Libvirt
from cxlstate.simulator.loader import NoBoot
from cxlstate.simulator.performers import SIMULATED, tell_libvirt
from cxlstate.simulator.reader import SimReader, reach

LOCK = "lock"
"""In the machine's folder: held with flock(2), and so free again when its holder is gone."""


class SimWriter(SimReader):
    """Changes the machine in a folder, and holds its lock while it is open.

    `faults` makes things go wrong on purpose.
    """

    def __init__(self, directory: Path, name: str, *, faults: Faults | None = None) -> None:
        super().__init__(directory, name)
        self._faults = faults or Faults()
        self._lock: int | None = None
        try:
            with legible(directory):
                self._lock = self._take_lock()
                self._come_up(Host.load(directory))
                self._effects = Effects(directory, self._faults)
                self._effects.sweep()
        except BaseException:
            self.close()
            raise

    @property
    def survives_reboot(self) -> bool:
        """It is another machine than ours."""
        return True

    def read(self, reads: Collection[Question]) -> Answers:
        """As any reader, as long as there is a connection."""
        self._connected("reading")
        return super().read(reads)

    def lacks(self, effect: type[Effect]) -> Diagnostic | None:
        """That nobody performs it (CXE900)."""
        found = find_performer(SIMULATED, effect)
        known = found is not None
        if found is tell_libvirt:
            known = Libvirt.performs(effect)
        return None if known else nobody_performs(effect)

    def perform(self, effect: Effect, entry: Entry) -> Outcome:
        """Do one effect and journal it. Raises CxlstateError CXC303, PowerCut."""
        self._connected(entry.does)
        with legible(self._directory):
            outcome = self._effects.perform(effect, entry)
        self._connected(entry.does)
        return outcome

    def record(self, records_: Mapping[str, str | None]) -> None:
        """Set or forget last-applied records."""
        self._connected("keeping the records of what was applied")
        with legible(self._directory):
            self._effects.record(records.lines(records_))
        self._connected("keeping the records of what was applied")

    def reboot(self, entry: Entry, progress: Progress) -> None:
        """Boot again. Raises CxlstateError CXC306 where it does not come up, PowerCut."""
        self._connected(entry.does)
        progress(f"waiting for {self._name} to come back from its reboot (it is going down)")
        with legible(self._directory):
            self._effects.begin_reboot(entry)
            self._boot(Host.load(self._directory))
        self._faults.step("the machine has booted")
        self._connected(entry.does)

    def guest_writer(self, route: Route) -> SimGuestWriter:
        """The machine in one of its domains, to be changed. Raises CxlstateError CXC122, and as this one."""
        return SimGuestWriter(self._directory, route, faults=self._faults)

    def close(self) -> None:
        """Let the lock go. May be called twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _come_up(self, host: Host) -> None:
        if not host.world.login.root:
            raise self._no_root()
        if not host.world.running.boot_id:
            self._boot(host)

    def _boot(self, host: Host) -> None:
        try:
            host.boot()
        except NoBoot as why:
            host.save()
            raise fail(
                "CXC306",
                "host did not come back after the reboot",
                machine=self._name,
                found=str(why),
                expected="a new boot id in /proc/sys/kernel/random/boot_id",
                hint="look at its console; once it is up, apply again: it goes on from there",
            ) from why
        host.save()

    def _connected(self, does: str) -> None:
        if self._faults.lost:
            raise self._lost(does, "a fault that was asked for")

    def _lost(self, does: str, found: str) -> CxlstateError:
        return fail(
            "CXC303",
            f"connection lost during: {does}",
            machine=self._name,
            found=found,
            expected="an answer",
            hint="it goes on by itself, or was not begun; the next apply looks at what is there "
            "and converges, nothing has to be cleaned up",
        )

    def _take_lock(self) -> int:
        lock = os.open(self._directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 200, 0).decode("utf-8", "replace").strip()
            os.close(lock)
            raise fail(
                "CXC302",
                "another apply holds the lock",
                machine=self._name,
                found=holder or "a holder that has not said its name yet",
                expected="nobody",
                hint="wait until it is done. Nothing has to be cleaned up: the lock is free as soon as its "
                "process has ended",
            ) from None
        since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()}, for {getpass.getuser()}, since {since}\n".encode(), 0)
        return lock

    def _no_root(self) -> CxlstateError:
        return fail(
            "CXC301",
            "root is required, and sudo asks for a password",
            machine=self._name,
            found='"root": false under "login" in machine.json',
            expected="`sudo -n true` to succeed",
            hint='set "root" to true there',
        )


class SimGuestWriter(SimWriter):
    """Changes the machine in a domain of the simulated `host`, as long as that runs."""

    accepted = None

    def __init__(self, host: Path, route: Route, *, faults: Faults | None = None) -> None:
        self._host = host
        self._vm = route.vm
        super().__init__(reach(host, route), route.machine, faults=faults)

    def read(self, reads: Collection[Question]) -> Answers:
        """As any reader, while there is a way to it."""
        guests.check_runs(self._host, self._vm, self._name)
        return super().read(reads)

    def _boot(self, host: Host) -> None:
        guests.plug_in(self._host, host.world)
        super()._boot(host)

    def _connected(self, does: str) -> None:
        super()._connected(does)
        try:
            guests.check_runs(self._host, self._vm, self._name)
        except CxlstateError as off:
            raise self._lost(does, off.diagnostics[0].found or "") from off


def power_cut(directory: Path) -> None:
    """Take the power away and give it back: what is volatile is lost, and the machine boots.

    Raises NoBoot where it does not come up; it is then switched off.
    """
    host = Host.load(directory)
    guests.lose(host.world)
    try:
        host.boot()
    finally:
        host.save()
