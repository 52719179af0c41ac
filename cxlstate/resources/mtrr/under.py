"""What lies under ranges: RAM that would be slowed down, and memory of others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cxlstate.core.exports import DaxDevice, Inputs, KernelArguments, ModuleKeptOut
from cxlstate.formats import kernel_cmdline, memmap, modprobe
from cxlstate.formats.dax import Device
from cxlstate.formats.iomem import RAM, Range, gaps
from cxlstate.formats.iomem import joined as in_one
from cxlstate.formats.mtrr import PAGE, Block

KMEM: Final = f"{RAM} (kmem)"

_TAKES_AWAY: Final = frozenset("$#!")
_SPACE: Final = re.compile(r"CXL Window \d+|RAM buffer")
_DEVICE: Final = re.compile(r"Soft Reserved|hmem\.\d+|region\d+|dax\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Others:
    """What other resources say of memory: devices, RAM that is taken away, kmem that is kept out."""

    devices: tuple[Range, ...]
    taken: tuple[Range, ...]
    kmem_kept_out: bool


def others(inputs: Inputs) -> Others:
    """Of all that was handed over."""
    texts = [text for _, export in inputs.all(KernelArguments) for text in export.texts]
    arguments = [kernel_cmdline.read(text) for text in texts]
    taken = [
        Range(item.start, item.start + item.size)
        for item in memmap.items(arguments)
        if isinstance(item, memmap.Region) and item.sign in _TAKES_AWAY
    ]
    devices = [
        Range(one.start, one.end, str(address))
        for address, device in inputs.all(DaxDevice)
        for one in device.ranges
    ]
    kept_out = any(modprobe.by_command_line(modprobe.KMEM, text) for text in texts) or never_set_up(inputs)
    kept_out = kept_out or any(one.name == modprobe.KMEM for _, one in inputs.all(ModuleKeptOut))
    return Others(tuple(devices), tuple(taken), kept_out)


def never_set_up(inputs: Inputs) -> bool:
    """Whether an argument that is to come keeps a kmem out that is built in."""
    texts = [text for _, export in inputs.all(KernelArguments) for text in export.texts]
    return any(modprobe.by_initcall(modprobe.KMEM, text) for text in texts)


def kmem_is_seen_to(inputs: Inputs) -> bool:
    """Whether `module.kmem` waits for the boot that takes kmem away, or a device is taken back from it."""
    told = (address for address, _ in (*inputs.all(KernelArguments), *inputs.all(ModuleKeptOut)))
    return any(address.kind == "module" for address in told) or any(
        one.name == modprobe.KMEM for _, one in inputs.all(ModuleKeptOut)
    )


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


def undeclared(parts: Iterable[Range], known: Others) -> tuple[Range, ...]:
    """What of it is no device's that `host.dax` names."""
    return tuple(left for part in parts for left in gaps(part, known.devices))


def foreign(parts: Iterable[Range], iomem: Iterable[Range]) -> tuple[Range, ...]:
    """What is there that is no RAM, no memory of devices and no empty space; the outermost of each."""
    return tuple(one for one in _in(parts, iomem) if not _DEVICE.fullmatch(one.name))


def memory_of_devices(parts: Iterable[Range], iomem: Iterable[Range]) -> tuple[Range, ...]:
    """CXL and Soft Reserved memory that is there."""
    return tuple(one for one in _in(parts, iomem) if _DEVICE.fullmatch(one.name))


def of_devices(parts: Iterable[Range], devices: Iterable[Device]) -> tuple[Device, ...]:
    """Dax devices that have a byte in one of the parts."""
    parts = tuple(parts)
    return tuple(one for one in devices if any(map(one.overlaps, parts)))


def joined(blocks: Iterable[Block]) -> tuple[Range, ...]:
    """The bytes of blocks, neighbours and those within others as one."""
    return in_one(Range(one.base, one.end) for one in blocks)


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
