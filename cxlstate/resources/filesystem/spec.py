"""What may be said of a file system: where it is mounted, and that it grows with its disk."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema

from cxlstate.core.model import Model, problem

_POINT: Final = r"/(?:[A-Za-z0-9._@+-]+(?:/[A-Za-z0-9._@+-]+)*)?"
_DOTS: Final = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")


def _point(text: str) -> str:
    if not re.fullmatch(_POINT, text) or _DOTS.search(text):
        raise problem(
            "CXF201",
            "invalid mount point",
            found=text[:80],
            expected="an absolute path, such as / or /var/lib, without a / at its end",
            hint="write it as findmnt shows it",
        )
    return text


MountPoint = Annotated[
    str,
    AfterValidator(_point),
    WithJsonSchema({"type": "string", "pattern": f"^{_POINT}$", "examples": ["/"]}),
]


class FileSystemSpec(Model):
    """A file system by its mount point."""

    grow: bool
    """`true`: its partition fills the disk, and it fills the partition. `false`: both stay as they are."""
