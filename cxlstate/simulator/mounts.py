"""What is mounted on the simulated machine, and who may write on the way to a file: mountinfo, inode(7)."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterator
from typing import Final

from cxlstate.formats.storage import Mount, mount_lines
from cxlstate.simulator.files import Files
from cxlstate.simulator.world import World

ROOT: Final = "root:root"
_USUAL: Final = {
    "/": "ext4",
    "/proc": "proc",
    "/sys": "sysfs",
    "/dev": "devtmpfs",
    "/dev/shm": "tmpfs",  # noqa: S108  # of every host
    "/run": "tmpfs",
    "/tmp": "tmpfs",  # noqa: S108  # as Debian 13 has it
}
_FIRST: Final = 1_048_000
"""Minor number of the first one: beyond those of the machine that simulates."""


def mountinfo(world: World) -> str:
    """`/proc/self/mountinfo`."""
    lines = []
    for number, (point, said) in enumerate((_USUAL | world.mounts).items()):
        kind, _, device = said.partition(" ")
        source = device or ("/dev/sda1" if kind == "ext4" else kind)
        lines.append(f"{22 + number} 1 0:{_FIRST + number} / {point} rw,relatime - {kind} {source} rw\n")
    return "".join(lines)


def mounted(world: World, device: str) -> bool:
    """Whether a device is mounted somewhere."""
    return any(one.source == device for one in mount_lines(mountinfo(world)))


class Mounts:
    """Where files of the machine lie."""

    def __init__(self, world: World, files: Files) -> None:
        self._world = world
        self._files = files

    def device(self, path: str) -> int:
        """The number of the device that a file lies on, as glibc's makedev makes it; links are followed.

        Of the root file system it is that of the folder, which is none of those of mountinfo (as with btrfs).
        """
        mount = self.of(path)
        if mount.point == "/":
            return self._files.stat(path).st_dev
        minor = int(mount.number.partition(":")[2])
        return minor & 0xFF | (minor & ~0xFF) << 12

    def of(self, path: str) -> Mount:
        """What is mounted there."""
        real = f"{self._files.inside(path)}/"
        found = (
            one for one in mount_lines(mountinfo(self._world)) if real.startswith(f"{one.point.rstrip('/')}/")
        )
        return max(found, key=lambda one: len(one.point))

    def mode(self, path: str) -> int:
        """Of a folder, what the umask of whoever made the simulator's has left to a group is not told."""
        mode = self._files.stat(path).st_mode
        return mode & ~stat.S_IWGRP if stat.S_ISDIR(mode) and path not in self._world.owners else mode

    def owner(self, path: str) -> tuple[str, str]:
        """User and group."""
        user, _, group = self._world.owners.get(path, ROOT).partition(":")
        return user, group

    def exposed(self, path: str) -> str | None:
        """The first folder on the way, links followed, in which others than root can swap what is in it."""
        return next((folder for folder in self._way(path) if self._is_exposed(folder)), None)

    def _is_exposed(self, folder: str) -> bool:
        user, group = self.owner(folder)
        mode = self.mode(folder)
        return user != "root" or bool(mode & stat.S_IWOTH or (mode & stat.S_IWGRP and group != "root"))

    def _way(self, path: str) -> Iterator[str]:
        for one in dict.fromkeys((path, self._files.inside(path))):
            folder = posixpath.dirname(one)
            while folder != "/":
                if self._files.exists(folder):
                    yield folder
                folder = posixpath.dirname(folder)
