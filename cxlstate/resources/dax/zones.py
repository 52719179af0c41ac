"""Whether memory that kmem has made RAM could be taken back: by the zones that it is in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cxlstate.formats.dax import Device
from cxlstate.formats.iomem import Range

_MOVES: Final = ("Movable", "Device")
_PAGE: Final = 4096
_ZONE = re.compile(r"Node (\d+), zone +(\w+)\n((?:(?!Node ).*\n?)*)")


@dataclass(frozen=True, slots=True)
class _Zone:
    """Memory of one node for one use. `whole`: all that it spans is in it, without holes."""

    node: int
    name: str
    start: int
    end: int
    whole: bool

    def overlaps(self, part: Range) -> bool:
        return self.start < part.end and part.start < self.end

    def holds(self, part: Range) -> bool:
        return self.whole and self.start <= part.start and part.end <= self.end


@lru_cache(maxsize=4)
def _zones(text: str) -> tuple[_Zone, ...]:
    """Those with any memory (zoneinfo_show_print in mm/vmstat.c)."""
    found = []
    for match in _ZONE.finditer(text):
        spanned, present, first = (_number(field, match[3]) for field in ("spanned", "present", "start_pfn:"))
        if spanned:
            start, end = first * _PAGE, (first + spanned) * _PAGE
            found.append(_Zone(int(match[1]), match[2], start, end, whole=present == spanned))
    return tuple(found)


def _number(field: str, body: str) -> int:
    match = re.search(rf"^ +{field} +(\d+)$", body, re.MULTILINE)
    return int(match[1]) if match else 0


def stays_ram(device: Device, zoneinfo: str, *, offline: bool) -> bool:
    """Memory that is added offline is in no zone, but a zone with holes may span it.

    A udev rule may online it all the same, as RHEL's 40-redhat.rules does: then its zone has no holes.
    """
    if not offline:
        return not _movable(device, zoneinfo)
    zones = (one for one in _zones(zoneinfo) if one.node == device.target_node and one.name not in _MOVES)
    return any(one.whole and one.overlaps(part) for one in zones for part in device.ranges)


def _movable(device: Device, zoneinfo: str) -> bool:
    """Whether all of it is in a Movable zone: what the kernel itself uses does not move away.

    Zones of a node may overlap where one has holes (Normal spans Soft Reserved memory between RAM).
    `daxX.Y/state` (Linux 7.3, drivers/dax/kmem.c) is no evidence of it: it says what was last asked of kmem
    for the whole device, and not what was done to single blocks since. A
    device that is `unplugged` by it has no block and is in no zone, so it counts as movable here, too.
    """
    zones = [one for one in _zones(zoneinfo) if one.node == device.target_node]
    return all(_is_movable(part, zones) for part in device.ranges)


def _is_movable(part: Range, zones: Iterable[_Zone]) -> bool:
    over = [one for one in zones if one.overlaps(part)]
    if any(one.name == "Movable" and one.holds(part) for one in over):
        return True
    return all(one.name in _MOVES for one in over)
