"""Dax devices as sysfs shows them, and the type with which the kernel maps their memory.

Sources: Linux 6.12 `Documentation/ABI/testing/sysfs-bus-dax`, `drivers/dax/bus.c`; `driver` is a link
that is there only while a driver is bound. `arch/x86/mm/pat/memtype.c` (`memtype_seq_show`, end
exclusive) for `pat_memtype_list`. Bytes everywhere.

A device can have several ranges, with memory of another device between them: `mapping0`, `mapping1`, …
with an inclusive `end` (since Linux 5.10). `resource` is where the first of them begins, and `size` is
that of all together.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from cxlstate.core.answers import Answers
from cxlstate.core.read import Attributes, File, Holders, Links, PosixRead
from cxlstate.core.units import format_address, format_size
from cxlstate.formats import iomem
from cxlstate.formats.iomem import Range, joined

DEVICES: Final = "/sys/bus/dax/devices"
ATTRIBUTES: Final = tuple(
    Attributes(f"{DEVICES}/*/{name}") for name in ("size", "align", "resource", "target_node")
)
MAPPINGS: Final = tuple(Attributes(f"{DEVICES}/*/mapping[0-9]*/{name}") for name in ("start", "end"))
REGION_ALIGN: Final = Attributes(f"{DEVICES}/*/../dax_region/align")
REGION_MODALIAS: Final = Attributes(f"{DEVICES}/*/../modalias")
REGION_SIZE: Final = Attributes(f"{DEVICES}/*/../dax_region/size")
DRIVER: Final = Links(f"{DEVICES}/*/driver")
PLACE: Final = Links(f"{DEVICES}/*")
HOLDERS: Final = Holders("dax[0-9]*", bus="dax")
PAT: Final = File("/sys/kernel/debug/x86/pat_memtype_list", limit=16 << 20)

FILES: Final = (*ATTRIBUTES, *MAPPINGS, REGION_ALIGN, REGION_MODALIAS)
READS: Final[tuple[PosixRead, ...]] = (*FILES, DRIVER, PLACE)

IOMEM: Final = File("/proc/iomem")
FIRMWARE: Final = Attributes("/sys/firmware/memmap/*/*")
MEMORY: Final[tuple[PosixRead, ...]] = (IOMEM, FIRMWARE, *READS)
"""What it takes to tell the memory of devices by all evidence there is."""

HMEM: Final = "hmem"
CXL: Final = "cxl"
DEVDAX: Final = "device_dax"
KMEM: Final = "kmem"

_TOP: Final = 1 << 64
_PATH_OF_ONE: Final = 6  # parts of /sys/bus/dax/devices/NAME

_TOM2 = re.compile(
    r"^[^\n]*[\] ]\d+ (?:disabled|base [0-9A-F]+ mask [0-9A-F]+ [a-z-]+)\n"
    r"(?:[^\n]*\] )?TOM2: ([0-9a-f]{16}) aka",
    re.ASCII | re.MULTILINE,
)
_NUMBER = re.compile(r"0x[0-9a-f]{1,16}|-?[0-9]{1,20}", re.ASCII)
_PAT_LINE = re.compile(r"PAT: \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\] ([a-z-]+)", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Device:
    """One device. `driver` is None while none is bound; `region` is `hmem`, `cxl`, `pmem` or its modalias.

    `ranges` are by address, at least one, and apart: neighbours count as one. `target_node` is None where the
    firmware told none: the kernel then has no such file (`dev_dax_visible` in `drivers/dax/bus.c`).
    `region_align` is None where it may not be read (only root may). `owner` is the device that it was made
    of, `hmem.0` or `region0`, which with Linux 7.1 and later may be the one or the other; empty: not known.
    """

    ranges: tuple[Range, ...]
    name: str
    align: int
    target_node: int | None
    region: str
    region_align: int | None = None
    driver: str | None = None
    owner: str = ""

    @property
    def start(self) -> int:
        """Its lowest byte."""
        return self.ranges[0].start

    @property
    def end(self) -> int:
        """The first byte behind its highest. What lies between two of its ranges is not its own."""
        return self.ranges[-1].end

    @property
    def size(self) -> int:
        """Bytes in all of its ranges."""
        return sum(one.size for one in self.ranges)

    def overlaps(self, other: Range) -> bool:
        """Whether any byte of it is in a range."""
        return any(one.overlaps(other) for one in self.ranges)

    @property
    def memory(self) -> str:
        """For people: `96GiB at 0x5080000000`, and several with an `and` between them."""
        return " and ".join(f"{format_size(one.size)} at {format_address(one.start)}" for one in self.ranges)


def parse(files: Mapping[str, str], links: Mapping[str, str]) -> tuple[Device, ...]:
    """The devices by address, of what `READS` answered (all attributes in one mapping).

    ValueError where an attribute is missing or is no number, the ranges are not what `size` says, or two
    devices overlap: then one has several ranges, of which only the sum is shown. A device without memory
    (size 0, no `resource`) is left out.
    """
    names = sorted({parts[5] for path in files if len(parts := path.split("/")) > _PATH_OF_ONE})
    found = [one for name in names if (one := _device(name, files, links)) is not None]
    for one, other in combinations(found, 2):
        if any(map(one.overlaps, other.ranges)):
            raise ValueError(f"{one.name} and {other.name} cannot both be where sysfs says: they overlap")
    return tuple(sorted(found, key=lambda one: (one.ranges, one.name)))


def _device(name: str, files: Mapping[str, str], links: Mapping[str, str]) -> Device | None:
    folder = f"{DEVICES}/{name}"

    def number(attribute: str) -> int:
        text = files.get(f"{folder}/{attribute}")
        if text is None:
            raise ValueError(f"{folder} has no {attribute}")
        if not _NUMBER.fullmatch(text.strip()):
            raise ValueError(f"{folder}/{attribute} is no number: {text[:40]!r}")
        return int(text, 16 if text.strip().startswith("0x") else 10)

    size = number("size")
    if size == 0:
        return None
    driver = links.get(f"{folder}/driver")
    has_region = f"{folder}/../dax_region/align" in files
    return Device(
        ranges=_ranges(folder, size, files, number),
        name=name,
        align=number("align"),
        target_node=number("target_node") if f"{folder}/target_node" in files else None,
        region=_region(files.get(f"{folder}/../modalias", "").strip()),
        region_align=number("../dax_region/align") if has_region else None,
        driver=posixpath.basename(driver) if driver else None,
        owner=_owner(links.get(folder, "")),
    )


def _ranges(
    folder: str, size: int, files: Mapping[str, str], number: Callable[[str], int]
) -> tuple[Range, ...]:
    """What its mappings say; where the kernel has none (before 5.10), it has one range."""
    own = re.compile(rf"{re.escape(folder)}/(mapping[0-9]+)/(?:start|end)")
    names = sorted({match[1] for path in files if (match := own.fullmatch(path))})
    if names:
        found = tuple(sorted(Range(number(f"{one}/start"), number(f"{one}/end") + 1) for one in names))
    else:
        found = (Range(number("resource"), number("resource") + size),)
    if any(one.size <= 0 or one.end > _TOP for one in found):
        raise ValueError(f"{folder} has a range that ends before it begins, or beyond all memory")
    whole = joined(found)
    if sum(one.size for one in whole) != size:
        raise ValueError(f"{folder} has a size of {size}, and its mappings come to another")
    return whole


def _owner(place: str) -> str:
    """`…/platform/hmem.0/dax0.0`, `…/hmem_platform.0/hmem.0/dax0.0`, `…/region0/dax_region0/dax0.0`."""
    above = posixpath.dirname(place)
    if posixpath.basename(above).startswith("dax_region"):
        above = posixpath.dirname(above)
    return posixpath.basename(above)


def _region(modalias: str) -> str:
    """Which driver made the region: `platform:hmem`, `cxl:t6` (CXL_DEVICE_DAX_REGION), `nd:t…` (pmem)."""
    if modalias == "platform:hmem":
        return HMEM
    return {"cxl": CXL, "nd": "pmem"}.get(modalias.partition(":")[0], modalias)


def read_devices(answers: Answers) -> tuple[Device, ...]:
    """The devices, of the answers to `READS`. Raises ReadFailed and ValueError."""
    files = {path: text for read in FILES for path, text in answers.files(read).items()}
    return parse(files, answers.files(DRIVER) | answers.files(PLACE))


def read_region_size(answers: Answers, device: Device) -> int | None:
    """Of the answer to `REGION_SIZE`; None where it is not told."""
    text = answers.files(REGION_SIZE).get(f"{DEVICES}/{device.name}/../dax_region/size", "").strip()
    return int(text) if text.isdecimal() and text.isascii() else None


def read_memory(answers: Answers) -> tuple[Range, ...]:
    """/proc/iomem, with `Soft Reserved` by whatever evidence, of the answers to `MEMORY`.

    Raises ReadFailed and ValueError.
    """
    ranges = iomem.parse_iomem(answers.text(IOMEM))
    soft = [part for one in read_devices(answers) if one.region == HMEM for part in one.ranges]
    return iomem.with_soft_reserved(ranges, iomem.parse_firmware(answers.files(FIRMWARE)), soft)


def forced_write_back(kernel_log: str) -> int | None:
    """Up to where an AMD processor takes all memory from 4 GiB on for write-back; None: nothing says so.

    With SYSCFG[Tom2ForceMemTypeWB] the kernel does not look at variable MTRRs there, and says so where it
    lists them (`amd_special_default_mtrr` and `print_mtrr_state` in arch/x86/kernel/cpu/mtrr; since Linux 6.5
    only with `mtrr=debug`). `TOM2:` elsewhere in the log says only that there is memory (pci/amd_bus.c).
    """
    match = _TOM2.search(kernel_log)
    return int(match[1], 16) if match else None


def memory_types(pat: str, start: int, end: int) -> tuple[str, ...]:
    """The kernel's records of how a range is mapped, each named once: `uncached-minus`, `write-back`, ….

    None at all: nothing has mapped it.
    """
    found = []
    for line in pat.splitlines():
        match = _PAT_LINE.match(line)
        if match and int(match[1], 16) < end and start < int(match[2], 16):
            found.append(match[3])
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a device open or mapped. `vm` is its libvirt domain, if it is a QEMU of one."""

    pid: int
    device: str
    command: str
    vm: str | None = None

    def __str__(self) -> str:
        return f"vm {self.vm}" if self.vm else f"{self.command.split(' ')[0]} (process {self.pid})"


_HOLDER = re.compile(r"([0-9]{1,10})\t([^\t]+)\t(.*)", re.DOTALL)
_GUEST = re.compile(r"\S+ -name guest=((?:[^,]|,,)+?),(?:process=|debug-threads=)", re.DOTALL)


def holders(text: str) -> tuple[Holder, ...]:
    """The answer to `Holders`: `PID TAB DEVICE TAB COMMAND LINE` a line, blanks for its NULs.

    libvirt starts QEMU with `-name guest=NAME,debug-threads=on` in front of all else
    (qemuBuildNameCommandLine in src/qemu/qemu_command.c: `,process=` may stand between, and a comma of
    the name is doubled). A QEMU that somebody else started is no guest of libvirt. ValueError for a line
    of another form.
    """
    found = []
    for line in filter(None, text.split("\n")):
        match = _HOLDER.fullmatch(line)
        if match is None:
            raise ValueError(f"not a process and its device: {line[:80]!r}")
        pid, device, command = match.groups()
        guest = _GUEST.match(command)
        vm = guest[1].replace(",,", ",") if guest else None
        found.append(Holder(int(pid), device, command.strip(), vm))
    return tuple(dict.fromkeys(found))
