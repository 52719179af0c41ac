"""Changing a POSIX machine: effects as scripts, run by the agent under its lock."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from cxlstate.core.answers import Answers
from cxlstate.core.diagnostic import CxlstateError, Diagnostic, fail
from cxlstate.core.effect import Effect
from cxlstate.core.read import Question
from cxlstate.machine import records
from cxlstate.machine.outcome import Entry, Outcome, Result
from cxlstate.machine.performing import find_performer, nobody_performs, performer
from cxlstate.machine.posix import effects
from cxlstate.machine.posix.agent import Agent, Settings
from cxlstate.machine.posix.performers import POSIX, tell_libvirt
from cxlstate.machine.posix.reader import PosixReader
from cxlstate.machine.posix.session import SLACK, Holder, Session, text
from cxlstate.machine.posix.transport import Lost, Transport
from cxlstate.machine.writer import Progress

DEFAULT = Settings()

_FIRMLY_REFUSED = ("CXC104", "CXC105", "CXC120", "CXC301")  # waiting does not cure these


class PosixWriter:
    """A reader that can also change the machine. It holds the lock while it is open."""

    def __init__(
        self,
        transport: Transport,
        name: str,
        *,
        survives_reboot: bool,
        settings: Settings = DEFAULT,
    ) -> None:
        self._transport = transport
        self._name = name
        self._survives_reboot = survives_reboot
        self._settings = settings
        self._state = settings.state
        self._reader = PosixReader(transport, name)
        try:
            self._agent = self._lock_up()
        except BaseException:
            transport.close()
            raise

    def _lock_up(self) -> Holder:
        return Agent(self._transport, self._name, self._settings)

    @property
    def survives_reboot(self) -> bool:
        """Whether we run elsewhere."""
        return self._survives_reboot

    def read(self, reads: Collection[Question]) -> Answers:
        """As any reader, over the same connection."""
        return self._reader.read(reads)

    def close(self) -> None:
        """Let the lock go and end the connection."""
        self._agent.close()
        self._transport.close()

    def lacks(self, effect: type[Effect]) -> Diagnostic | None:
        """What is missing here for it (CXC501), or that nobody performs it (CXE900)."""
        if missing := self._reader.lacks(effect):
            return missing
        found = find_performer(POSIX, effect)
        known = found is not None
        if found is tell_libvirt:
            known = self._transport.libvirt.writer().performs(effect)
        return None if known else nobody_performs(effect)

    def perform(self, effect: Effect, entry: Entry) -> Outcome:
        """Do one effect and journal it. What no shell word can hold (a NUL) is refused."""
        perform = performer(POSIX, type(effect))
        try:
            return perform(effect, self._session(entry))
        except ValueError as unspeakable:
            return Outcome(Result.FAILED, 1, str(unspeakable))

    def _session(self, entry: Entry) -> Session:
        return Session(self._agent, self._transport, self._name, self._state, entry)

    def record(self, what: Mapping[str, str | None]) -> None:
        """Set or forget last-applied records."""
        script = effects.record(self._state, records.lines(what))
        keeping = Entry("", (), "keeping the records of what was applied", "")
        output = self._session(keeping).run(script)
        if not output.startswith(b"done "):
            raise fail(
                "CXC305",
                "cannot write the records of what was applied",
                machine=self._name,
                found=text(output),
                hint="what was applied is in force; the next apply writes the records again",
            )

    def reboot(self, entry: Entry, progress: Progress) -> None:
        """Reboot, wait for a new boot id, and take the lock again before anything else."""
        before = self._session(entry).run(effects.BOOT_ID)
        self._go_down(entry)
        self._agent.close()
        self._transport.close()
        deadline = time.monotonic() + self._settings.reboot
        said = "it is going down"
        pause = 1.0
        while time.monotonic() < deadline:
            progress(f"waiting for {self._name} to come back from its reboot ({said})")
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 1.5, 10.0)
            try:
                self._agent = self._lock_up()
                if self._session(entry).run(effects.BOOT_ID) != before:
                    return
                said = "it is still going down"
            except CxlstateError as not_yet:
                if not_yet.diagnostics[0].code in _FIRMLY_REFUSED:
                    raise
                said = not_yet.diagnostics[0].message
            self._agent.close()
            self._transport.close()
        raise fail(
            "CXC306",
            "host did not come back after the reboot",
            machine=self._name,
            found=f"after {self._settings.reboot} s: {said}",
            expected="a new boot id in /proc/sys/kernel/random/boot_id",
            hint="look at its console; once it is up, apply again: it goes on from there",
        )

    def _go_down(self, entry: Entry) -> None:
        """The answer may or may not get through before the machine goes."""
        try:
            output = self._agent.run(effects.reboot(self._state, entry), SLACK)
        except (Lost, TimeoutError):
            return
        if not output.startswith(b"done "):
            raise fail(
                "CXC306",
                "host did not start to reboot",
                machine=self._name,
                found=text(output),
                hint="see on the machine: `systemctl list-jobs`, `systemd-inhibit --list`",
            )
