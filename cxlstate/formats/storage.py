"""Whether a file outlives the next boot, is in QEMU's reach, and has a path that only root can change. Pure.

By its path (`volatile`), and by what the machine says of the folders on the way: stat(1) and
/proc/self/mountinfo (proc_pid_mountinfo(5)).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from stat import S_IMODE, S_ISBLK, S_ISCHR, S_ISREG, S_ISVTX, S_IWGRP, S_IWOTH, S_IXGRP, S_IXOTH
from typing import Final

from cxlstate.core.answers import Answer, Answers, ReadFailed, failure
from cxlstate.core.exit_status import NOT_FOUND
from cxlstate.core.read import Command, File

MOUNTS: Final = File("/proc/self/mountinfo")
QEMU: Final = File("/etc/libvirt/qemu.conf")

_USER: Final = re.compile(r"""^[^\S\n]*+user\s*=\s*["']\+?([^"']*)["']""", re.MULTILINE)
_DEFAULT_USER: Final = "libvirt-qemu"  # on Debian and Ubuntu: default_qemu_user in libvirt's build
_ROOT: Final = ("root", "0")

_TEMPORARY: Final = "/tmp"  # noqa: S108  # to be refused
VOLATILE: Final = (
    *("/dev/shm", "/dev/hugepages", "/dev/mqueue", "/dev", "/proc", "/sys", "/run"),  # noqa: S108  # likewise
    *(_TEMPORARY, "/var/run", "/var/lock"),
)
"""File systems in memory (file-hierarchy(7)), and what is emptied at boot (tmpfiles.d/tmp.conf)."""

_REMOVABLE: Final = "/run/media"
"""Where udisks mounts disks."""

_MEMORY: Final = frozenset(
    (
        *("tmpfs", "devtmpfs", "ramfs", "rootfs", "hugetlbfs", "proc", "sysfs", "devpts", "mqueue"),
        *("securityfs", "debugfs", "tracefs", "configfs", "cgroup", "cgroup2", "bpf", "pstore", "efivarfs"),
        *("binfmt_misc", "fusectl", "selinuxfs"),
    )
)
"""Types of file systems, as mountinfo names them, that keep nothing, or no files."""

_RAM_DISK: Final = re.compile("/dev/z?ram[0-9]+")  # drivers/block/brd.c, zram

# stat(1): mode in hex, device:inode, user:group, name; names and sizes of others come along.
_STAT: Final = ("stat", "--dereference", "--format=%f %d:%i %s %U:%G:%n")
_NOT_ALL_FOUND: Final = 1
_FIELDS: Final = 4
_MODE: Final = re.compile("[0-9a-f]{1,8}")
_IDENTITY: Final = re.compile(r"\d+:\d+", re.ASCII)
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Stat:
    """A file as the kernel sees it, links followed. `identity` is its device and inode."""

    mode: int
    identity: str
    size: int
    owner: str
    group: str

    @property
    def regular(self) -> bool:
        """Neither a folder nor a device."""
        return S_ISREG(self.mode)

    @property
    def device(self) -> bool:
        """A block or character device."""
        return S_ISBLK(self.mode) or S_ISCHR(self.mode)

    @property
    def permissions(self) -> str:
        """As they are written in a spec."""
        return f"{S_IMODE(self.mode):04o}"

    @property
    def number(self) -> str:
        """`MAJOR:MINOR` of the device that it lies on, as mountinfo writes it (glibc's gnu_dev_major)."""
        number = int(self.identity.partition(":")[0])
        major = number >> 8 & 0xFFF | number >> 32 & ~0xFFF
        return f"{major}:{number & 0xFF | number >> 12 & ~0xFF}"

    def entered_by(self, user: str) -> bool:
        """Whether somebody besides root may find files in this folder, as far as its mode tells."""
        return self.owner == user or bool(self.mode & (S_IXGRP | S_IXOTH))

    @property
    def writable_by_others(self) -> bool:
        """Whether somebody besides root may put another file in this folder."""
        by_group = self.mode & S_IWGRP and self.group != "root"
        return self.owner != "root" or bool(by_group or self.mode & S_IWOTH)


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo."""

    number: str
    point: str
    type: str
    source: str
    options: str


def volatile(path: str) -> str | None:
    """The folder of `VOLATILE` that a path lies in."""
    plain = posixpath.normpath("/" + path.lstrip("/"))
    if plain.startswith(f"{_REMOVABLE}/"):
        return None
    return next((one for one in VOLATILE if plain == one or plain.startswith(f"{one}/")), None)


def stat(path: str) -> Command:
    """One file a question; the engine asks for all of them at once."""
    return Command(_STAT, (path,))


def stat_of(path: str, answers: Answers) -> Stat | None:
    """None where there is nothing, or a link that leads nowhere. Raises ReadFailed."""
    read = stat(path)
    answer = answers.raw(read)
    if answer.status not in (0, _NOT_ALL_FOUND):
        raise failure(read, answer)
    return dict(_records(answer)).get(path)


def folders(path: str) -> tuple[str, ...]:
    """Every folder on the way to a file, from the root."""
    steps = posixpath.normpath("/" + path.lstrip("/")).split("/")[1:-1]
    return ("/", *("/" + "/".join(steps[: end + 1]) for end in range(len(steps))))


@dataclass(frozen=True, slots=True)
class Way:
    """The folders to a file, and what is mounted. Those that are not there are made: they are no part of it.

    Empty where the machine did not say.
    """

    folders: Mapping[str, Stat]
    mounts: tuple[Mount, ...] = ()
    qemu: str | None = None  # the user that QEMU runs as; None: not known

    @property
    def closed(self) -> tuple[str, Stat] | None:
        """The first folder that QEMU's user certainly cannot enter.

        libvirt hands it the file, not the folders. Where the group may enter, an access control list may let
        others in: those bits are its mask then (acl(5)).
        """
        if self.qemu is None or self.qemu in _ROOT:
            return None
        found = sorted(self.folders.items(), key=lambda one: len(one[0]))
        return next((one for one in found if not one[1].entered_by(self.qemu)), None)

    @property
    def memory(self) -> str | None:
        """What the file lies in, or would, if that is lost with the power: `tmpfs on /srv/images`."""
        if not self.folders:
            return None
        name = max(self.folders, key=len)
        mount = _mount(self.folders[name].number, self.mounts)
        return _in_memory(mount, self.mounts) if mount else None

    def exposed(self, file: Stat | None) -> tuple[str, Stat] | None:
        """The first folder in which somebody besides root could swap what leads to the file.

        In a sticky one (as /var/tmp) nobody can move what is root's, which has to be there for that.
        """
        found = sorted(self.folders.items(), key=lambda one: len(one[0]))
        inside = [*(stat for _, stat in found[1:]), file]
        for (name, one), inner in zip(found, inside, strict=True) if found else ():
            roots = inner is not None and inner.owner == "root"
            if one.writable_by_others and not (one.owner == "root" and one.mode & S_ISVTX and roots):
                return name, one
        return None


NOWHERE: Final = Way({})
"""Of a file of which nothing was asked."""


def way_reads(path: str) -> tuple[Command | File, ...]:
    """What has to be asked for a `Way`."""
    return (MOUNTS, QEMU, *map(stat, folders(path)))


def way(path: str, answers: Answers) -> Way:
    """What the machine says of the way to a file."""
    found = {name: one for name in folders(path) if (one := known(name, answers))}
    mounts = answers.raw(MOUNTS)
    lines = tuple(mount_lines(mounts.text)) if mounts.status == 0 else ()
    return Way(found, lines, _qemu_user(answers))


def _qemu_user(answers: Answers) -> str | None:
    """As `user` in qemu.conf says."""
    try:
        text = answers.text_or_none(QEMU) or ""
    except ReadFailed:
        return None
    written = _USER.findall(text)
    return written[-1] if written else _DEFAULT_USER


def mount_lines(text: str) -> Iterator[Mount]:
    """`ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG…] - TYPE SOURCE OPTIONS`; signs in octal."""
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        first, last = left.split(" "), right.split(" ")
        if separator and len(first) > 4 and len(last) > 2:  # noqa: PLR2004  # up to POINT, up to OPTIONS
            yield Mount(first[2], plain(first[4]), last[0], plain(last[1]), last[2])


def plain(text: str) -> str:
    """A name as it is: the kernel writes a blank as its octal number (mangle_path in fs/seq_file.c)."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)


def known(name: str, answers: Answers) -> Stat | None:
    """As `stat_of`, and None also where there is no stat(1)."""
    answer = answers.raw(stat(name))
    return None if answer.status == NOT_FOUND else stat_of(name, answers)


def _records(answer: Answer) -> Iterator[tuple[str, Stat]]:
    for line in answer.text.splitlines():
        fields = line.split(" ", _FIELDS - 1)
        if len(fields) < _FIELDS or fields[-1].count(":") < 2:  # noqa: PLR2004  # user:group:name
            continue
        mode, identity, size, named = fields
        if not (_IDENTITY.fullmatch(identity) and _MODE.fullmatch(mode)):
            raise ValueError(f"stat: no mode, device and inode: {f'{mode} {identity}'[:40]!r}")
        owner, group, name = named.split(":", 2)
        yield name, Stat(int(mode, 16), identity, int(size), owner, group)


def _mount(number: str, mounts: Iterable[Mount]) -> Mount | None:
    """Of a device; of several, as of bind mounts, any: they are one file system."""
    return next((one for one in mounts if one.number == number), None)


def _in_memory(mount: Mount, mounts: tuple[Mount, ...]) -> str | None:
    if mount.type in _MEMORY or _RAM_DISK.fullmatch(mount.source):
        return f"{mount.type} on {mount.point}"
    if mount.type != "overlay":
        return None
    # Of a live system: what is written goes to `upperdir` (Documentation/filesystems/overlayfs.rst).
    upper = re.search(r"(?:^|,)upperdir=([^,]*)", mount.options)
    if upper is None:
        return None
    path = plain(upper[1])
    inside = [
        one
        for one in mounts
        if one.number != mount.number and f"{path}/".startswith(f"{one.point.rstrip('/')}/")
    ]
    below = max(inside, key=lambda one: len(one.point), default=None)
    lost = below and (below.type in _MEMORY or _RAM_DISK.fullmatch(below.source))
    return f"overlay on {mount.point}, which keeps its changes in {below.type}" if lost and below else None
