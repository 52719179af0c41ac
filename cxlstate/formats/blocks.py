"""Disks and what is in them, as lsblk(8) tells it (util-linux 2.37 and later).

`{"blockdevices": [{"name": "pmem0", "fstype": "ext4", "children": […]}]}`; null where there is none. Children
are partitions, and what device-mapper or md made of a disk, together with others. Swap is in /proc/swaps
(proc_swaps(5)): `NAME TYPE SIZE USED PRIORITY` below a headline.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cxlstate.core.read import Command, File

SIGNATURES: Final = Command(("lsblk", "--json", "--output=NAME,FSTYPE,PTTYPE"))
SWAPS: Final = File("/proc/swaps")

_Row = tuple[str, dict[str, Any], tuple[str, ...]]  # its name, itself, and the names of what is below it


def signatures(text: str) -> dict[str, str]:
    """Kernel's name of a disk or partition → what udev or blkid saw on it: `ext4`, `gpt`, ….

    ValueError for another form.
    """
    rows = ((name, one.get("fstype") or one.get("pttype")) for name, one, _ in _listed(text))
    return {name: str(kind) for name, kind in rows if kind}


def tables(text: str) -> dict[str, str]:
    """Kernel's name of a disk → its partition table: `gpt`, `dos`. ValueError for another form."""
    return {name: str(one["pttype"]) for name, one, _ in _listed(text) if one.get("pttype")}


def made_of(text: str, disk: str) -> tuple[str, ...]:
    """Names of what stands on a disk: its partitions, and volumes and arrays that are in use."""
    return tuple(name for name, _, below in _listed(text) if disk in below)


def swaps(text: str) -> tuple[str, ...]:
    """Files and devices that are swapped to."""
    return tuple(line.split()[0] for line in text.splitlines()[1:] if line.strip())


def _listed(text: str) -> list[_Row]:
    try:
        found = json.loads(text) if text.strip() else {"blockdevices": []}
        return list(_rows(found["blockdevices"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"lsblk: {type(error).__name__}: {error}") from error


def _rows(devices: Sequence[dict[str, Any]], below: tuple[str, ...] = ()) -> Iterator[_Row]:
    for one in devices:
        name = str(one["name"])
        yield name, one, below
        yield from _rows(one.get("children", ()), (*below, name))
