"""Where disks sit on a bus of drives: a place that a name means may be another disk's already.

Sources: virDomainDiskDefAssignAddress in `src/conf/domain_conf.c`, and in `domain_validate.c`
virDomainDefCheckDuplicateDriveAddresses; the wide SCSI bus is QEMU's (VIR_DOMAIN_DEF_FEATURE_WIDE_SCSI).
"""

from __future__ import annotations

import re
from itertools import count
from typing import Final, NamedTuple

from cxlstate.core.domain import Disk
from cxlstate.formats.domain_xml import order
from cxlstate.formats.domain_xml.impossible import Impossible
from cxlstate.formats.domain_xml.read import disk, number
from cxlstate.formats.xml import Element, element, place

_ROOM: Final = {"sata": None, "scsi": None, "ide": 4, "fdc": 2}
"""Buses of drives, and how many there is room for; None: libvirt adds controllers.

"Only 1 IDE controller is supported" (qemuValidateDomainDeviceDefControllerIDE), and one of floppy drives.
"""

_INITIATOR: Final = 7
"""The unit of a SCSI bus that is the controller itself."""


class Drive(NamedTuple):
    """A place; of two disks on the same bus, libvirt refuses one there."""

    type: str
    controller: int
    bus: int
    target: int
    unit: int


def settle(root: Element, wished: tuple[Disk, ...]) -> None:
    """Give the disks that are wished the lowest free place, where that of their name is taken or is none."""
    elements = root.findall("devices/disk")
    for index, one in enumerate(wished):
        mine = [each for each in elements if disk(each).target == one.target]
        if one.absent or not mine or mine[0].find("address") is not None:
            continue
        taken = {drive for each in elements if each is not mine[0] and (drive := drive_of(each))}
        drive = drive_of(mine[0])
        if drive and (drive in taken or (drive.controller and _ROOM[drive.type] is not None)):
            _put(mine[0], _free(drive.type, taken, one, index))


def drive_of(one: Element) -> Drive | None:
    """Where a disk is, by its address or else its name; None where its bus is none of drives."""
    it, address = disk(one), one.find("address")
    if it.bus not in _ROOM:
        return None
    if address is None:
        index = _index(it.target)
        return None if index is None else _named(it.bus, index)
    if address.get("type") != "drive":
        return None
    return Drive(
        it.bus,
        *(number(address.get(word, "0"), f"the {word} of a drive") for word in Drive._fields[1:]),
    )


def _index(target: str) -> int | None:
    """The number that the letters of a name stand for: `sda` 0, `sdaa` 26 (virDiskNameParse)."""
    letters = re.fullmatch("(?:fd|hd|vd|sd|xvd|ubd)([a-z]+)", target)
    if letters is None:
        return None
    found = 0
    for letter in letters[1]:
        found = found * 26 + ord(letter) - ord("a") + 1
    return found - 1


def _named(bus: str, index: int) -> Drive:
    match bus:
        case "sata":
            return Drive(bus, index // 6, 0, 0, index % 6)
        case "scsi":
            unit = index % 15
            return Drive(bus, index // 15, 0, 0, unit + (unit >= _INITIATOR))
        case "ide":
            return Drive(bus, index // 4, index % 4 // 2, 0, index % 2)
    return Drive(bus, index // 2, 0, 0, index % 2)


def _free(bus: str, taken: set[Drive], wished: Disk, index: int) -> Drive:
    room = _ROOM[bus]
    for candidate in count() if room is None else range(room):
        if (drive := _named(bus, candidate)) not in taken:
            return drive
    why = f"{wished.target} has no place on {bus}: the VM has {room} drives there"
    raise Impossible(why, ("disks", index, "bus"), "write bus: scsi")


def _put(one: Element, drive: Drive) -> None:
    words = {name: str(value) for name, value in zip(Drive._fields, drive, strict=True)}
    place(one, element("address", {**words, "type": "drive"}), order.DISK)
