"""The kernel patches that come with cxlstate: `NAME.N-FORM.patch`, the forms of one in the order of N."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import Final

from cxlstate.formats.patch_stack import Series
from cxlstate.formats.unified_diff import parse

_FILE: Final = re.compile(r"(?P<name>[a-z0-9-]+)\.[0-9]+-[a-z-]+\.patch")

ALIGN: Final = 4096
"""What regions are aligned on with them: PAGE_SIZE of x86."""

BY_DRIVER: Final = {"hmem": "dax-hmem-align-4k", "cxl": "dax-cxl-align-4k"}
"""The patch that aligns the regions of a driver, by `Device.region`."""


@lru_cache(maxsize=1)
def shipped() -> dict[str, Series]:
    """By name."""
    forms: dict[str, list[str]] = {}
    for one in sorted(files(__package__).iterdir(), key=lambda one: one.name):
        if match := _FILE.fullmatch(one.name):
            forms.setdefault(match["name"], []).append(one.read_text("utf-8"))
    return {name: Series(name, tuple(map(parse, texts))) for name, texts in forms.items()}
