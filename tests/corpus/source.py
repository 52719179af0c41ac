"""Where the corpus comes from: the source package of the distribution's libvirt, by apt.

The machine's sources of apt are read, and asked for source packages in a folder of our own.
"""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

from tests.corpus import apt

APT = Path("/etc/apt")


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
    folder = apt.folder()
    policy = apt.output("apt-cache", "policy", "libvirt0")
    version = re.search(r"Candidate: (\S+)", policy)
    if version and version[1] != "(none)":
        return folder / f"libvirt-{version[1].replace(':', '_')}.zip"
    return next(iter(sorted(folder.glob("libvirt-*.zip"))), folder / "libvirt-unknown.zip")


def _fetch(kept: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="cxlstate-corpus-") as name:
        folder = Path(name)
        _ask_for_sources(folder)
        options = [f"-oDir::Etc::sourcelist={os.devnull}", f"-oDir::Etc::sourceparts={folder}/parts"]
        options += [f"-oDir::State::lists={folder}/lists", f"-oDir::Cache={folder}/cache", *apt.OPTIONS]
        said = apt.output("apt-get", "--quiet=2", *options, "update")
        said += apt.output(
            "apt-get", "--quiet=2", *options, "source", "--download-only", "libvirt", cwd=folder
        )
        archive = next(iter(folder.glob("libvirt_*.orig.tar.*z*")), None)
        if archive is None:
            raise apt.NoCorpusError(f"apt-get source libvirt: {said.strip() or 'nothing'}")
        apt.keep(archive, kept, lambda path: path.parts[:1] == ("tests",) and path.suffix == ".xml")


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
