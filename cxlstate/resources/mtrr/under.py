"""What lies under ranges: RAM that would be slowed down, and memory of others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cxlstate.core.exports import DaxDevice, Given, KernelArguments
from cxlstate.formats import kernel_cmdline, memmap
from cxlstate.formats.iomem import RAM, Range, gaps
from cxlstate.formats.kernel_cmdline import Argument
from cxlstate.formats.mtrr import PAGE, Block

KMEM: Final = f"{RAM} (kmem)"

_TAKES_AWAY: Final = frozenset("$#!")
_KEEPS_OUT: Final = ("modprobe.blacklist", "module_blacklist")
_SPACE: Final = re.compile(r"CXL Window \d+|RAM buffer")
_DEVICE: Final = re.compile(r"Soft Reserved|hmem\.\d+|region\d+|dax\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Others:
    """What other resources say of memory: devices, RAM that is taken away, kmem that is kept out."""

    devices: tuple[Range, ...]
    taken: tuple[Range, ...]
    kmem_kept_out: bool


def others(given: Given) -> Others:
    """Of all that was handed over."""
    texts = [text for _, export in given.all(KernelArguments) for text in export.texts]
    arguments = [kernel_cmdline.read(text) for text in texts]
    taken = [
        Range(item.start, item.start + item.size)
        for item in memmap.items(arguments)
        if isinstance(item, memmap.Region) and item.sign in _TAKES_AWAY
    ]
    devices = [
        Range(device.start, device.end, str(address))
        for address, device in given.all(DaxDevice)
        if device.start is not None and device.end is not None
    ]
    return Others(tuple(devices), tuple(taken), any(map(_keeps_kmem_out, arguments)))


def ram(blocks: Iterable[Block], iomem: Iterable[Range], known: Others) -> tuple[Range, ...]:
    """System RAM under blocks, in whole pages, but what `memmap` or the blacklist takes away."""
    iomem = tuple(iomem)
    found: list[Range] = []
    for whole in joined(blocks):
        for one in iomem:
            if one.name.startswith(RAM) and not (one.name == KMEM and known.kmem_kept_out):
                low = max(whole.start, one.start - one.start % PAGE)
                high = min(whole.end, one.end + -one.end % PAGE)
                left = gaps(Range(low, high), known.taken) if low < high else ()
                found += [Range(part.start, part.end, one.name) for part in left]
    return tuple(found)


def overshoot(blocks: Iterable[Block], devices: Iterable[Range], known: Others) -> tuple[Range, ...]:
    """The part of blocks that is neither the devices' nor RAM that is taken away."""
    spared = (*devices, *known.taken)
    return tuple(part for whole in joined(blocks) for part in gaps(whole, spared))


def foreign(parts: Iterable[Range], iomem: Iterable[Range]) -> tuple[Range, ...]:
    """What is there that is no RAM, no memory of devices and no empty space; the outermost of each."""
    return tuple(one for one in _in(parts, iomem) if not _DEVICE.fullmatch(one.name))


def memory_of_devices(parts: Iterable[Range], iomem: Iterable[Range]) -> tuple[Range, ...]:
    """CXL and Soft Reserved memory that is there."""
    return tuple(one for one in _in(parts, iomem) if _DEVICE.fullmatch(one.name))


def joined(blocks: Iterable[Block]) -> tuple[Range, ...]:
    """The bytes of blocks, neighbours and those within others as one."""
    runs: list[Range] = []
    for block in sorted(blocks):
        if runs and block.base <= runs[-1].end:
            runs[-1] = Range(runs[-1].start, max(runs[-1].end, block.end))
        else:
            runs.append(Range(block.base, block.end))
    return tuple(runs)


def _in(parts: Iterable[Range], iomem: Iterable[Range]) -> Iterator[Range]:
    """Entries that have a byte in one of the parts. What stands below one that was judged is not asked."""
    parts = tuple(parts)
    judged: int | None = None
    for one in iomem:
        if judged is not None and one.depth > judged:
            continue
        judged = None
        if one.name.startswith(RAM):
            judged = one.depth
        elif not _SPACE.fullmatch(one.name) and any(one.overlaps(part) for part in parts):
            judged = one.depth
            yield one


def _keeps_kmem_out(argument: Argument) -> bool:
    return argument.name in _KEEPS_OUT and "kmem" in (argument.value or "").split(",")
