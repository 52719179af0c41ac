"""Files of the simulated machine: those in the folder `root`, and those that its kernel computes."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from cxlstate.machine import own_files

_OTHERS_READ = 0o004
_OTHERS_ENTER = 0o001
_MOST_BYTES = 64 << 20
_MOST_LINKS = 40  # path_resolution(7)


class Files:
    """Reads and writes below `root`. `computed` holds the content of the files of the kernel, by path.

    `links` are its symbolic links; `refused` the errno of those files that it lets nobody open who asks.
    Every failure is an OSError with the errno that the real machine's kernel would give.
    """

    def __init__(
        self,
        root: Path,
        computed: Mapping[str, bytes],
        *,
        privileged: bool,
        links: Mapping[str, str] | None = None,
        refused: Mapping[str, int] | None = None,
    ) -> None:
        self._root = root
        self._computed = computed
        self._privileged = privileged
        self._links = links or {}
        self._refused = refused or {}

    def read(self, path: str) -> bytes:
        """The content of a file."""
        if path in self._refused:
            raise _error(self._refused[path], path)
        if path in self._computed:
            return self._computed[path]
        if path.endswith("/") or path in self._of_the_kernel:
            raise _error(errno.EISDIR, path)
        real = self._reach(path)
        if not self._privileged and not real.stat().st_mode & _OTHERS_READ:
            raise _error(errno.EACCES, path)
        return _content(real, path)

    def text(self, path: str) -> str:
        """The content as text; an absent file reads as empty."""
        try:
            return self.read(path).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return ""

    def glob(self, pattern: str) -> list[str]:
        """Every path that a shell would put in the place of the pattern, in the C locale's order.

        PermissionError for a folder that cannot be listed: no match is proven only by one that was.
        """
        if not any(sign in pattern for sign in "*?["):
            self._names(posixpath.dirname(pattern))  # one that cannot be listed proves nothing, found or not
        found = [""]
        for step in pattern.split("/")[1:]:
            found = [path for folder in found for path in self._matches(folder, step)]
        return sorted(found)

    def is_file(self, path: str) -> bool:
        """Whether it is a regular file, or a link to one."""
        return path in self._computed or self.real(path).is_file()

    def stat(self, path: str) -> os.stat_result:
        """Of a file on the disk, links followed: whoever may enter its folders sees it."""
        return self._reach(path).stat()

    def link(self, path: str) -> str | None:
        """Where a symbolic link points to; None: it is none."""
        if path in self._links:
            return self._links[path]
        here = self.beside(path)
        return str(here.readlink()) if here.is_symlink() else None

    def make_link(self, path: str, target: str) -> None:
        """Make a symbolic link."""
        here = self.beside(path)
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(target)

    def exists(self, path: str) -> bool:
        """Whether there is anything at all."""
        return path in self._computed or self.real(path).exists()

    def real(self, path: str) -> Path:
        """Where a path of the machine is in our folder, links followed as inside the machine."""
        done, steps, links = "", posixpath.normpath("/" + path).split("/")[1:], 0
        while steps:
            step = steps.pop(0)
            if step in ("", "."):
                continue
            if step == "..":
                done = posixpath.dirname(done)
                continue
            here = f"{self._root}{done}/{step}"
            if not os.path.islink(here):  # noqa: PTH114 - of every step of every path: a Path would take longer
                done = f"{done}/{step}"
                continue
            links += 1
            if links > _MOST_LINKS:
                raise _error(errno.ELOOP, path)
            target = os.readlink(here)  # noqa: PTH115 - as above
            done = "" if target.startswith("/") else done
            steps = [*target.split("/"), *steps]
        return self._root / done.lstrip("/")

    def inside(self, path: str) -> str:
        """The same as a path of the machine, in which no links are left."""
        return posixpath.normpath(f"/{self.real(path).relative_to(self._root)}")

    def draft(self, path: str, content: bytes, *, mode: int) -> Path:
        """Write the next content of a file beside it. The mode of a file that is there is kept."""
        if not self._privileged or path in self._computed:
            raise _error(errno.EACCES, path)
        real = self.real(path)
        real.parent.mkdir(parents=True, exist_ok=True)
        draft = self.draft_of(path)
        draft.unlink(missing_ok=True)
        draft.write_bytes(content)
        draft.chmod(stat.S_IMODE(real.stat().st_mode) if real.exists() else mode)
        return draft

    def draft_of(self, path: str) -> Path:
        """Where the draft of a file is."""
        real = self.real(path)
        return real.with_name(f".{real.name}.cxlstate")

    def put(self, path: str, draft: Path) -> None:
        """Put a draft in the place of the file, in one step."""
        os.replace(draft, self.real(path))  # noqa: PTH105 - says what it does to a file that is there

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Replace a file."""
        self.put(path, self.draft(path, content, mode=mode))

    def remove(self, path: str) -> None:
        """Take a file away: of a link, the link."""
        if not self._privileged:
            raise _error(errno.EACCES, path)
        self.beside(path).unlink()

    @cached_property
    def _of_the_kernel(self) -> dict[str, set[str]]:
        """What is in each folder that the kernel computes."""
        folders: dict[str, set[str]] = {}
        for path in (*self._computed, *self._links):
            for folder, name in _upwards(path):
                inside = folders.setdefault(folder, set())
                if name in inside:
                    break
                inside.add(name)
        return folders

    def beside(self, path: str) -> Path:
        """Where a name itself is, whatever it is a link to."""
        return self.real(posixpath.dirname(path)) / posixpath.basename(path)

    def _reach(self, path: str) -> Path:
        """The real path, through folders that we may enter."""
        real = self.real(path)
        for folder in self._private_folders(real):
            if not folder.stat().st_mode & _OTHERS_ENTER:
                raise _error(errno.EACCES, path)
        return real

    def _private_folders(self, real: Path) -> Iterator[Path]:
        """The folders between the root and a file, where permissions count."""
        if not self._privileged:
            yield from (one for one in real.parents if self._root in one.parents and one.exists())

    def _matches(self, folder: str, step: str) -> Iterator[str]:
        """Paths in a folder that one step of a pattern stands for."""
        if not any(sign in step for sign in "*?["):
            if self._is_folder_or_file(f"{folder}/{step}"):
                yield f"{folder}/{step}"
            return
        for name in sorted(self._names(folder)):
            if fnmatchcase(name, step) and (not name.startswith(".") or step.startswith(".")):
                yield f"{folder}/{name}"

    def _is_folder_or_file(self, path: str) -> bool:
        kernels = path in self._computed or path in self._links or path in self._of_the_kernel
        return kernels or os.path.lexists(self._root / path.lstrip("/"))

    def _names(self, folder: str) -> set[str]:
        """What is in a folder, on the disk and computed."""
        computed = self._of_the_kernel.get(folder, set())
        real = self.real(folder)
        if not real.is_dir():
            return computed
        entered = all(one.stat().st_mode & _OTHERS_ENTER for one in self._private_folders(real / "."))
        if not self._privileged and not (entered and real.stat().st_mode & _OTHERS_READ):
            raise _error(errno.EACCES, folder)
        return computed | {one.name for one in real.iterdir()}


def _content(real: Path, path: str) -> bytes:
    """Of a regular file. A pipe or a device, which would be waited for, is an OSError with that reason."""
    try:
        mode = real.stat().st_mode
    except OSError as error:
        raise _error(error.errno or errno.EIO, path) from error
    if stat.S_ISDIR(mode):
        raise _error(errno.EISDIR, path)
    try:
        return own_files.read(real, _MOST_BYTES)
    except own_files.Unreadable as error:
        raise OSError(errno.EINVAL, str(error), path) from error


def _upwards(path: str) -> Iterator[tuple[str, str]]:
    """Each folder on the way to the root, and the name that leads back."""
    while path not in ("", "/"):
        folder, name = posixpath.split(path)
        yield folder.rstrip("/"), name
        path = folder


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
