"""Effects on a simulated machine, step by step, with the journal and the store of a real one.

What is left where one is stopped is what `machine/posix/effects.py` leaves: the old content in the
store, a draft beside the file, a journal that says *begin* and nothing more.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cxlstate.core.action import Reboot
from cxlstate.core.effect import Effect
from cxlstate.machine.outcome import Entry, Outcome, Result
from cxlstate.machine.performing import performer
from cxlstate.machine.posix import keeping
from cxlstate.machine.records import STATE
from cxlstate.simulator.faults import Faults
from cxlstate.simulator.folder import ROOT
from cxlstate.simulator.performers import SIMULATED
from cxlstate.simulator.session import DRAFTS, LEFTOVER, Session

_MOST_SAID = 1 << 16
_PRIVATE = 0o700
_JOURNAL = f"{STATE}/journal.jsonl"
_FOLDERS = (STATE, DRAFTS, f"{STATE}/blobs", f"{STATE}/applied")


class Effects:
    """Performs effects on the machine in `directory`; whoever uses it holds the lock."""

    def __init__(self, directory: Path, faults: Faults) -> None:
        self._directory = directory
        self._faults = faults
        self._session = Session(directory, faults)
        self._files = self._session.disk

    def sweep(self) -> None:
        """Make the folders of the journal, and remove the draft of an effect that was stopped."""
        files = self._files
        for folder in _FOLDERS:
            files.real(folder).mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        if files.exists(_JOURNAL) and not files.is_file(_JOURNAL):  # a pipe would be waited for
            raise OSError(errno.EINVAL, "not a regular file", _JOURNAL)
        if files.is_file(LEFTOVER):
            draft = self._directory / ROOT / files.text(LEFTOVER).lstrip("/")
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)
            files.remove(LEFTOVER)
        if files.exists(_JOURNAL) and files.stat(_JOURNAL).st_size > keeping.JOURNAL:
            self._prune()

    def _prune(self) -> None:
        """Bound the journal as a real machine does, by the same shell. Only a full one is worth a process."""
        state, drafts = (self._files.real(folder).absolute() for folder in (STATE, DRAFTS))
        words = {**os.environ, "LC_ALL": "C", "state": str(state), "tmp": str(drafts)}
        shell = ["/bin/sh", "-c", f"{keeping.PRUNE}prune"]
        subprocess.run(shell, env=words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        for draft in drafts.iterdir():
            draft.unlink()

    def perform(self, effect: Effect, entry: Entry) -> Outcome:
        """One effect, with its two lines in the journal."""
        details, perform = effect.journalled(), performer(SIMULATED, type(effect))
        self._log("begin", entry, details)
        self._faults.step(f"begun: {entry.does}")
        before = ""
        try:
            before, outcome = perform(effect, self._session)
        except OSError as error:
            why = f"{error.filename or ''}: {os.strerror(error.errno or 0)}\n"
            outcome = Outcome(Result.FAILED, 1, why)
        self._log(outcome.result.value, entry, details, status=outcome.status, before=before)
        self._faults.step(f"journalled: {entry.does}")
        return Outcome(outcome.result, outcome.status, outcome.output[-_MOST_SAID:])

    def begin_reboot(self, entry: Entry) -> None:
        """The journal's one line of a reboot."""
        self._log("begin", entry, Reboot().journalled())
        self._faults.step(f"begun: {entry.does}")

    def record(self, lines: Mapping[str, str | None]) -> None:
        """Put each record in place, or forget it."""
        files = self._files
        for name, line in sorted(lines.items()):
            path = f"{STATE}/applied/{name}"
            if line is not None:
                files.write(path, f"{line}\n".encode("utf-8", "surrogateescape"))
            elif files.exists(path):
                files.remove(path)
            self._faults.step(f"recorded: {name}")

    def _log(self, event: str, entry: Entry, details: Mapping[str, object], **ended: object) -> None:
        said = {"run": entry.run, "addresses": entry.addresses, "does": entry.does, "risk": entry.risk}
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        content = {"at": at, "event": event, **ended, **said, **details}
        line = json.dumps(content, separators=(",", ":"))
        journal = self._files.real(_JOURNAL)
        torn = journal.exists() and not journal.read_bytes().endswith(b"\n") and journal.stat().st_size
        with journal.open("a") as file:
            file.write(("\n" if torn else "") + line + "\n")
