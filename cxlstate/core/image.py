"""What can be done to disk images, as data. Sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FetchFile:
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
    def shown(self) -> str:
        """The URL for people and journals: what follows a ? may be what opens the door."""
        address, query, _ = self.url.partition("?")
        return f"{address}?…" if query else address


@dataclass(frozen=True, slots=True)
class MakeImage:
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

    @property
    def whose(self) -> str:
        """As chown(1) takes it: `user:group`, either of them alone; empty for neither."""
        return f"{self.owner or ''}{f':{self.group}' if self.group else ''}"


@dataclass(frozen=True, slots=True)
class GrowImage:
    """Grow the virtual size of an image to `size`; nothing where it is as large already.

    Where a running guest has it open, the guest's disk is grown (`virsh blockresize`).
    """

    path: str
    size: int
    format: str


@dataclass(frozen=True, slots=True)
class RemoveImage:
    """Remove an image that nobody has open: of a link, the link.

    `identity` is its device and inode as the plan has seen them, `DEVICE:INODE`: another file is STALE.
    """

    path: str
    identity: str


@dataclass(frozen=True, slots=True)
class PermitImage:
    """Set owner, group or mode of an image that is there; None: as it is."""

    path: str
    owner: str | None = None
    group: str | None = None
    mode: int | None = None

    @property
    def whose(self) -> str:
        """As chown(1) takes it: `user:group`, either of them alone; empty for neither."""
        return f"{self.owner or ''}{f':{self.group}' if self.group else ''}"


ImageEffect = FetchFile | MakeImage | GrowImage | RemoveImage | PermitImage
