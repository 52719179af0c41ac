"""Small tarballs for tests, as `linux-source` packages have large ones."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping


def tarball(files: Mapping[str, str], packed: str = "xz") -> bytes:
    """Of files by their paths in it. `packed` is as tarfile names a compression; empty for none."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=f"w:{packed}") as tar:  # type: ignore[call-overload]  # a mode that is made
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.uid, member.uname = len(text.encode()), 1234, "builder"
            tar.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()
