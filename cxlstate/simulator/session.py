"""What a performer is handed on a simulated machine: the machine, its files, and the journal's store."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cxlstate.machine.records import STATE
from cxlstate.simulator.faults import Faults
from cxlstate.simulator.files import Files
from cxlstate.simulator.folder import ROOT
from cxlstate.simulator.host import Host

DRAFTS = f"{STATE}/tmp"  # noqa: S108  # a folder of the simulated machine
LEFTOVER = f"{DRAFTS}/leftover"


@dataclass(frozen=True, slots=True)
class Session:
    """The machine in `directory`, under the lock. `ran` is what domains ran with that were shut down.

    `faults` is told of every step, and may end the run at one.
    """

    directory: Path
    faults: Faults
    ran: dict[str, str] = field(default_factory=dict)

    @property
    def disk(self) -> Files:
        """The files on the disk alone."""
        return Files(self.directory / ROOT, {}, privileged=True)

    def host(self) -> Host:
        """The machine as it stands."""
        return Host.load(self.directory, self.faults.step)

    def keep(self, path: str, expected: str | None, *, secret: bool = False) -> str:
        """Hash of a file's content, which goes into the store if it is what was expected and no secret."""
        files = self.host().files
        if not files.exists(path):
            return ""
        if not files.is_file(path):
            raise OSError(21, os.strerror(21), path)
        content = files.read(path)
        digest = sha256(content).hexdigest()
        return self.store(content) if digest == expected and not secret else digest

    def store(self, content: bytes) -> str:
        """Keep it under its hash."""
        digest = sha256(content).hexdigest()
        blob = f"{STATE}/blobs/{digest}"
        if not self.disk.exists(blob):
            self.disk.write(blob, content, mode=0o600)
        return digest

    def replace(self, path: str, content: bytes, mode: int) -> None:
        """Put a new content in the place of a file, as a whole."""
        files = self.host().files
        self.announce(files, path)
        draft = files.draft(path, content, mode=mode)
        self.faults.step(f"written, not in place: {path}")
        files.put(path, draft)
        self.faults.step(f"in place: {path}")
        self.forget(files)

    def announce(self, files: Files, path: str) -> None:
        """Note the draft that is about to be made, for whoever cleans up after a power cut."""
        draft = files.draft_of(path)
        note = str(draft.relative_to(self.directory / ROOT))
        files.write(LEFTOVER, f"/{note}".encode("utf-8", "surrogateescape"), mode=0o600)

    def forget(self, files: Files) -> None:
        """The draft is in place, or gone."""
        files.remove(LEFTOVER)
