"""What the machine says of an image, and of what it is to be made from."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from stat import S_IMODE, S_ISREG
from typing import Any, Final

from cxlstate.core.address import AllOf
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import NOT_FOUND, Answer, Answers, Command, Names, Read, ReadFailed, failure
from cxlstate.resources.image.spec import ImageSpec

CACHE: Final = "/var/lib/cxlstate/images"
"""Downloads on the machine itself, as SHA256.img: with that ending AppArmor lets libvirt look into a backing
file anywhere (usr.lib.libvirt.virt-aa-helper)."""

# stat(1): mode in hex, device:inode, user:group, name; names and sizes of others come along.
_STAT: Final = ("stat", "--dereference", "--format=%f %d:%i %s %U:%G:%n")
_INFO: Final = ("qemu-img", "info", "--output=json")
_NOT_ALL_FOUND: Final = 1
_LOCKED: Final = 'Failed to get shared "write" lock'  # block/file-posix.c
_FIELDS: Final = 4


@dataclass(frozen=True, slots=True)
class Stat:
    """A file as the kernel sees it. `identity` is its device and inode."""

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
    def permissions(self) -> str:
        """As they are written in a spec."""
        return f"{S_IMODE(self.mode):04o}"


@dataclass(frozen=True, slots=True)
class Info:
    """What qemu-img sees in a file. Sizes are bytes; `backing` is a whole path, where it can be one."""

    format: str
    size: int
    actual: int
    backing: str | None = None
    backing_format: str | None = None
    corrupt: bool = False


@dataclass(frozen=True, slots=True)
class Base:
    """The source on the machine. `part` is how many bytes of a download are there."""

    path: str
    there: bool
    info: Info | None = None
    part: int = 0


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no image yet."""

    base: Base | None


@dataclass(frozen=True, slots=True)
class Live:
    """An image that is there. `base` is looked at for an overlay alone."""

    stat: Stat
    info: Info | None
    in_use: bool
    base: Base | None = None


Seen = Live | Missing


def base_path(spec: ImageSpec) -> str | None:
    """Where the source is on the machine, or will be."""
    if spec.source is None:
        return None
    return spec.source.path or f"{CACHE}/{spec.source.sha256}.img"


def reads(spec: ImageSpec) -> Sequence[Read]:
    """The image twice, since only without -U it tells whether somebody writes to it."""
    path = spec.path
    asked: list[Read] = [Names(path), _stat(path), _info(path), _info(path, shared=True)]
    base = base_path(spec) if spec.wanted else None
    if base:
        asked += [Names(base), _info(base, shared=True)]
        asked += [_stat(_part(base))] if spec.source and spec.source.url else []
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
            hint="add qemu-utils to host.packages",
        )
    if unknown := _unknown_account(spec, answers):
        return Unknown(
            f"there is no {unknown}",
            cured_by=(AllOf("package"),),
            hint="declare the package that makes it (host.packages), or correct the name",
        )
    if not there:
        return Present(Missing(_base(spec, answers)))
    file = _file(spec.path, answers)
    if not file.regular:
        return Present(Live(file, None, in_use=False))
    info, in_use = _parsed(spec.path, answers), _in_use(spec.path, answers)
    return Present(Live(file, info, in_use, _base(spec, answers) if spec.wanted and spec.overlay else None))


def _stat(path: str) -> Command:
    return Command(_STAT, (path,))


def _info(path: str, *, shared: bool = False) -> Command:
    """`-U` also reads what somebody has open. One file a call: it takes no more."""
    return Command((*_INFO, *(["-U"] if shared else []), path))


def _part(base: str) -> str:
    return f"{base}.part"


def _file(path: str, answers: Answers) -> Stat:
    file = _files(path, answers).get(path)
    if file is None:
        raise ReadFailed(_stat(path), f"{path} cannot be looked at: is it a link that leads nowhere?")
    return file


def _files(path: str, answers: Answers) -> dict[str, Stat]:
    """What was found of all that was asked for; others that are not there do not matter."""
    read = _stat(path)
    answer = answers.raw(read)
    if answer.status not in (0, _NOT_ALL_FOUND):
        raise failure(read, answer)
    return dict(_records(answer))


def _records(answer: Answer) -> Iterator[tuple[str, Stat]]:
    for line in answer.text.splitlines():
        fields = line.split(" ", _FIELDS - 1)
        if len(fields) < _FIELDS or fields[-1].count(":") < 2:  # noqa: PLR2004  # user:group:name
            continue
        mode, identity, size, named = fields
        owner, group, name = named.split(":", 2)
        yield name, Stat(int(mode, 16), identity, int(size), owner, group)


def _base(spec: ImageSpec, answers: Answers) -> Base | None:
    path = base_path(spec)
    if path is None:
        return None
    if path in answers.files(Names(path)):
        return Base(path, there=True, info=_parsed(path, answers))
    if spec.source is None or spec.source.path:
        return Base(path, there=False)
    part = _files(_part(path), answers).get(_part(path))
    return Base(path, there=False, part=part.size if part else 0)


def _in_use(path: str, answers: Answers) -> bool:
    """Whether somebody writes to it. Who only reads, as from a backing file, is not seen here."""
    read = _info(path)
    answer = answers.raw(read)
    if answer.status and _LOCKED not in answer.stderr:
        raise failure(read, answer)
    return answer.status != 0


def _parsed(path: str, answers: Answers) -> Info:
    read = _info(path, shared=True)
    text = answers.text(read)
    try:
        return _of(json.loads(text), posixpath.dirname(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReadFailed(read, f"qemu-img says something else of {path} than expected: {error}") from error


def _of(said: dict[str, Any], folder: str) -> Info:
    """`ImageInfo` of QEMU's qapi/block-core.json. A backing file may be named from the image's folder."""
    backing = said.get("full-backing-filename") or said.get("backing-filename")
    if backing is not None and ":" not in backing.partition("/")[0]:  # or it is of a protocol: nbd:…, json:…
        backing = posixpath.normpath(posixpath.join(folder, backing))
    data = said.get("format-specific", {}).get("data", {})
    return Info(
        format=str(said["format"]),
        size=int(said["virtual-size"]),
        actual=int(said.get("actual-size", 0)),
        backing=backing,
        backing_format=said.get("backing-filename-format"),
        corrupt=data.get("corrupt") is True,
    )


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
