"""Files out of the distribution's packages: had by apt, and kept beside the images of the emulated host.

Nothing is installed, and nothing of the machine's apt changes.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.lab.image import cache_directory

OPTIONS = ("-oAPT::Sandbox::User=root", "-oAcquire::Retries=2")


class NoCorpusError(Exception):
    """It is not here, and cannot be had."""


def folder() -> Path:
    """Where it is kept."""
    return cache_directory().parent / "cxlstate-corpus"


def output(*command: str, cwd: Path | None = None, patience: int = 300) -> str:
    """All that a command says, or why it cannot be run."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return done.stdout + done.stderr


def keep(tarball: Path, kept: Path, wanted: Callable[[Path], bool]) -> None:
    """The files of a tarball's folder that are wanted, by their paths in it. Put in place only whole."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    draft = kept.with_name(f"{kept.name}.{os.getpid()}")
    with tarfile.open(tarball, "r|*") as source, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as made:
        for member in source:
            inside = Path(*Path(member.name).parts[1:])
            if member.isfile() and wanted(inside):
                content = source.extractfile(member)
                made.writestr(str(inside), content.read() if content else b"")
    draft.replace(kept)
