"""Files of Debian's kernels, as their `linux-source` packages have them: fetched by apt, and kept.

Nothing is installed. A package is a tarball of 140 MB within a .deb, of which these few files are kept beside
the images of the emulated host.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path

from tests.lab.image import cache_directory

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
PATIENCE = 1800  # seconds, for a download and for xz on a busy machine


class NoKernelError(Exception):
    """It is not here, and cannot be had."""


@cache
def tree(package: str) -> dict[str, str | None]:
    """Path → content of the files that the patches name; None where that kernel has no such file."""
    kept = cache_directory().parent / "cxlstate-corpus" / f"{package}.zip"
    if not kept.exists():
        _fetch(package, kept)
    with zipfile.ZipFile(kept) as found:
        there = {name: found.read(name).decode("utf-8", "surrogateescape") for name in found.namelist()}
    return {path: there.get(path) for path in PATHS}


def _fetch(package: str, kept: Path) -> None:
    """Put in place only whole."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cxlstate-corpus-", dir=kept.parent) as name:
        folder = Path(name)
        options = ("-oAPT::Sandbox::User=root", "-oAcquire::Retries=2")
        done = _run("apt-get", "--quiet=2", *options, "download", package, cwd=folder)
        archive = next(iter(folder.glob("*.deb")), None)
        if archive is None:
            raise NoKernelError(f"apt-get download {package}: {done.strip() or 'nothing'}")
        _run("dpkg-deb", "--extract", str(archive), str(folder / "out"), cwd=folder)
        source = folder / "out/usr/src" / f"{package}.tar.xz"
        draft = kept.with_name(f"{kept.name}.{os.getpid()}")
        _pack(source, draft)
        draft.replace(kept)


def _pack(source: Path, draft: Path) -> None:
    """One pass over the tarball, by xz itself."""
    with (
        subprocess.Popen(("xz", "--decompress", "--stdout", str(source)), stdout=subprocess.PIPE) as xz,
        tarfile.open(fileobj=xz.stdout, mode="r|") as tar,
        zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as kept,
    ):
        for member in tar:
            inside = str(Path(*Path(member.name).parts[1:]))
            if member.isfile() and inside in PATHS:
                content = tar.extractfile(member)
                kept.writestr(inside, content.read() if content else b"")


def _run(*command: str, cwd: Path) -> str:
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
