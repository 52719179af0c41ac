"""Effects on a simulated machine, step by step, with the journal and the store of a real one.

What is left where one is stopped is what `machine/posix/effects.py` leaves: the old content in the
store, a draft beside the file, a journal that says *begin* and nothing more.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from cxlstate.core.action import Effect, Generate, Reboot, RemoveFile, Run, Step, WriteFile
from cxlstate.core.file import FileEffect
from cxlstate.core.image import ImageEffect
from cxlstate.core.libvirt import LibvirtEffect
from cxlstate.machine import generated
from cxlstate.machine.outcome import Entry, Outcome, Result
from cxlstate.machine.posix import keeping
from cxlstate.machine.records import STATE
from cxlstate.simulator import images
from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.faults import Faults
from cxlstate.simulator.files import Files
from cxlstate.simulator.host import Host
from cxlstate.simulator.libvirt import driver
from cxlstate.simulator.libvirt.refused import Refused
from cxlstate.simulator.mkconfig import mkconfig
from cxlstate.simulator.place import Place
from cxlstate.simulator.world import ROOT

_MOST_SAID = 1 << 16
_PRIVATE = 0o700
_DRAFTS = f"{STATE}/tmp"  # noqa: S108  # a folder of the simulated machine
_JOURNAL = f"{STATE}/journal.jsonl"
_FOLDERS = (STATE, _DRAFTS, f"{STATE}/blobs", f"{STATE}/applied")
_LEFTOVER = f"{_DRAFTS}/leftover"


class Effects:
    """Performs effects on the machine in `directory`; whoever uses it holds the lock."""

    def __init__(self, directory: Path, faults: Faults) -> None:
        self._directory = directory
        self._faults = faults
        self._ran: dict[str, str] = {}
        self._files = Files(directory / ROOT, {}, privileged=True)  # those on the disk alone

    def sweep(self) -> None:
        """Make the folders of the journal, and remove the draft of an effect that was stopped."""
        files = self._files
        for folder in _FOLDERS:
            files.real(folder).mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        if files.exists(_JOURNAL) and not files.is_file(_JOURNAL):  # a pipe would be waited for
            raise OSError(errno.EINVAL, "not a regular file", _JOURNAL)
        if files.is_file(_LEFTOVER):
            (self._directory / ROOT / files.text(_LEFTOVER).lstrip("/")).unlink(missing_ok=True)
            files.remove(_LEFTOVER)
        if files.exists(_JOURNAL) and files.stat(_JOURNAL).st_size > keeping.JOURNAL:
            self._prune()

    def _prune(self) -> None:
        """Bound the journal as a real machine does, by the same shell. Only a full one is worth a process."""
        state, drafts = (self._files.real(folder).absolute() for folder in (STATE, _DRAFTS))
        words = {**os.environ, "LC_ALL": "C", "state": str(state), "tmp": str(drafts)}
        shell = ["/bin/sh", "-c", f"{keeping.PRUNE}prune"]
        subprocess.run(shell, env=words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        for draft in drafts.iterdir():
            draft.unlink()

    def perform(self, effect: Effect, entry: Entry) -> Outcome:
        """One effect, with its two lines in the journal."""
        details = _details(effect)
        self._log("begin", entry, details)
        self._faults.step(f"begun: {entry.does}")
        before = ""
        try:
            before, outcome = self._do(effect)
        except OSError as error:
            why = f"{error.filename or ''}: {os.strerror(error.errno or 0)}\n"
            outcome = Outcome(Result.FAILED, 1, why)
        self._log(outcome.result.value, entry, details, status=outcome.status, before=before)
        self._faults.step(f"journalled: {entry.does}")
        return Outcome(outcome.result, outcome.status, outcome.output[-_MOST_SAID:])

    def begin_reboot(self, entry: Entry) -> None:
        """The journal's one line of a reboot."""
        self._log("begin", entry, {"effect": "reboot"})
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

    def _host(self) -> Host:
        return Host.load(self._directory, self._faults.step)

    def _do(self, effect: Effect) -> tuple[str, Outcome]:
        """Hash of what a file was before (empty: it was not there, or there is no file), and the outcome."""
        if isinstance(effect, ImageEffect):
            host = self._host()
            note = partial(self._announce, host.files), partial(self._forget, host.files)
            return "", host.image(effect, images.Drafts(*note))
        if isinstance(effect, FileEffect):
            return self._of_somebody(effect)
        if isinstance(effect, LibvirtEffect):
            return self._tell_libvirt(effect)
        return self._do_here(effect)

    def _do_here(
        self, effect: WriteFile | RemoveFile | Run | Step | Generate | Reboot
    ) -> tuple[str, Outcome]:
        """The same, of one that is about a file or a program."""
        match effect:
            case WriteFile(path=path, expected=expected, content=content, mode=mode):
                before = self._keep(path, expected)
                if before != (expected or ""):
                    return before, Outcome(Result.STALE)
                self._replace(path, content, mode)
                return before, Outcome(Result.DONE)
            case RemoveFile(path=path, expected=expected):
                before = self._keep(path, expected)
                if before != expected:
                    return before, Outcome(Result.STALE)
                self._host().files.remove(path)
                self._faults.step(f"removed: {path}")
                return before, Outcome(Result.DONE)
            case Run(unless=unless) if unless and self._host().files.exists(unless):
                return "", Outcome(Result.STALE)
            case Run(argv=argv, operands=operands):
                return "", self._run((*argv, *operands))
            case Step(words=words):
                return "", self._step(words)
            case Generate():
                return self._generate(effect)
            case Reboot():
                raise TypeError("a reboot is waited for: call `reboot`")

    def _of_somebody(self, effect: FileEffect) -> tuple[str, Outcome]:
        host = self._host()
        note = partial(self._announce, host.files), partial(self._forget, host.files)
        place = Place(host.world, host.files, self._store, self._faults.step, images.Drafts(*note))
        before, outcome = place.perform(effect)
        host.save()
        self._faults.step(f"done: {effect.shown()}")
        return before, outcome

    def _run(self, argv: tuple[str, ...]) -> Outcome:
        host = self._host()
        ended = host.run(argv)
        host.save()
        self._faults.step(f"run: {argv[0]}")
        return _outcome(ended)

    def _step(self, words: tuple[str, ...]) -> Outcome:
        host = self._host()
        ended = host.step(words)
        host.save()
        self._faults.step(f"step: {words[0]}")
        return _outcome(ended)

    def _tell_libvirt(self, effect: LibvirtEffect) -> tuple[str, Outcome]:
        """What the definition was before goes into the store, as that of a file does."""
        host, digest = self._host(), ""
        try:
            before = host.libvirt.before(effect, self._ran)
        except Refused as why:
            return "", Outcome(Result.FAILED, 1, str(why))
        if before is not None:
            digest = self._store(before.encode("utf-8", "surrogateescape"))
        outcome = host.libvirt.perform(effect, self._ran)
        host.save()
        return digest, outcome

    def _generate(self, effect: Generate) -> tuple[str, Outcome]:
        files = self._host().files
        before = self._keep(effect.path, effect.expected)
        if before != (effect.expected or ""):
            return before, Outcome(Result.STALE)
        ended, content = self._program(effect.argv, files)
        if content is None:
            return before, _outcome(ended)
        self._announce(files, effect.path)
        draft = files.draft(effect.path, content, mode=0o600)
        self._faults.step(f"generated, not in place: {effect.path}")
        judged = generated.judge(effect, content)
        if judged is None:
            files.put(effect.path, draft)
            self._faults.step(f"in place: {effect.path}")
        else:
            draft.unlink()
        self._forget(files)
        return before, judged or _outcome(ended)

    def _program(self, argv: tuple[str, ...], files: Files) -> tuple[Ended, bytes | None]:
        """The programs that write a file: grub-mkconfig."""
        if argv in (("grub-mkconfig", "-o"), ("grub-mkconfig", "--output")):
            return mkconfig(files)
        return unknown(argv), None

    def _keep(self, path: str, expected: str | None) -> str:
        """Hash of a file's content, which goes into the store if it is what was expected."""
        files = self._host().files
        if not files.exists(path):
            return ""
        if not files.is_file(path):
            raise OSError(21, os.strerror(21), path)
        content = files.read(path)
        digest = sha256(content).hexdigest()
        return self._store(content) if digest == expected else digest

    def _store(self, content: bytes) -> str:
        """Keep it under its hash."""
        digest = sha256(content).hexdigest()
        blob = f"{STATE}/blobs/{digest}"
        if not self._files.exists(blob):
            self._files.write(blob, content, mode=0o600)
        return digest

    def _replace(self, path: str, content: bytes, mode: int) -> None:
        files = self._host().files
        self._announce(files, path)
        draft = files.draft(path, content, mode=mode)
        self._faults.step(f"written, not in place: {path}")
        files.put(path, draft)
        self._faults.step(f"in place: {path}")
        self._forget(files)

    def _announce(self, files: Files, path: str) -> None:
        """Note the draft that is about to be made, for whoever cleans up after a power cut."""
        draft = files.draft_of(path)
        note = str(draft.relative_to(self._directory / ROOT))
        files.write(_LEFTOVER, f"/{note}".encode("utf-8", "surrogateescape"), mode=0o600)

    def _forget(self, files: Files) -> None:
        files.remove(_LEFTOVER)

    def _log(self, event: str, entry: Entry, details: Mapping[str, object], **ended: object) -> None:
        said = {"run": entry.run, "addresses": entry.addresses, "does": entry.does, "risk": entry.risk}
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        content = {"at": at, "event": event, **ended, **said, **details}
        line = json.dumps(content, separators=(",", ":"))
        journal = self._files.real(_JOURNAL)
        torn = journal.exists() and not journal.read_bytes().endswith(b"\n") and journal.stat().st_size
        with journal.open("a") as file:
            file.write(("\n" if torn else "") + line + "\n")


def _details(effect: Effect) -> dict[str, object]:
    if isinstance(effect, ImageEffect):
        return images.details(effect)
    if isinstance(effect, FileEffect):
        return effect.journalled()
    if isinstance(effect, LibvirtEffect):
        return driver.details(effect)
    match effect:
        case WriteFile(path=path, content=content):
            return {"effect": "write-file", "path": path, "after": sha256(content).hexdigest()}
        case RemoveFile(path=path):
            return {"effect": "remove-file", "path": path}
        case Run(argv=argv, operands=operands):
            return {"effect": "run", "argv": [*argv, *operands]}
        case Step(words=words):
            return {"effect": "step", "words": list(words)}
        case Generate(path=path):
            return {"effect": "generate", "path": path}
        case Reboot():
            return {"effect": "reboot"}


def _outcome(ended: Ended) -> Outcome:
    result = Result.FAILED if ended.status else Result.DONE
    return Outcome(result, ended.status, ended.output)
