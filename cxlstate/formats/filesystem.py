"""How large a file system is, by what its own tool says of it; and how much of its device it may leave.

`dumpe2fs -h` (e2fsprogs), `xfs_info` (xfsprogs), `btrfs filesystem show --raw` (btrfs-progs). Bytes.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import Final

EXT: Final = ("ext2", "ext3", "ext4")
XFS: Final = "xfs"
BTRFS: Final = "btrfs"
TYPES: Final = (*EXT, XFS, BTRFS)

_DESCRIPTOR: Final = 64
_SPARE: Final = 50  # blocks that a last group has to have besides its metadata (resize2fs, adjust_fs_info)
_XFS_LEAST: Final = 64  # blocks of an allocation group (XFS_MIN_AG_BLOCKS)
_BTRFS_LEAST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Extent:
    """What a file system takes of its device. It fills a device that is at most `slack` larger.

    `number` is that of its device, of Btrfs: not 1 where the first one was replaced or removed.
    """

    size: int
    slack: int
    number: int = 1

    def fills(self, device: int) -> bool:
        """Whether growing it would change nothing."""
        return device - self.size <= self.slack


def parse(kind: str, text: str, device: str) -> Extent:
    """The answer to `FileSystem`; `device` is the kernel's name of it. ValueError for another form."""
    if kind in EXT:
        return _ext(text)
    if kind == XFS:
        return _xfs(text)
    if kind == BTRFS:
        return _btrfs(text, device)
    raise ValueError(f"file systems of type {kind} are not grown")


def _ext(text: str) -> Extent:
    """A last group that would be too small for its own metadata is left out."""
    found = dict(re.findall(r"^([A-Z][A-Za-z ]+):\s+(\d+)$", text, re.MULTILINE))
    try:
        size, count = int(found["Block size"]), int(found["Block count"])
        groups = -(-count // int(found["Blocks per group"]))
        tables = int(found["Inode blocks per group"])
    except KeyError as error:
        raise ValueError(f"dumpe2fs does not say {error}") from error
    descriptors = -(-groups * _DESCRIPTOR // size) + int(found.get("Reserved GDT blocks", 0))
    return Extent(size * count, size * (3 + tables + descriptors + _SPARE))


def _xfs(text: str) -> Extent:
    match = re.search(r"^data +=.*?bsize=(\d+) +blocks=(\d+)", text, re.MULTILINE)
    if match is None:
        raise ValueError("xfs_info does not say how large it is")
    size, count = int(match[1]), int(match[2])
    return Extent(size * count, size * _XFS_LEAST)


def _btrfs(text: str, device: str) -> Extent:
    rows = re.findall(r"^[^\S\n]*+devid +(\d+) size (\d+) used \d+ path (\S+)", text, re.MULTILINE)
    if len(rows) > 1:
        raise ValueError(f"it is on {len(rows)} devices: which of them is to grow is not said")
    for number, size, path in rows:
        if posixpath.basename(path) == device:
            return Extent(int(size), _BTRFS_LEAST, int(number))
    raise ValueError(f"btrfs does not list {device}")
