"""Changing a POSIX machine: effects as scripts, run by the agent under its lock."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from cxlstate.core.action import Effect, Generate, Reboot, RemoveFile, Run, Step, WriteFile
from cxlstate.core.diagnostic import CxlstateError, fail
from cxlstate.core.file import FileEffect
from cxlstate.core.image import ImageEffect
from cxlstate.core.libvirt import LibvirtEffect
from cxlstate.core.read import Answers, Read
from cxlstate.machine import generated, records
from cxlstate.machine.outcome import Entry, Outcome, Result
from cxlstate.machine.posix import effects, elsewhere, file_effects, image_effects
from cxlstate.machine.posix.agent import Agent, Settings
from cxlstate.machine.posix.reader import PosixReader
from cxlstate.machine.posix.transport import LockLost, Lost, Transport, Unclear
from cxlstate.machine.writer import Progress

DEFAULT = Settings()

_SLACK = 120  # seconds for what surrounds a program: hashing, syncing, sending
_FIRMLY_REFUSED = ("CXC104", "CXC105", "CXC301")  # waiting does not cure these


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

    def _lock_up(self) -> Agent:
        return Agent(self._transport, self._name, self._settings)

    @property
    def survives_reboot(self) -> bool:
        """Whether we run elsewhere."""
        return self._survives_reboot

    def read(self, reads: Collection[Read]) -> Answers:
        """As any reader, over the same connection."""
        return self._reader.read(reads)

    def close(self) -> None:
        """Let the lock go and end the connection."""
        self._agent.close()
        self._transport.close()

    def perform(self, effect: Effect, entry: Entry) -> Outcome:
        """Do one effect and journal it. What no shell word can hold (a NUL) is refused."""
        try:
            return self._perform(effect, entry)
        except ValueError as unspeakable:
            return Outcome(Result.FAILED, 1, str(unspeakable))

    def _perform(self, effect: Effect, entry: Entry) -> Outcome:
        if isinstance(effect, ImageEffect):
            script = image_effects.image_effect(self._state, effect, entry)
            return self._do(script, entry, image_effects.PATIENCE)
        if isinstance(effect, FileEffect):
            return self._do(file_effects.file_effect(self._state, effect, entry), entry)
        if isinstance(effect, LibvirtEffect):
            return self._tell_libvirt(effect, entry)
        match effect:
            case WriteFile():
                return self._do(effects.write_file(self._state, effect, entry), entry)
            case RemoveFile():
                return self._do(effects.remove_file(self._state, effect, entry), entry)
            case Run():
                return self._do(effects.run(self._state, effect, entry), entry, effect.timeout)
            case Step():
                return self._do(effects.step(self._state, effect, entry), entry, effect.timeout)
            case Generate():
                return self._generate(effect, entry)
            case Reboot():
                raise TypeError("a reboot is waited for: call `reboot`")

    def _tell_libvirt(self, effect: LibvirtEffect, entry: Entry) -> Outcome:
        """Between two exchanges with the machine, over a connection of libvirt's own."""
        libvirt = self._transport.libvirt.writer()
        try:
            before = libvirt.before(effect)
            begun = self._do(elsewhere.begin(self._state, effect, entry, before), entry)
            if begun.result is not Result.DONE:
                return begun
            outcome = libvirt.perform(effect, self._fence)
        except LockLost as lost:
            raise self._lock_lost(entry.does, lost) from lost
        except Lost as lost:
            raise self._lost(entry.does, lost) from lost
        except Unclear as unclear:
            raise self._unclear(entry.does, str(unclear)) from unclear
        ended = self._do(elsewhere.end(self._state, effect, entry, before, outcome), entry)
        return outcome if ended.result is outcome.result else ended

    def _fence(self) -> None:
        """Look whether the lock is ours: after the answer it is, for the time of a heartbeat."""
        try:
            self._agent.confirm()
        except (Lost, TimeoutError) as gone:
            raise LockLost(str(gone) or "the agent on the machine does not answer") from gone

    def record(self, what: Mapping[str, str | None]) -> None:
        """Set or forget last-applied records."""
        script = effects.record(self._state, records.lines(what))
        output = self._run(script, "keeping the records of what was applied")
        if not output.startswith(b"done "):
            raise fail(
                "CXC305",
                "cannot write the records of what was applied",
                machine=self._name,
                found=_text(output),
                hint="what was applied is in force; the next apply writes the records again",
            )

    def reboot(self, entry: Entry, progress: Progress) -> None:
        """Reboot, wait for a new boot id, and take the lock again before anything else."""
        before = self._run(effects.BOOT_ID, entry.does)
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
                if self._run(effects.BOOT_ID, entry.does) != before:
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
            output = self._agent.run(effects.reboot(self._state, entry), _SLACK)
        except (Lost, TimeoutError):
            return
        if not output.startswith(b"done "):
            raise fail(
                "CXC306",
                "host did not start to reboot",
                machine=self._name,
                found=_text(output),
                hint="see on the machine: `systemctl list-jobs`, `systemd-inhibit --list`",
            )

    def _generate(self, effect: Generate, entry: Entry) -> Outcome:
        """Two exchanges: the judgement on what was generated is ours."""
        output = self._run(effects.generate(self._state, effect, entry), entry.does, effect.timeout)
        try:
            made = effects.generated(output)
            if made is None:
                return effects.report(output)
        except ValueError as cut:
            raise self._unclear(entry.does, _text(output)) from cut
        said, content = made
        judged = generated.judge(effect, content)
        outcome = self._do(effects.settle(self._state, effect, entry, content, judged), entry)
        if judged and outcome.result is judged.result:
            return judged
        return Outcome(outcome.result, outcome.status, said + outcome.output)

    def _do(self, script: bytes, entry: Entry, timeout: int = 0) -> Outcome:
        output = self._run(script, entry.does, timeout)
        try:
            return effects.report(output)
        except ValueError as cut:
            raise self._unclear(entry.does, _text(output)) from cut

    def _run(self, script: bytes, does: str, timeout: int = 0) -> bytes:
        try:
            return self._agent.run(script, timeout + _SLACK)
        except (Lost, TimeoutError) as lost:
            raise self._lost(does, lost) from lost

    def _lost(self, does: str, lost: Exception) -> CxlstateError:
        return fail(
            "CXC303",
            f"connection lost during: {does}",
            machine=self._name,
            found=str(lost) or "no sign of life",
            expected="an answer",
            hint="it goes on by itself, or was not begun; the next apply looks at what is there "
            "and converges, nothing has to be cleaned up",
        )

    def _lock_lost(self, does: str, lost: Exception) -> CxlstateError:
        return fail(
            "CXC310",
            f"lock lost during: {does}",
            machine=self._name,
            found=str(lost),
            expected="the lock to be held until the end",
            hint="apply again, once no other apply is at work on the machine: nothing more was begun",
        )

    def _unclear(self, does: str, found: str) -> CxlstateError:
        return fail(
            "CXC307",
            f"outcome is unknown: {does}",
            machine=self._name,
            found=found or "no report",
            hint="the next apply looks at what is there and goes on from it",
        )


def _text(output: bytes) -> str:
    """What a script said, as far as anybody reads."""
    return output[-4000:].decode("utf-8", "replace").strip()
