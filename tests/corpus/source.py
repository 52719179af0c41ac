"""Where the corpus comes from: the source package of the distribution's libvirt, by apt.

Nothing has to be installed for it, and nothing of the machine's apt changes: its sources are read, and asked
for source packages in a folder of our own. What is found is kept beside the images of the emulated host.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

from tests.lab.image import cache_directory

APT = Path("/etc/apt")
PATIENCE = 300  # seconds


class NoCorpusError(Exception):
    """It is not here, and cannot be had."""


@lru_cache(maxsize=1)
def texts() -> dict[str, str]:
    """Each XML file of libvirt's tests, by its name there."""
    kept = _kept()
    if not kept.exists():
        _fetch(kept)
    with zipfile.ZipFile(kept) as found:
        return {name: found.read(name).decode() for name in sorted(found.namelist())}


def _kept() -> Path:
    """The file of the version that apt would install; that of any, where there is no apt to ask."""
    folder = cache_directory().parent / "cxlstate-corpus"
    policy = _output("apt-cache", "policy", "libvirt0")
    version = re.search(r"Candidate: (\S+)", policy)
    if version and version[1] != "(none)":
        return folder / f"libvirt-{version[1].replace(':', '_')}.zip"
    return next(iter(sorted(folder.glob("libvirt-*.zip"))), folder / "libvirt-unknown.zip")


def _output(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return done.stdout + done.stderr


def _fetch(kept: Path) -> None:
    """Put in place only whole."""
    with tempfile.TemporaryDirectory(prefix="cxlstate-corpus-") as name:
        folder = Path(name)
        _ask_for_sources(folder)
        options = [f"-oDir::Etc::sourcelist={os.devnull}", f"-oDir::Etc::sourceparts={folder}/parts"]
        options += [f"-oDir::State::lists={folder}/lists", f"-oDir::Cache={folder}/cache"]
        options += ["-oAPT::Sandbox::User=root", "-oAcquire::Retries=2"]
        said = _output("apt-get", "--quiet=2", *options, "update")
        said += _output("apt-get", "--quiet=2", *options, "source", "--download-only", "libvirt", cwd=folder)
        archive = next(iter(folder.glob("libvirt_*.orig.tar.*z*")), None)
        if archive is None:
            raise NoCorpusError(f"apt-get source libvirt: {said.strip() or 'nothing'}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_name(f"{kept.name}.{os.getpid()}")
        _pack(archive, draft)
        draft.replace(kept)


def _ask_for_sources(folder: Path) -> None:
    """The machine's own sources of apt, each asked for source packages and for nothing else."""
    for inner in ("parts", "lists/partial", "cache/archives/partial"):
        (folder / inner).mkdir(parents=True)
    for path in (APT / "sources.list", *sorted((APT / "sources.list.d").glob("*"))):
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = path.read_text(errors="replace")
        if path.suffix == ".list":
            lines = (re.sub(r"^deb(?=\s)", "deb-src", line) for line in text.splitlines())
            text = "".join(f"{line}\n" for line in lines if line.startswith("deb-src"))
        else:
            text = re.sub(r"(?m)^Types:.*$", "Types: deb-src", text)
        (folder / "parts" / path.name).write_text(text)


def _pack(archive: Path, draft: Path) -> None:
    with tarfile.open(archive) as source, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as kept:
        for member in source:
            inside = Path(*Path(member.name).parts[1:])
            if member.isfile() and inside.parts[:1] == ("tests",) and inside.suffix == ".xml":
                content = source.extractfile(member)
                kept.writestr(str(inside), content.read() if content else b"")
