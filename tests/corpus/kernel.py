"""Files of Debian's kernels, as their `linux-source` packages have them.

A package is a tarball of 140 MB within a .deb, of which these few files are kept.
"""

from __future__ import annotations

import tempfile
import zipfile
from functools import cache
from pathlib import Path

from tests.corpus import apt

PACKAGES = {"Debian 12": "linux-source-6.1", "Debian 13": "linux-source-6.12"}
PATHS = (
    "drivers/dax/hmem/hmem.c",
    "drivers/dax/cxl.c",
    "drivers/dax/bus.c",
    "fs/fuse/file.c",
    "fs/fuse/famfs.c",
    "fs/fuse/ext_map.c",
    "fs/famfs/famfs_file.c",
)
PATIENCE = 1800  # seconds, for a download on a busy machine


@cache
def tree(package: str) -> dict[str, str | None]:
    """Path → content of the files that the patches name; None where that kernel has no such file."""
    kept = apt.folder() / f"{package}.zip"
    if not kept.exists():
        _fetch(package, kept)
    with zipfile.ZipFile(kept) as found:
        there = {name: found.read(name).decode("utf-8", "surrogateescape") for name in found.namelist()}
    return {path: there.get(path) for path in PATHS}


def _fetch(package: str, kept: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="cxlstate-corpus-") as name:
        folder = Path(name)
        said = apt.output(
            "apt-get", "--quiet=2", *apt.OPTIONS, "download", package, cwd=folder, patience=PATIENCE
        )
        archive = next(iter(folder.glob("*.deb")), None)
        if archive is None:
            raise apt.NoCorpusError(f"apt-get download {package}: {said.strip() or 'nothing'}")
        apt.output("dpkg-deb", "--extract", str(archive), str(folder / "out"), patience=PATIENCE)
        apt.keep(folder / "out/usr/src" / f"{package}.tar.xz", kept, lambda path: str(path) in PATHS)
