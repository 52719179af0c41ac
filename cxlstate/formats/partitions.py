"""Disks and partitions as sysfs has them, and how far a partition can grow. Sectors of 512 bytes throughout.

`/sys/class/block/NAME/{size,start,partition,dev}`, and NAME itself a link: a partition stands below its disk
(Documentation/ABI/stable/sysfs-block). `growth` is the arithmetic of growpart (`resize_sfdisk` of
cloud-utils), whose exit status 1 says both *no change* and *another partition is in the way*. Its older
versions (0.33, of Debian 13) fill the disk to the sector, newer ones to a whole MiB.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cxlstate.core.answers import Answers
from cxlstate.core.read import Attributes, Links, Read

SECTOR: Final = 512
FOLDER: Final = "/sys/class/block"
ATTRIBUTES: Final = tuple(Attributes(f"{FOLDER}/*/{name}") for name in ("size", "start", "partition", "dev"))
STACKED: Final = Attributes(f"{FOLDER}/*/dm/uuid")
PLACE: Final = Links(f"{FOLDER}/*")
READS: Final[tuple[Read, ...]] = (*ATTRIBUTES, STACKED, PLACE)

_LEAST: Final = 2 * (1 << 20) // SECTOR  # one MiB that is not worth it (FUDGE), and one that newer ones leave
_BACKUP: Final = 33  # of a GPT at the end of the disk; left free with an MBR, too
_MBR: Final = 1 << 32
_PRIMARY: Final = 4
DOS: Final = "dos"
"""An MBR, in the words of lsblk."""


@dataclass(frozen=True, slots=True)
class Block:
    """A disk or a partition. `number` and `disk` are of a partition; `stacked` is the UUID of a dm device."""

    name: str
    device: str
    size: int
    start: int = 0
    number: int | None = None
    disk: str | None = None
    stacked: str = ""

    @property
    def end(self) -> int:
        """The first sector behind it."""
        return self.start + self.size

    @property
    def bytes(self) -> int:
        """How large it is."""
        return self.size * SECTOR


@dataclass(frozen=True, slots=True)
class Growth:
    """How many sectors a partition can grow by, at most; `behind` is the next one, which keeps it from more.

    `free` are the sectors of the disk that no partition has, behind that one.
    """

    sectors: int
    behind: Block | None = None
    free: int = 0


def read_blocks(answers: Answers) -> tuple[Block, ...]:
    """All disks and partitions, of the answers to `READS`. Raises ReadFailed and ValueError."""
    files = {path: text for read in (*ATTRIBUTES, STACKED) for path, text in answers.files(read).items()}
    return parse(files, answers.files(PLACE))


def parse(files: Mapping[str, str], links: Mapping[str, str]) -> tuple[Block, ...]:
    """ValueError where an attribute is missing or is no number."""
    return tuple(_block(posixpath.basename(path), target, files) for path, target in sorted(links.items()))


def _block(name: str, target: str, files: Mapping[str, str]) -> Block:
    def number(attribute: str) -> int:
        text = files.get(f"{FOLDER}/{name}/{attribute}", "").strip()
        if not text.isdigit():
            raise ValueError(f"{FOLDER}/{name}/{attribute} is no number: {text[:40]!r}")
        return int(text)

    is_part = f"{FOLDER}/{name}/partition" in files
    return Block(
        name=name,
        device=files.get(f"{FOLDER}/{name}/dev", "").strip(),
        size=number("size"),
        start=number("start") if is_part else 0,
        number=number("partition") if is_part else None,
        disk=posixpath.basename(posixpath.dirname(target)) if is_part else None,
        stacked=files.get(f"{FOLDER}/{name}/dm/uuid", "").strip(),
    )


def needs_table(part: Block, disk: Block) -> bool:
    """Whether it matters to the growth of a partition which table the disk has."""
    return disk.size > _MBR or (part.number or 0) > _PRIMARY


def is_logical(part: Block, table: str | None) -> bool:
    """Whether it is within an extended partition, which growpart does not grow; they count from 5."""
    return table == DOS and (part.number or 0) > _PRIMARY


def growth(part: Block, disk: Block, blocks: tuple[Block, ...], table: str | None = None) -> Growth:
    """What growpart would make of a partition. An MBR ends at 2 TiB."""
    others = [one for one in blocks if one.disk == disk.name and one.start >= part.end]
    after = min(others, key=lambda one: one.start, default=None)
    last = min(after.start if after else disk.size, disk.size) - 1
    if last > disk.size - _BACKUP:
        last = disk.size - _BACKUP - 1
    if table == DOS:
        last = min(last, _MBR - 1)
    more = last - (part.end - 1)
    free = disk.size - max((one.end for one in others), default=part.end) - _BACKUP
    return Growth(more if more >= _LEAST else 0, after, max(free, 0))
