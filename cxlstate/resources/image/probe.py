"""What the machine says of an image, and of what it is to be made from."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from cxlstate.core.address import AllOf
from cxlstate.core.answers import Answers, ReadFailed, failure
from cxlstate.core.exit_status import NOT_FOUND
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import Attributes, Command, File, Names, Read
from cxlstate.formats.storage import NOWHERE, Stat, Way, known, stat, stat_of, way, way_reads
from cxlstate.resources.image.spec import ImageSpec

CACHE: Final = "/var/lib/cxlstate/images"
"""Downloads on the machine itself, as SHA256.img: with that ending AppArmor lets libvirt look into a backing
file anywhere (usr.lib.libvirt.virt-aa-helper)."""

_INFO: Final = ("qemu-img", "info", "--output=json")
LOCKS: Final = File("/proc/locks")
# `N: OFDLCK ADVISORY READ -1 MAJOR:MINOR:INODE START END`, the device in hex (lock_get_status in fs/locks.c).
_LOCK: Final = re.compile(
    r"^\d+: (?:-> )?OFDLCK +\S+ +\S+ -?\d+ ([0-9a-f]+):([0-9a-f]+):(\d+) (\d+) (\d+|EOF)$", re.MULTILINE
)
_READS: Final = 100  # RAW_LOCK_PERM_BASE and the bit of BLK_PERM_CONSISTENT_READ
_WRITES: Final = 101  # and that of BLK_PERM_WRITE
_LOCKED: Final = 'Failed to get shared "write" lock'  # block/file-posix.c
LOOPS: Final = Attributes("/sys/block/loop*/loop/backing_file")
READ_ONLY: Final = Attributes("/sys/block/loop*/ro")


class Users(Enum):
    """What those who have an image open do with it, at most."""

    NONE = "nothing"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Info:
    """What qemu-img sees in a file. Sizes are bytes; `backing` is a whole path, where it can be one."""

    format: str
    size: int
    actual: int
    backing: str | None = None
    backing_format: str | None = None
    corrupt: bool = False
    encrypted: bool = False
    fixed: bool = False
    """Of version 2 with snapshots, which qemu-img cannot resize (qcow2_co_truncate in block/qcow2.c)."""


@dataclass(frozen=True, slots=True)
class Base:
    """The source on the machine. `part` is how many bytes of a download are there; `way` leads to it.

    `in_use`: a QEMU or a loop device writes to it.
    """

    path: str
    there: bool
    info: Info | None = None
    part: int = 0
    way: Way = NOWHERE
    in_use: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no image yet; `way` are the folders to where it will be."""

    base: Base | None
    way: Way = NOWHERE


@dataclass(frozen=True, slots=True)
class Live:
    """An image that is there. `base` is looked at for an overlay alone.

    `in_use`: somebody writes to it. `is_read`: a QEMU or a loop device reads it, and nobody writes: it is
    a backing file, or a CD-ROM. `loop`: the device as which the host itself may write to it.
    """

    stat: Stat
    info: Info | None
    in_use: bool
    base: Base | None = None
    way: Way = NOWHERE
    is_read: bool = False
    loop: str | None = None


Seen = Live | Missing


def base_path(spec: ImageSpec) -> str | None:
    """Where the source is on the machine, or will be."""
    if spec.source is None:
        return None
    return spec.source.path or f"{CACHE}/{spec.source.sha256}.img"


def reads(spec: ImageSpec) -> Sequence[Read]:
    """The image twice, since only without -U it tells whether somebody writes to it."""
    path = spec.path
    asked: list[Read] = [Names(path), stat(path), _info(path), _info(path, shared=True)]
    asked += [LOCKS, LOOPS, READ_ONLY, *way_reads(path)]
    base = base_path(spec) if spec.wanted else None
    if base:
        asked += [
            Names(base),
            stat(base),
            _info(base),
            _info(base, shared=True),
            *(way_reads(base) if spec.overlay else ()),
        ]
        asked += [stat(_part(base))] if spec.source and spec.source.url else []
    if spec.wanted:
        asked += [Command(("getent", "passwd"), (spec.owner,))] if spec.owner else []
        asked += [Command(("getent", "group"), (spec.group,))] if spec.group else []
    return asked


def observe(spec: ImageSpec, answers: Answers) -> Observation[Seen]:
    """Absent only where the folder has no such name. Raises ReadFailed."""
    there = spec.path in answers.files(Names(spec.path))
    if not there and not spec.wanted:
        return Absent()
    if answers.raw(_info(spec.path, shared=True)).status == NOT_FOUND:
        return Unknown(
            "qemu-img is not installed",
            cured_by=(AllOf("package"),),
            hint="declare qemu-utils in the host's `packages`",
            partly=None if there else Missing(None, way(spec.path, answers)),
        )
    if unknown := _unknown_account(spec, answers):
        return Unknown(
            f"no such {unknown}",
            cured_by=(AllOf("package"),),
            hint="declare the package that creates it in the host's `packages`, or fix the name",
            partly=None if there else Missing(None, way(spec.path, answers)),
        )
    if not there:
        return Present(Missing(_base(spec, answers), way(spec.path, answers)))
    file = _file(spec.path, answers)
    if not file.regular:
        return Present(Live(file, None, in_use=False))
    info, users = _parsed(spec.path, answers), _users(spec.path, file, answers)
    base = _base(spec, answers) if spec.wanted and spec.overlay else None
    in_use, is_read = users is Users.WRITE, users is Users.READ
    loop = next((name for name, read_only in _loops(spec.path, answers).items() if not read_only), None)
    return Present(Live(file, info, in_use, base, way(spec.path, answers), is_read, loop))


def _info(path: str, *, shared: bool = False) -> Command:
    """`-U` also reads what somebody has open. One file a call: it takes no more."""
    return Command((*_INFO, *(["-U"] if shared else []), path))


def _part(base: str) -> str:
    return f"{base}.part"


def _file(path: str, answers: Answers) -> Stat:
    file = stat_of(path, answers)
    if file is None:
        raise ReadFailed(stat(path), f"{path} cannot be looked at: is it a link that leads nowhere?")
    return file


def _base(spec: ImageSpec, answers: Answers) -> Base | None:
    path = base_path(spec)
    if path is None:
        return None
    if path in answers.files(Names(path)):
        leads = way(path, answers) if spec.overlay else NOWHERE
        file = known(path, answers)
        in_use = _LOCKED in answers.raw(_info(path)).stderr
        in_use = in_use or (file is not None and _seen(path, file, answers) is Users.WRITE)
        return Base(path, there=True, info=_parsed(path, answers), way=leads, in_use=in_use)
    if spec.source is None or spec.source.path:
        return Base(path, there=False)
    part = stat_of(_part(path), answers)
    return Base(path, there=False, part=part.size if part else 0)


def _users(path: str, file: Stat, answers: Answers) -> Users:
    """What those who have it open do with it, by qemu-img and by what the kernel tells."""
    read = _info(path)
    answer = answers.raw(read)
    if answer.status and _LOCKED not in answer.stderr:
        raise failure(read, answer)
    return Users.WRITE if answer.status else _seen(path, file, answers)


def _seen(path: str, file: Stat, answers: Answers) -> Users:
    """By QEMU's locks, and by loop devices.

    Who opens a raw image to read lets others write to it (bdrv_default_perms), and qemu-img says nothing.
    """
    locks = answers.text_or_none(LOCKS) or ""
    loops = _loops(path, answers)
    if _is_locked(file, locks, _WRITES) or not all(loops.values()):
        return Users.WRITE
    return Users.READ if loops or _is_locked(file, locks, _READS) else Users.NONE


def _loops(path: str, answers: Answers) -> dict[str, bool]:
    """Devices that the host has made of it, each with whether it is read-only."""
    read_only = {name.split("/")[-2]: text.strip() == "1" for name, text in answers.files(READ_ONLY).items()}
    found = (name.split("/")[-3] for name, text in answers.files(LOOPS).items() if text.rstrip("\n") == path)
    return {f"/dev/{name}": read_only.get(name, False) for name in found}


def _is_locked(file: Stat, locks: str, permission: int) -> bool:
    """Whether somebody has QEMU's lock of a permission: a byte for each (block/file-posix.c)."""
    for major, minor, inode, start, end in _LOCK.findall(locks):
        number = f"{int(major, 16)}:{int(minor, 16)}"
        covers = int(start) <= permission and (end == "EOF" or int(end) >= permission)
        if covers and (number, inode) == (file.number, file.identity.partition(":")[2]):
            return True
    return False


def _parsed(path: str, answers: Answers) -> Info:
    read = _info(path, shared=True)
    text = answers.text(read)
    try:
        return _of(json.loads(text), posixpath.dirname(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReadFailed(read, f"qemu-img says something else of {path} than expected: {error}") from error


def _of(said: dict[str, Any], folder: str) -> Info:
    """`ImageInfo` of QEMU's qapi/block-core.json. A backing file may be named from the image's folder."""
    backing = _plain(said.get("full-backing-filename") or said.get("backing-filename"))
    if backing is not None and ":" not in backing.partition("/")[0]:  # or it is of a protocol: nbd:…
        backing = posixpath.normpath(posixpath.join(folder, backing))
    data = said.get("format-specific", {}).get("data", {})
    return Info(
        format=str(said["format"]),
        size=int(said["virtual-size"]),
        actual=int(said.get("actual-size", 0)),
        backing=backing,
        backing_format=said.get("backing-filename-format"),
        corrupt=data.get("corrupt") is True,
        encrypted=said.get("encrypted") is True,
        fixed=data.get("compat") == "0.10" and bool(said.get("snapshots")),
    )


def _plain(name: str | None) -> str | None:
    """A file that is named with its protocol, or by a node that is nothing but that file, as any other.

    `file:PATH` and `json:{…}` (docs/system/qemu-block-drivers, parse_json_protocol in block.c).
    """
    if name is None or not name.startswith("json:"):
        return None if name is None else name.removeprefix("file:")
    try:
        node = json.loads(name.removeprefix("json:"))
        while node.keys() == {"driver", "file"}:
            node = node["file"]
    except (ValueError, AttributeError):
        return name
    of_file = node.get("driver") == "file" and node.keys() == {"driver", "filename"}
    return str(node["filename"]) if of_file else name


def _unknown_account(spec: ImageSpec, answers: Answers) -> str | None:
    """Which user or group there is none of; it does not matter to what is to go."""
    if not spec.wanted:
        return None
    for database, noun, name in (("passwd", "user", spec.owner), ("group", "group", spec.group)):
        if name and name not in _accounts(Command(("getent", database), (name,)), answers):
            return f"{noun} {name}"
    return None


def _accounts(read: Command, answers: Answers) -> frozenset[str]:
    """getent(1): status 2 where one of many is not found; the others are shown all the same."""
    answer = answers.raw(read)
    if answer.status not in (0, 2):
        raise failure(read, answer)
    return frozenset(line.partition(":")[0] for line in answer.text.splitlines())
