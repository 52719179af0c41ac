"""What the host has made of a block device: a file system, swap, a part of LVM, md, dm-crypt.

By `/sys/class/block/NAME/holders` (`bd_link_disk_holder` in block/holder.c), swaps and mounts. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import basename, dirname
from typing import Final

from cxlstate.core.answers import Answers
from cxlstate.core.read import Attributes, File, Links, Names, Read
from cxlstate.formats.storage import MOUNTS, Mount, mount_lines, plain

SWAPS: Final = File("/proc/swaps")
_BLOCK: Final = "/sys/class/block"
_PLACE: Final = Links(f"{_BLOCK}/*")
_NUMBER: Final = Attributes(f"{_BLOCK}/*/dev")
_MAPPED: Final = Attributes(f"{_BLOCK}/*/dm/name")
_HOLDERS: Final = Names(f"{_BLOCK}/*/holders/*")

_PATTERN: Final = re.compile(r"[*?\[\]\\]")


@dataclass(frozen=True, slots=True)
class Use:
    """What the host has made of a device: a file system mounted `on` a folder, swap, or another device."""

    device: str
    on: str | None = None
    swap: bool = False


@dataclass(frozen=True, slots=True)
class Blocks:
    """Block devices by the kernel's names. `links` are where paths lead, `mapped` names of device mapper."""

    links: Mapping[str, str] = field(default_factory=dict)
    mapped: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    holders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    swaps: Sequence[str] = ()

    def use(self, path: str) -> Use | None:
        """What is made of it, or of a part of it, however far up; the worst first."""
        every = self._upwards(self._kernels(path))
        swaps = set(map(self._kernels, self.swaps))
        mounted = ((name, point) for name in every if (point := self._mounted(name)))
        if found := next(mounted, None):
            return Use(self._shown(found[0]), on=found[1])
        if swap := next((name for name in every if name in swaps), None):
            return Use(self._shown(swap), swap=True)
        held = next((one for name in every for one in self.holders.get(name, ())), None)
        return Use(self._shown(held)) if held else None

    def _kernels(self, path: str) -> str:
        """`/dev/mapper/vg-lv`, `/dev/vg/lv` and `/dev/disk/by-id/dm-name-vg-lv` are all `dm-0`."""
        name = self.links.get(path, path.removeprefix("/dev/"))
        return self.mapped.get(name.removeprefix("mapper/"), name)

    def _upwards(self, name: str) -> list[str]:
        found = [name]
        for one in found:
            new = (*self.parts.get(one, ()), *self.holders.get(one, ()))
            found += [above for above in new if above not in found]
        return found

    def _mounted(self, name: str) -> str | None:
        ours = (
            one
            for one in self.mounts
            if one.number == self.numbers.get(name) or self._kernels(one.source) == name
        )
        return next((one.point for one in ours), None)

    def _shown(self, name: str) -> str:
        return next((f"/dev/mapper/{one}" for one, of in self.mapped.items() if of == name), f"/dev/{name}")


def reads(path: str) -> Iterator[Read]:
    """What has to be asked about a device."""
    yield from (MOUNTS, SWAPS, _PLACE, _NUMBER, _MAPPED, _HOLDERS)
    if not _PATTERN.search(path):
        yield Links(path)


def blocks(paths: Sequence[str], answers: Answers) -> Blocks:
    """What the machine says of devices, and of those that these paths lead to. Raises ReadFailed."""
    parts: dict[str, list[str]] = {}
    for link, target in answers.files(_PLACE).items():
        disk = basename(dirname(target))
        if disk != "block":  # a partition stands below its disk
            parts.setdefault(disk, []).append(basename(link))
    holders: dict[str, list[str]] = {}
    for held in answers.files(_HOLDERS):
        holders.setdefault(held.split("/")[-3], []).append(basename(held))
    mapped = {text.strip(): path.split("/")[-3] for path, text in answers.files(_MAPPED).items()}
    links = (answers.files(Links(path)) for path in paths if not _PATTERN.search(path))
    return Blocks(
        {path: basename(target) for found in links for path, target in found.items()},
        mapped,
        {path.split("/")[-2]: text.strip() for path, text in answers.files(_NUMBER).items()},
        parts,
        holders,
        tuple(mount_lines(answers.text_or_none(MOUNTS) or "")),
        tuple(_swaps(answers.text_or_none(SWAPS) or "")),
    )


def _swaps(text: str) -> Iterator[str]:
    """`Filename Type Size Used Priority`, with a heading; of a file, the file system is mounted."""
    for line in text.splitlines()[1:]:
        if line.split()[1:2] == ["partition"]:
            yield plain(line.split()[0])
