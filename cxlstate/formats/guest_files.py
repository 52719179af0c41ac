"""Where a host keeps what it knows of its guests: files of root's, in a folder a guest."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

_KEPT: Final = "/var/lib/cxlstate/guests"


def path(vm: str, file: str) -> str:
    """A file of a guest. No name of a VM leads out of the folder."""
    name = quote(vm, safe="@:+,", errors="surrogateescape")
    folder = f"%2E{name[1:]}" if name.startswith(".") else name
    return f"{_KEPT}/{folder}/{file}"


def of_all(file: str) -> str:
    """A pattern for that file of each guest."""
    return f"{_KEPT}/*/{file}"
