"""Disks, partitions and file systems: sysfs, lsblk, growpart, resize2fs, xfs_growfs and btrfs.

Sources: Documentation/ABI/stable/sysfs-block, lsblk(8), growpart of cloud-utils 0.33, resize2fs(8).
What an ext4 leaves of its device is not modelled: it fills it to the block.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from cxlstate.core.answers import Answer
from cxlstate.core.exit_status import NOT_FOUND
from cxlstate.formats import filesystem, partitions
from cxlstate.formats.partitions import SECTOR, Block
from cxlstate.formats.storage import Mount, mount_lines
from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.mounts import mountinfo
from cxlstate.simulator.ndctl import Nd
from cxlstate.simulator.world import Disk, Partition, World

_FULL = 41943040  # sectors: 20 GiB
_FIRST = 2048
_BLOCK = 4096
_TOOLS = {
    "growpart": "cloud-guest-utils",
    "dumpe2fs": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "xfs_info": "xfsprogs",
    "xfs_growfs": "xfsprogs",
    "btrfs": "btrfs-progs",
}


class Blocks:
    """The disks of one machine."""

    def __init__(self, world: World, step: Callable[[str], None] = lambda _: None) -> None:
        self._world = world
        self._step = step

    def files(self) -> Iterator[tuple[str, str]]:
        """Attributes in sysfs, and growpart where it is installed."""
        for number, (name, disk) in enumerate(self._disks().items()):
            yield from _attributes(name, size=disk.size, dev=f"8:{16 * number}")
            for one in disk.partitions:
                dev = f"8:{16 * number + one.number}"
                yield from _attributes(
                    f"{name}{one.number}", size=one.size, start=one.start, partition=one.number, dev=dev
                )
        if self._has("growpart"):
            yield "/usr/bin/growpart", "#!/bin/sh\n"

    def links(self) -> Iterator[tuple[str, str]]:
        """Where each is: a partition below its disk."""
        for name, disk in self._disks().items():
            place = f"../../devices/pci0000:00/0000:00:05.0/virtio2/block/{name}"
            yield f"{partitions.FOLDER}/{name}", place
            for one in disk.partitions:
                yield f"{partitions.FOLDER}/{name}{one.number}", f"{place}/{name}{one.number}"

    def file_system(self, point: str) -> Answer:
        """What its tool says, in its words as far as they are read."""
        if not self._world.login.root:
            return Answer(1, b"", "Permission denied: only root can see it")
        mount = self._mount(point)
        found = self._part(mount.source) if mount else None
        if mount is None:
            return Answer(1, b"", "nothing is mounted there")
        tool = {filesystem.XFS: "xfs_info", filesystem.BTRFS: "btrfs"}.get(mount.type, "dumpe2fs")
        if found is None or mount.type not in filesystem.TYPES:
            return Answer(1, b"", f"it is of type {mount.type}")
        if not self._has(tool):
            return Answer(NOT_FOUND, b"", tool)
        return Answer(0, _superblock(mount, found[2]).encode())

    # Programs ------------------------------------------------------------------------------------

    def lsblk(self, words: list[str]) -> Ended:
        """Names and what is on them: the machine's own disks, and those of persistent memory."""
        if words != ["--json", "--output=NAME,FSTYPE,PTTYPE"]:
            return unknown(("lsblk", *words))
        found: list[dict[str, object]] = []
        for name, disk in self._disks().items():
            parts = [
                {"name": f"{name}{one.number}", "fstype": one.type, "pttype": "dos"}
                for one in disk.partitions
            ]
            found.append({**_listed(name, None), "children": parts})
        for name, kind in Nd(self._world, self._step).disks():
            found.append({"name": name, "fstype": kind or None, "pttype": None})
        return Ended(stdout=json.dumps({"blockdevices": found}, indent=3) + "\n")

    def growpart(self, words: list[str]) -> Ended:
        """Exit 1 is *no change*, whatever keeps it from one."""
        disk = self._disks().get(words[0].removeprefix("/dev/")) if len(words) == 2 else None  # noqa: PLR2004  # disk, number
        if not self._has("growpart") or disk is None:
            return unknown(("growpart", *words))
        part = next((one for one in disk.partitions if str(one.number) == words[1]), None)
        if part is None:
            return Ended(
                2, stderr=f"FAILED: failed to get start and end for {''.join(words)} in {words[0]}\n"
            )
        more = self._growth(words[0].removeprefix("/dev/"), disk, part)
        said = f"partition={part.number} start={part.start}"
        if not more:
            size = f"{part.size * SECTOR} bytes ({part.size} sectors of {SECTOR})"
            return Ended(1, f"NOCHANGE: partition {part.number} size is {size}. it cannot be grown\n")
        old = f"old: size={part.size} end={part.start + part.size - 1}"
        self._keep()
        part.size += more
        self._step(f"grown: {words[0]}{part.number}")
        new = f"new: size={part.size} end={part.start + part.size - 1}"
        return Ended(stdout=f"CHANGED: {said} {old} {new}\n")

    def resize2fs(self, words: list[str]) -> Ended:
        """On line, to the end of the partition."""
        found = self._part(words[0]) if len(words) == 1 else None
        if not self._has("resize2fs") or found is None:
            return unknown(("resize2fs", *words))
        return self._resized(found[2], Ended(stdout=f"Resizing the filesystem on {words[0]}\n"))

    def xfs_growfs(self, words: list[str]) -> Ended:
        """By mount point."""
        mount = self._mount(words[0]) if len(words) == 1 else None
        found = self._part(mount.source) if mount else None
        if not self._has("xfs_growfs") or found is None:
            return unknown(("xfs_growfs", *words))
        return self._resized(found[2], Ended(stdout="data blocks changed\n"))

    def btrfs(self, words: list[str]) -> Ended:
        """`btrfs filesystem resize max POINT`."""
        mount = self._mount(words[-1]) if words[:3] == ["filesystem", "resize", "max"] else None
        found = self._part(mount.source) if mount else None
        if not self._has("btrfs") or found is None:
            return unknown(("btrfs", *words))
        return self._resized(found[2], Ended(stdout=f"Resize device id 1 ({words[-1]}) to max\n"))

    def _resized(self, part: Partition, ended: Ended) -> Ended:
        self._keep()
        part.holds = part.size * SECTOR // _BLOCK * _BLOCK
        self._step(f"resized: {part.number}")
        return ended

    # State ---------------------------------------------------------------------------------------

    def _disks(self) -> dict[str, Disk]:
        """Those of the machine; without any, one that is full."""
        if self._world.disks:
            return self._world.disks
        size = (_FULL - _FIRST) // 2048 * 2048 - 2048
        return {"sda": Disk(_FULL, [Partition(1, _FIRST, size, holds=size * SECTOR)])}

    def _keep(self) -> None:
        """What is not written down yet is, before it changes."""
        if not self._world.disks:
            self._world.disks = self._disks()

    def _growth(self, name: str, disk: Disk, part: Partition) -> int:
        blocks = tuple(
            Block(f"{name}{one.number}", "", one.size, one.start, one.number, name) for one in disk.partitions
        )
        mine = next(one for one in blocks if one.number == part.number)
        return partitions.growth(mine, Block(name, "", disk.size), blocks, partitions.DOS).sectors

    def _mount(self, point: str) -> Mount | None:
        found = [one for one in mount_lines(mountinfo(self._world)) if one.point == point]
        return found[-1] if found else None

    def _part(self, source: str) -> tuple[str, Disk, Partition] | None:
        match = re.fullmatch(r"/dev/([a-z]+)(\d+)", source)
        disk = self._disks().get(match[1]) if match else None
        if match is None or disk is None:
            return None
        part = next((one for one in disk.partitions if one.number == int(match[2])), None)
        return (match[1], disk, part) if part else None

    def _has(self, tool: str) -> bool:
        package = self._world.installed.get(_TOOLS[tool])
        return package is not None and package.status.endswith(" installed")


def _listed(name: str, kind: str | None) -> dict[str, object]:
    return {"name": name, "fstype": kind, "pttype": "dos"}


def _attributes(name: str, **values: object) -> Iterator[tuple[str, str]]:
    for attribute, value in values.items():
        yield f"{partitions.FOLDER}/{name}/{attribute}", f"{value}\n"


def _superblock(mount: Mount, part: Partition) -> str:
    count = part.holds // _BLOCK
    if mount.type == filesystem.XFS:
        return f"data     =                       bsize={_BLOCK}   blocks={count}, imaxpct=25\n"
    if mount.type == filesystem.BTRFS:
        return f"\tdevid    1 size {part.holds} used 0 path {mount.source}\n"
    return (
        f"Block count:              {count}\nBlock size:               {_BLOCK}\n"
        "Blocks per group:         32768\nInode blocks per group:   512\nReserved GDT blocks:      0\n"
    )
