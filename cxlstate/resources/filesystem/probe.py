"""What is mounted there, on which partition of which disk, and how large each of them is."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

from cxlstate.core.address import AllOf
from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.observation import Present, Unknown
from cxlstate.core.read import FileSystem, Names, Read
from cxlstate.formats import blocks, filesystem, partitions, storage
from cxlstate.formats.filesystem import Extent
from cxlstate.formats.partitions import Block, Growth

GROWPART: Final = Names("/usr/*bin/growpart")
PACKAGES: Final = {
    "growpart": "cloud-guest-utils",
    "dumpe2fs": "e2fsprogs",
    "xfs_info": "xfsprogs",
    "btrfs": "btrfs-progs",
}
_ROOT: Final = "connect as root, or as a user with passwordless sudo"


@dataclass(frozen=True, slots=True)
class Live:
    """A mounted file system. `block` is None where it is on no disk of the machine.

    `disk` is None where the file system is not on a partition; `blocks` are all that the machine has, and
    `table` is that of the disk, where it matters. `extent` is None, and `untold` says why, where its type has
    no tool here. A `logical` partition is within an extended one.
    """

    type: str
    source: str
    block: Block | None = None
    disk: Block | None = None
    blocks: tuple[Block, ...] = ()
    table: str | None = None
    extent: Extent | None = None
    untold: str = ""
    read_only: bool = False
    logical: bool = False

    @property
    def growth(self) -> Growth | None:
        """What growpart would make of its partition."""
        if self.block is None or self.disk is None:
            return None
        return partitions.growth(self.block, self.disk, self.blocks, self.table)


def reads(point: str) -> tuple[Read, ...]:
    """Mounts, disks, and the superblock."""
    return (storage.MOUNTS, *partitions.READS, blocks.SIGNATURES, GROWPART, FileSystem(point))


def observe(point: str, answers: Answers) -> Present[Live | None] | Unknown:
    """None: nothing is mounted there."""
    try:
        live = _seen(point, answers)
    except ReadFailed as failed:
        return _missing(failed.missing_tool) if failed.missing_tool else _failed(failed)
    except ValueError as error:
        return Unknown(str(error))
    if live and live.growth and live.growth.sectors and not answers.files(GROWPART):
        return _missing("growpart")
    return Present(live)


def _failed(failed: ReadFailed) -> Unknown:
    return Unknown(failed.reason, hint=_ROOT if "Permission denied" in failed.reason else None)


def _missing(tool: str) -> Unknown:
    package = PACKAGES.get(tool, tool)
    return Unknown(f"{tool} is not installed", (AllOf("package"),), hint=f"add to packages: {package}")


def _seen(point: str, answers: Answers) -> Live | None:
    """The last mount on a point is the one that is seen there."""
    lines = [one for one in storage.mount_lines(answers.text(storage.MOUNTS)) if one.point == point]
    if not lines:
        return None
    mount, every = lines[-1], partitions.read_blocks(answers)
    name = posixpath.basename(mount.source)
    block = next((one for one in every if mount.number == one.device), None) or next(
        (one for one in every if mount.source.startswith("/dev/") and one.name == name), None
    )
    read_only = "ro" in mount.options.split(",")
    if block is None or block.stacked or mount.type not in filesystem.TYPES:
        return Live(mount.type, mount.source, block, read_only=read_only)
    disk = next((one for one in every if one.name == block.disk), None)
    extent, untold = None, ""
    try:
        extent = filesystem.parse(mount.type, answers.text(FileSystem(point)), block.name)
    except ValueError as error:
        untold = str(error)
    if disk is None:
        return Live(mount.type, mount.source, block, None, every, None, extent, untold, read_only)
    matters = partitions.needs_table(block, disk)
    table = blocks.tables(answers.text(blocks.SIGNATURES)).get(disk.name) if matters else None
    logical = partitions.is_logical(block, table)
    return Live(mount.type, mount.source, block, disk, every, table, extent, untold, read_only, logical)
