"""Disks and what is in them, as lsblk(8) tells it (util-linux 2.37 and later).

`{"blockdevices": [{"name": "pmem0", "fstype": "ext4", "children": […]}]}`; null where there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cxlstate.core.read import Command

SIGNATURES: Final = Command(("lsblk", "--json", "--output=NAME,FSTYPE,PTTYPE"))


def signatures(text: str) -> dict[str, str]:
    """Kernel's name of a disk or partition → what udev or blkid saw on it: `ext4`, `gpt`, ….

    ValueError for another form.
    """
    try:
        found = json.loads(text) if text.strip() else {"blockdevices": []}
        return {str(one["name"]): str(kind) for one, kind in _kinds(found["blockdevices"])}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"lsblk: {type(error).__name__}: {error}") from error


def _kinds(devices: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    for one in devices:
        if kind := one.get("fstype") or one.get("pttype"):
            yield one, kind
        yield from _kinds(one.get("children", ()))
