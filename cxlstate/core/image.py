"""What can be done to disk images, as data. Sizes are bytes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from cxlstate.core.effect import Effect
from cxlstate.core.units import format_size


class _Owned(Effect):
    """An effect that may give a file an owner, a group and a mode."""

    __slots__ = ()
    owner: str | None
    group: str | None
    mode: int | None

    @property
    def whose(self) -> str:
        """As chown(1) takes it: `user:group`, either of them alone; empty for neither."""
        return f"{self.owner or ''}{f':{self.group}' if self.group else ''}"

    def permitting(self, path: str) -> Iterator[str]:
        """The commands for it."""
        if self.whose:
            yield f"chown {self.whose} {path}"
        if self.mode is not None:
            yield f"chmod {self.mode:04o} {path}"


@dataclass(frozen=True, slots=True)
class FetchFile(Effect):
    """Download a file, or what is missing of it, and give it its name once its SHA-256 is right.

    Nothing where `path` is there: it had to be right to get that name. Half a download stays beside it
    as `path`.part for the next time; one with another SHA-256 does not. `stall` is for how many
    seconds nothing may come.
    """

    url: str
    sha256: str
    path: str
    stall: int = 60

    @property
    def redacted_url(self) -> str:
        """The URL for people and journals: what follows a ? may be what opens the door."""
        address, query, _ = self.url.partition("?")
        return f"{address}?…" if query else address

    def shown(self) -> str:
        """In curl's words."""
        return f"curl --location --output {shlex.quote(self.path)} {shlex.quote(self.redacted_url)}"

    def journalled(self) -> dict[str, object]:
        """With what the file has to be."""
        return {"effect": "fetch-file", "url": self.redacted_url, "path": self.path, "after": self.sha256}


@dataclass(frozen=True, slots=True)
class MakeImage(_Owned):
    """Make a disk image where there is none. STALE if there is something by now.

    Without `source` it is empty; with `overlay` it is laid over the source, which becomes its backing
    file; else the source is copied. `source_format`: as qemu-img sees it, if None. `sha256` is that of the
    source, which then has to be whole without other files. `size` is at least that of the source, the same
    if None. `mode`: closed to others, if None.
    """

    path: str
    format: str
    size: int | None = None
    source: str | None = None
    source_format: str | None = None
    sha256: str | None = None
    overlay: bool = False
    owner: str | None = None
    group: str | None = None
    mode: int | None = None

    def shown(self) -> str:
        """In qemu-img's words. That a draft is made first, and only put in place whole, is not told."""
        return " && ".join(self._commands(shlex.quote(self.path)))

    def journalled(self) -> dict[str, object]:
        """With what it is made of."""
        told = {"path": self.path, "format": self.format, "size": self.size, "source": self.source}
        return {"effect": "make-image", **told}

    def _commands(self, path: str) -> Iterator[str]:
        source = shlex.quote(self.source) if self.source else None
        size = "" if self.size is None else f" {_short(self.size)}"
        if source is None:
            yield f"qemu-img create -f {self.format} {path}{size}"
        elif self.overlay:
            of = f" -F {self.source_format}" if self.source_format else ""
            yield f"qemu-img create -f {self.format} -b {source}{of} {path}{size}"
        else:
            of = f" -f {self.source_format}" if self.source_format else ""
            yield f"qemu-img convert{of} -O {self.format} {source} {path}"
            if size:
                yield f"qemu-img resize -f {self.format} {path}{size}"
        yield from self.permitting(path)


@dataclass(frozen=True, slots=True)
class GrowImage(Effect):
    """Grow the virtual size of an image to `size`; nothing where it is as large already.

    Where a running guest has it open, the guest's disk is grown (`virsh blockresize`).
    """

    path: str
    size: int
    format: str

    def shown(self) -> str:
        """In qemu-img's words."""
        return f"qemu-img resize -f {self.format} {shlex.quote(self.path)} {_short(self.size)}"

    def journalled(self) -> dict[str, object]:
        """With its new size."""
        return {"effect": "grow-image", "path": self.path, "size": self.size}


@dataclass(frozen=True, slots=True)
class RemoveImage(Effect):
    """Remove an image that nobody has open: of a link, the link.

    `identity` is its device and inode as the plan has seen them, `DEVICE:INODE`: another file is STALE.
    """

    path: str
    identity: str

    def shown(self) -> str:
        """As rm(1)."""
        return f"rm {shlex.quote(self.path)}"

    def journalled(self) -> dict[str, object]:
        """With its path."""
        return {"effect": "remove-image", "path": self.path}


@dataclass(frozen=True, slots=True)
class PermitImage(_Owned):
    """Set owner, group or mode of an image that is there; None: as it is."""

    path: str
    owner: str | None = None
    group: str | None = None
    mode: int | None = None

    def shown(self) -> str:
        """As chown(1) and chmod(1)."""
        return " && ".join(self.permitting(shlex.quote(self.path)))

    def journalled(self) -> dict[str, object]:
        """With its new owner and mode."""
        mode = "" if self.mode is None else f"{self.mode:o}"
        return {"effect": "permit-image", "path": self.path, "owner": self.whose, "mode": mode}


def _short(size: int) -> str:
    """As qemu-img takes it: its K, M, G and T are powers of 1024."""
    return format_size(size).removesuffix("iB")
