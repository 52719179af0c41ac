"""What may be said of a kernel module: that it is there, or that it is kept out."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, WithJsonSchema

from cxlstate.core.model import problem

_NAME = "[A-Za-z0-9_][A-Za-z0-9_-]{0,54}"  # MODULE_NAME_LEN of the kernel leaves 55 characters


def _name(text: str) -> str:
    if not re.fullmatch(_NAME, text):
        raise problem(
            "CXO101",
            "invalid kernel module name",
            found=text[:80],
            expected="letters, digits, - and _, at most 55 of them",
            hint="write it as lsmod shows it: kmem, not kmem.ko and not a path",
        )
    return text


ModuleName = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$", "examples": ["kmem"]}),
]

Wanted = Annotated[
    Literal["present", "absent"],
    WithJsonSchema(
        {
            "type": "string",
            "enum": ["present", "absent"],
            "description": "`present`: loaded now and at every boot. "
            "`absent`: not loaded, and kept out at boot by `modprobe.blacklist`.",
        }
    ),
]


def canonical(name: str) -> str:
    """The name as the kernel and libkmod compare it: `-` and `_` are the same."""
    return name.replace("-", "_")
