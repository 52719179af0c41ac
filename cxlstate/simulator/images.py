"""Disk images of the simulated machine: real qcow2 headers and sparse files, with nothing in them.

Whoever has one open has its path among what the process `holds`. The web that the machine sees is the
folder `web` beside `root`: `web/HOST/PATH`. Texts are those of qemu-img 10 and of
`machine/posix/image_effects.py`.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from stat import S_IMODE
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from cxlstate.core.effect import Effect
from cxlstate.core.image import FetchFile, GrowImage, MakeImage, PermitImage, RemoveImage
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.performing import performer
from cxlstate.machine.records import STATE
from cxlstate.simulator import qcow2
from cxlstate.simulator.accounts import GROUP, USERS
from cxlstate.simulator.ended import NOT_FOUND, Ended, unknown
from cxlstate.simulator.files import Files
from cxlstate.simulator.mounts import Mounts
from cxlstate.simulator.world import Process, World

_SECTOR = 512
_DONE = Outcome(Result.DONE)
_STALE = Outcome(Result.STALE)


class Refused(Exception):
    """Why an effect fails, in a line."""


@dataclass(frozen=True, slots=True)
class Image:
    """What qemu-img sees in a file."""

    format: str
    header: qcow2.Header

    @property
    def size(self) -> int:
        """The virtual size in bytes."""
        return self.header.size


class Disks:
    """The disk images on one machine."""

    def __init__(self, world: World, files: Files) -> None:
        self._world = world
        self._files = files
        self.mounts = Mounts(world, files)

    def qemu_img(self, words: list[str]) -> Ended:
        """`qemu-img info --output=json [-U] FILE`."""
        if not self.has_qemu_img:
            return Ended(NOT_FOUND, stderr="qemu-img: not found\n")
        match words:
            case ["info", "--output=json", "-U", path]:
                return self._info(path)
            case ["info", "--output=json", path]:
                locked = f'Failed to get shared "write" lock\nIs another process using the image [{path}]?'
                return _could_not_open(path, locked) if self.holders(path) else self._info(path)
        return unknown(("qemu-img", *words))

    def stat(self, words: list[str]) -> Ended:
        """`stat [--dereference] --format=FORMAT FILE…`, of files on the disk alone."""
        match words:
            case ["--dereference", option, *paths] if option.startswith("--format="):
                follow = True
            case [option, *paths] if option.startswith("--format="):
                follow = False
            case _:
                return unknown(("stat", *words))
        lines, complaints = [], []
        for path in paths:
            try:
                lines.append(self._shown(option.removeprefix("--format="), path, follow=follow))
            except OSError as error:
                complaints.append(f"stat: cannot statx '{path}': {os.strerror(error.errno or 0)}\n")
        return Ended(1 if complaints else 0, "".join(lines), "".join(complaints))

    def chown(self, words: list[str]) -> Ended:
        """`chown [USER][:GROUP] FILE…`."""
        whose, *paths = words
        if complaint := self.unknown_account(whose):
            return Ended(1, stderr=f"{complaint}\n")
        for path in paths:
            if not self._files.exists(path):
                return Ended(1, stderr=f"chown: cannot access '{path}': No such file or directory\n")
            self.give(path, whose)
        return Ended()

    def chmod(self, words: list[str]) -> Ended:
        """`chmod MODE FILE…`."""
        mode, *paths = words
        for path in paths:
            if not self._files.exists(path):
                return Ended(1, stderr=f"chmod: cannot access '{path}': No such file or directory\n")
            self._files.real(path).chmod(int(mode, 8))
        return Ended()

    @property
    def has_qemu_img(self) -> bool:
        """Whether its package is installed."""
        package = self._world.installed.get("qemu-utils")
        return package is not None and package.status.endswith(" installed")

    def image(self, path: str) -> Image:
        """What is in a file. Raises OSError."""
        with os.fdopen(os.open(self._files.real(path), os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            header = qcow2.parse(file.read(qcow2.HEAD))
            length = os.fstat(file.fileno()).st_size
        return (
            Image("qcow2", header) if header else Image("raw", qcow2.Header(-(-length // _SECTOR) * _SECTOR))
        )

    def holders(self, path: str) -> list[Process]:
        """Who has it open."""
        real = self._files.real(path)
        return [
            process
            for process in self._world.running.processes
            if any(one.startswith("/") and self._files.real(one) == real for one in process.holds)
        ]

    def guest(self, path: str) -> str | None:
        """The guest that has it open."""
        return next((process.guest for process in self.holders(path) if process.guest), None)

    def give(self, path: str, whose: str) -> None:
        """To a user, a group or both; the rest of it stays."""
        user, group = self.mounts.owner(path)
        new_user, _, new_group = whose.partition(":")
        self._world.owners[path] = f"{new_user or user}:{new_group or group}"

    def unknown_account(self, whose: str) -> str | None:
        """Complaint of chown(1) on a name that nobody has."""
        user, _, group = whose.partition(":")
        for path, name, noun in ((USERS, user, "user"), (GROUP, group, "group")):
            known = {line.partition(":")[0] for line in self._files.text(path).splitlines()}
            if name and name not in known:
                return f"chown: invalid {noun}: '{whose}'"
        return None

    def _shown(self, format_: str, path: str, *, follow: bool) -> str:
        link = not follow and self._files.link(path) is not None
        info = self._files.beside(path).lstat() if link else self._files.stat(path)
        user, group = self.mounts.owner(path)
        values = {
            "%f": f"{info.st_mode if link else self.mounts.mode(path):x}",
            "%d": str(0 if link else self.mounts.device(path)),
            "%Y": str(int(info.st_mtime)),
            "%W": str(info.st_mtime_ns),  # the birth: a simulated image is never written to
            "%i": str(info.st_ino),
            "%s": str(info.st_size),
            "%U": user,
            "%G": group,
            "%n": path,
        }
        text = format_
        for directive, value in values.items():
            text = text.replace(directive, value)
        return f"{text}\n"

    def _info(self, path: str) -> Ended:
        try:
            if not self._files.is_file(path) and self._files.exists(path):
                return _could_not_open(path, f"'file' driver requires '{path}' to be a regular file")
            info = self._files.stat(path)
            image = self.image(path)
        except OSError as error:
            return _could_not_open(path, f"Could not open '{path}': {os.strerror(error.errno or 0)}")
        said: dict[str, object] = {"virtual-size": image.size, "filename": path, "format": image.format}
        said["actual-size"] = info.st_blocks * _SECTOR
        if image.format == "qcow2":
            said["format-specific"] = {"type": "qcow2", "data": {"corrupt": image.header.corrupt}}
        if backing := image.header.backing:
            said["backing-filename"] = backing
            said["full-backing-filename"] = posixpath.join(posixpath.dirname(path), backing)
        if image.header.backing_format:
            said["backing-filename-format"] = image.header.backing_format
        return Ended(stdout=json.dumps({**said, "dirty-flag": False}, indent=4) + "\n")


@dataclass(frozen=True, slots=True)
class Drafts:
    """Who keeps the note of a draft: that one of a file is about to be made, and that there is none."""

    announce: Callable[[str], None]
    forget: Callable[[], None]


class Images:
    """Effects on the images of one machine, step by step."""

    def __init__(  # noqa: PLR0913  # the machine in its parts
        self,
        world: World,
        files: Files,
        *,
        web: Path,
        step: Callable[[str], None],
        drafts: Drafts,
        grown: Callable[[str, int, int], None],
    ) -> None:
        """`grown` tells a guest by its VM that a disk of it has grown, from and to a size in bytes."""
        self._world = world
        self._files = files
        self._disks = Disks(world, files)
        self._web = web
        self._step = step
        self._drafts = drafts
        self._grown = grown

    def perform(self, effect: Effect) -> Outcome:
        """One effect; an OSError is the caller's."""
        try:
            return performer(self.PERFORMERS, type(effect))(self, effect)
        except Refused as why:
            return Outcome(Result.FAILED, 1, f"{why}\n")

    def _fetch(self, effect: FetchFile) -> Outcome:
        if self._files.is_file(effect.path):
            return _DONE
        content, part = self._download(effect), f"{effect.path}.part"
        before = self._files.read(part) if self._files.is_file(part) else b""
        half = max(len(before), len(content) // 2)
        came = before + content[len(before) : half]
        self._files.write(part, came, mode=0o600)
        self._step(f"half of it has come: {effect.path}")
        whole = came + content[len(came) :]
        if before and sha256(whole).hexdigest() != effect.sha256:
            whole = content  # what was there was of another file
        self._files.write(part, whole, mode=0o600)
        self._step(f"all of it has come: {effect.path}")
        found = sha256(whole).hexdigest()
        if found != effect.sha256:
            self._files.remove(part)
            raise Refused(
                f"{effect.redacted_url} has SHA-256 {found}, expected {effect.sha256}; it was removed"
            )
        self._files.put(effect.path, self._files.real(part))
        self._step(f"in place: {effect.path}")
        return _DONE

    def _download(self, effect: FetchFile) -> bytes:
        address = urlsplit(effect.url)
        if not self._world.archive.online:
            raise Refused(f"curl: (6) Could not resolve host: {address.hostname}")
        host = Files(self._web / (address.hostname or ""), {}, privileged=True)  # no way out of it
        try:
            return host.read(unquote(address.path))
        except OSError:
            raise Refused("curl: (22) The requested URL returned error: 404") from None

    def _make(self, effect: MakeImage) -> Outcome:
        if not self._disks.has_qemu_img:
            raise Refused("qemu-img is not installed (package qemu-utils)")
        self._alone(effect.path)
        mount = self._disks.mounts.of(posixpath.dirname(effect.path))
        if mount.type in ("tmpfs", "devtmpfs", "proc", "sysfs"):
            folder = posixpath.dirname(effect.path)
            where = f"{mount.point} is in memory ({mount.type})"
            raise Refused(f"an image in {folder} would be lost at the next boot: {where}")
        if self._files.exists(effect.path):
            return _STALE
        base = self._source(effect) if effect.source else None
        header = qcow2.Header(effect.size or (base.size if base else 0))
        if effect.overlay and base and effect.source:
            self._lend(effect.source)
            header = replace(header, backing=effect.source, backing_format=base.format)
        if complaint := self._disks.unknown_account(effect.whose):
            raise Refused(complaint)
        self._drafts.announce(effect.path)
        content = header.pack() if effect.format == "qcow2" else b""
        draft = self._files.draft(effect.path, content, mode=0o600 if effect.mode is None else effect.mode)
        if effect.format == "raw":
            os.truncate(draft, header.size)
        self._world.owners.pop(effect.path, None)
        self._disks.give(effect.path, effect.whose)
        self._step(f"made, not in place: {effect.path}")
        self._files.put(effect.path, draft)
        self._step(f"in place: {effect.path}")
        self._drafts.forget()
        return _DONE

    def _source(self, effect: MakeImage) -> Image:
        path = effect.source or ""
        if not self._files.is_file(path):
            raise Refused(f"{path} is not there, or not a regular file")
        found = sha256(self._files.read(path)).hexdigest() if effect.sha256 else None
        if found != effect.sha256:
            raise Refused(f"{path} has SHA-256 {found}, expected {effect.sha256}")
        image = self._disks.image(path)
        if effect.source_format == "raw":
            image = Image("raw", qcow2.Header(self._files.stat(path).st_size))
        if effect.source_format not in (None, image.format):
            raise Refused(f"Could not open '{path}': Image is not in {effect.source_format} format")
        if effect.sha256 and image.header.backing:
            raise Refused(f"{path} needs other files, of which its SHA-256 says nothing")
        if effect.size is not None and image.size > effect.size:
            larger = f"more than the {effect.size} that are asked for"
            raise Refused(f"{path} holds a disk of {image.size} bytes, {larger}")
        return image

    def _lend(self, source: str) -> None:
        """A base in our closed folder is to be read by the user that QEMU runs as."""
        if source.startswith(f"{STATE}/"):
            for path, mode in ((STATE, 0o711), (posixpath.dirname(source), 0o711), (source, 0o644)):
                self._files.real(path).chmod(mode)

    def _alone(self, path: str) -> None:
        """Whoever else may write to a folder on the way could put a link there."""
        if folder := self._disks.mounts.exposed(path):
            whose = ":".join(self._disks.mounts.owner(folder))
            mode = f"{S_IMODE(self._disks.mounts.mode(folder)):o}"
            raise Refused(
                f"users other than root can replace files in {folder} (owner {whose}, mode {mode}): choose a "
                "path in folders that only root can write to, such as /var/lib/libvirt/images"
            )

    def _permit(self, effect: PermitImage) -> Outcome:
        self._alone(effect.path)
        if not self._files.is_file(effect.path):
            raise Refused(f"{effect.path} is not there, or not a regular file")
        if complaint := self._disks.unknown_account(effect.whose):
            raise Refused(complaint)
        if effect.whose:
            self._disks.give(effect.path, effect.whose)
        if effect.mode is not None:
            self._files.real(effect.path).chmod(effect.mode)
        self._step(f"permitted: {effect.path}")
        return _DONE

    def _grow(self, effect: GrowImage) -> Outcome:
        self._alone(effect.path)
        image = self._disks.image(effect.path)
        if image.size >= effect.size:
            return _DONE
        if image.format != effect.format:
            raise Refused(f"Could not open '{effect.path}': Image is not in {effect.format} format")
        if self._disks.holders(effect.path) and not self._disks.guest(effect.path):
            raise Refused(f"{effect.path} is in use, and no running guest has it as a disk")
        if image.format == "raw":
            os.truncate(self._files.real(effect.path), effect.size)
        else:
            self._files.write(effect.path, replace(image.header, size=effect.size).pack())
        if guest := self._disks.guest(effect.path):
            self._grown(guest, image.size, effect.size)
        self._step(f"grown: {effect.path}")
        return _DONE

    def _remove(self, effect: RemoveImage) -> Outcome:
        if not self._files.exists(effect.path):
            return _DONE
        self._alone(effect.path)
        info = self._files.stat(effect.path)
        if f"{self._disks.mounts.device(effect.path)}:{info.st_ino}" != effect.identity:
            return _STALE
        for one in self._disks.holders(effect.path):
            name = posixpath.basename(one.command.partition(" ")[0])[:15]
            raise Refused(f"{effect.path} is in use: process {one.pid} ({name}) has it open")
        self._files.remove(effect.path)
        self._world.owners.pop(effect.path, None)
        self._step(f"removed: {effect.path}")
        return _DONE

    PERFORMERS: ClassVar[dict[type[Effect], Callable[[Images, Any], Outcome]]] = {
        FetchFile: _fetch,
        MakeImage: _make,
        GrowImage: _grow,
        RemoveImage: _remove,
        PermitImage: _permit,
    }


def _could_not_open(path: str, why: str) -> Ended:
    return Ended(1, stderr=f"qemu-img: Could not open '{path}': {why}\n")
