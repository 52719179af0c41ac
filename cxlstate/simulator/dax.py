"""Dax devices of Soft Reserved memory, and the drivers that take them: device_dax and kmem.

Sources: Linux 6.12 drivers/dax (`hmem/hmem.c`, `bus.c`, `device.c`, `kmem.c`), arch/x86/mm/pat/memtype.c
(`pat_x_mtrr_type`, `memtype_seq_show`). Errors are the kernel's numbers; 0 is none.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from dataclasses import replace

from cxlstate.formats import kernel_cmdline
from cxlstate.simulator import mtrr
from cxlstate.simulator.ended import Ended
from cxlstate.simulator.memory import SOFT_RESERVED, Range
from cxlstate.simulator.world import Dax, Extent, Online, Process, World

DEVDAX, KMEM = "device_dax", "kmem"
BLOCK = 1 << 31
"""Of the size of a memory block, as on machines with much memory."""
_PMD = 1 << 21
_NEWER = 7
_ALIGNMENTS = (4096, _PMD, 1 << 30)
_ND_BUS = "LNXSYSTM:00/LNXSYBUS:00/ACPI0012:00/ndbus0"
_OTHERS = "PAT: [mem 0x00000000fed00000-0x00000000fed01000] uncached-minus\n"


def regions(world: World, memory: Iterable[Range]) -> list[tuple[int, Range]]:
    """Number and range of each hmem device, by address."""
    soft = [one for one in memory if one.type == SOFT_RESERVED]
    return list(enumerate(soft, start=world.first_region))


class Bus:
    """The dax devices of one machine."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._running = world.running
        self.devices = world.running.dax

    def discover(self, memory: Iterable[Range]) -> None:
        """What dax_hmem does when it is loaded: a device for each range that is aligned as its region is."""
        align = self._world.region_align
        for number, (region, one) in enumerate(regions(self._world, memory)):
            if one.start % align == 0 == one.end % align:
                node = len(self._world.cpus) + number
                self.devices[f"dax{region}.0"] = Dax(f"{one.start:#x}", f"{one.end - 1:#x}", node, align)

    def match(self) -> None:
        """The driver kmem takes all that have none, and makes their whole blocks RAM (`dax_kmem_range`)."""
        for name, one in self.devices.items():
            blocks = [(start, end) for start, end in map(_whole_blocks, extents(one)) if start < end]
            if one.driver or one.pmem or self.online(name) or not blocks:
                continue
            one.driver = KMEM
            state = {"movable": self._policy() == "online_movable", "offline": self._policy() == "offline"}
            for start, end in blocks:
                self._running.online.append(Online(f"{start:#x}", f"{end - 1:#x}", name, one.node, **state))

    def unload(self, module: str) -> None:
        """A driver goes, or, with dax_hmem, the devices do. RAM stays RAM."""
        if module == "dax_hmem":
            for name in [name for name, one in self.devices.items() if not one.pmem]:
                del self.devices[name]
        for one in self.devices.values():
            if one.driver == module:
                one.driver = one.memory_type = ""

    def bind(self, name: str) -> int:
        """To device_dax, by its `new_id`."""
        one = self.devices[name]
        if DEVDAX not in self._running.modules:
            return errno.ENODEV
        if one.driver or self.online(name):  # "could not reserve range"
            return errno.EBUSY
        kinds = {mtrr.of(self._world).lookup(*part) for part in extents(one)}
        one.driver = DEVDAX
        one.memory_type = "write-back" if mtrr.WRITE_BACK in kinds else "uncached-minus"
        return 0

    def unbind(self, name: str) -> None:
        """From whatever drives it. Memory that is offline is given back."""
        one = self.devices[name]
        one.driver = one.memory_type = ""
        self._running.online[:] = [ram for ram in self._running.online if ram.name != name or not ram.offline]

    def set_align(self, name: str, align: int) -> int:
        """`align_store()`."""
        one = self.devices[name]
        if one.driver:
            return errno.EBUSY
        if one.pmem:  # static: its `align` cannot be written (dev_dax_visible)
            return errno.EACCES
        if align not in _ALIGNMENTS or any((end - start) % max(align, _PMD) for start, end in extents(one)):
            return errno.EINVAL
        one.align = align
        return 0

    def set_block(self, number: int, *, offline: bool) -> int:
        """`state_store()` of a memory block: one that the kernel's own pages may be in cannot be moved."""
        low, high = number * BLOCK, (number + 1) * BLOCK
        for at, ram in enumerate(self._running.online):
            start, end = bounds(ram)
            if not (start <= low and high <= end):
                continue
            if offline and not (ram.movable or ram.offline):
                return errno.EBUSY
            parts = ((start, low, ram.offline), (low, high, offline), (high, end, ram.offline))
            pieces = [_piece(ram, *part) for part in parts if part[0] < part[1]]
            self._running.online[at : at + 1] = pieces
            self._running.online[:] = _joined(self._running.online)
            return 0
        return errno.ENOENT

    def blocks(self) -> Iterator[tuple[str, str]]:
        """The memory blocks that kmem has added, as sysfs has them."""
        for ram in self._running.online:
            start, end = bounds(ram)
            for number in range(start // BLOCK, end // BLOCK):
                folder = f"/sys/devices/system/memory/memory{number}"
                yield f"{folder}/state", "offline\n" if ram.offline else "online\n"
                yield f"{folder}/valid_zones", "Movable\n" if ram.movable else "Normal\n"

    def mapped(self, name: str) -> Ended:
        """First and last byte of a device, in the words of the program in `formats/restore.sh`."""
        size = sum(end - start for start, end in extents(self.devices[name]))
        return Ended(stdout=f"0x0 0x00\n{size - 1:#x} 0x00\n")

    def online(self, name: str) -> list[Online]:
        """The RAM that was made of a device: of one where it is, whatever its name was then."""
        parts = extents(self.devices[name])
        return [
            one
            for one in self._running.online
            if any(start <= int(one.start, 16) < end for start, end in parts)
        ]

    def holders(self, name: str) -> list[Process]:
        """Who has it open or mapped."""
        return [one for one in self._running.processes if name in one.holds]

    def pat(self) -> str:
        """`memtype_seq_show()`: ends are exclusive."""
        lines = ["PAT memtype list:\n", _OTHERS]
        for one in self.devices.values():
            for start, end in extents(one) if one.memory_type else ():
                lines.append(f"PAT: [mem 0x{start:016x}-0x{end:016x}] {one.memory_type}\n")
        return "".join(lines)

    def files(self) -> Iterator[tuple[str, str]]:
        """What sysfs has of them. Their region's attributes are found beside the device, by `..`."""
        for name, one in self.devices.items():
            parts = extents(one)
            folder = f"/sys/bus/dax/devices/{name}"
            yield f"{folder}/size", f"{sum(end - start for start, end in parts)}\n"
            yield f"{folder}/align", f"{one.align}\n"
            yield f"{folder}/resource", f"{parts[0][0]:#x}\n"
            for number, (start, end) in enumerate(parts):
                yield f"{folder}/mapping{number}/start", f"{start:#x}\n"
                yield f"{folder}/mapping{number}/end", f"{end - 1:#x}\n"
            yield f"{folder}/target_node", f"{one.node}\n"
            yield f"{folder}/numa_node", "0\n"
            yield f"{folder}/modalias", "dax:t0\n"
            yield f"{folder}/../modalias", "nd:t7\n" if one.pmem else "platform:hmem\n"
            yield f"{folder}/../dax_region/align", f"{one.align if one.pmem else self._world.region_align}\n"
            if whole := self._region(parts[0][0]):
                yield f"{folder}/../dax_region/size", f"{whole}\n"
            if one.driver:
                yield f"/sys/module/{one.driver}/drivers/dax:{one.driver}/{name}/modalias", "dax:t0\n"

    def links(self) -> Iterator[tuple[str, str]]:
        """Where they are, and which driver has them."""
        folder = "hmem_platform.0/hmem" if names_no_soft_reserved(self._running.kernel) else "hmem"
        for name, one in self.devices.items():
            number = name.removeprefix("dax").partition(".")[0]
            place = f"{_ND_BUS}/region{number}/{name}" if one.pmem else f"platform/{folder}.{number}"
            yield f"/sys/bus/dax/devices/{name}", f"../../../devices/{place}/{name}"
        yield from self.drivers()

    def drivers(self) -> Iterator[tuple[str, str]]:
        """Which driver has each."""
        for name, one in self.devices.items():
            if one.driver:
                yield f"/sys/bus/dax/devices/{name}/driver", f"../../../../bus/dax/drivers/{one.driver}"

    def private(self) -> Iterator[str]:
        """Attributes that only root may read."""
        for name, one in self.devices.items():
            yield f"/sys/bus/dax/devices/{name}/resource"
            for number in range(len(extents(one))):
                yield f"/sys/bus/dax/devices/{name}/mapping{number}/start"
                yield f"/sys/bus/dax/devices/{name}/mapping{number}/end"
            yield f"/sys/bus/dax/devices/{name}/../dax_region/align"

    def _region(self, address: int) -> int:
        """The size of the firmware's Soft Reserved range that an address is in; 0: there is none."""
        for one in self._world.firmware:
            if one.type == "Soft Reserved" and int(one.start, 16) <= address <= int(one.end, 16):
                return int(one.end, 16) + 1 - int(one.start, 16)
        return 0

    def _policy(self) -> str:
        """What the kernel does with memory that is added."""
        given = kernel_cmdline.parse(self._running.command_line)
        states = [one.value or "" for one in given if one.name == "memhp_default_state"]
        return states[-1] if states else "online"


def names_no_soft_reserved(release: str) -> bool:
    """Since Linux 7.0 /proc/iomem shows only what comes of such memory (commit bc62f5b308cb)."""
    major = release.split(".", 1)[0]
    return major.isdigit() and int(major) >= _NEWER


def bounds(one: Dax | Online | Extent) -> tuple[int, int]:
    """First byte, and first byte behind."""
    return int(one.start, 16), int(one.end, 16) + 1


def extents(one: Dax) -> list[tuple[int, int]]:
    """All its ranges; the first is that of its `resource`."""
    return [bounds(one), *map(bounds, one.more)]


def _piece(ram: Online, start: int, end: int, offline: bool) -> Online:  # noqa: FBT001  # a row of a table
    return replace(ram, start=f"{start:#x}", end=f"{end - 1:#x}", offline=offline)


def _joined(pieces: Iterable[Online]) -> list[Online]:
    """Neighbours that differ in nothing else as one."""
    joined: list[Online] = []
    for one in pieces:
        last = joined[-1] if joined else None
        if last and bounds(last)[1] == bounds(one)[0] and replace(last, start=one.start, end=one.end) == one:
            joined[-1] = replace(last, end=one.end)
        else:
            joined.append(one)
    return joined


def _whole_blocks(part: tuple[int, int]) -> tuple[int, int]:
    start, end = part
    return -(-start // BLOCK) * BLOCK, end // BLOCK * BLOCK
