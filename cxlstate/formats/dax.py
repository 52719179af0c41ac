"""Dax devices as sysfs shows them, and the type with which the kernel maps their memory.

Sources: Linux 6.12 `Documentation/ABI/testing/sysfs-bus-dax`, `drivers/dax/bus.c`; `driver` is a link
that is there only while a driver is bound. `arch/x86/mm/pat/memtype.c` (`memtype_seq_show`, end
exclusive) for `pat_memtype_list`. Bytes everywhere.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cxlstate.core.read import Attributes, File, Links, Read

DEVICES: Final = "/sys/bus/dax/devices"
ATTRIBUTES: Final = tuple(
    Attributes(f"{DEVICES}/*/{name}") for name in ("size", "align", "resource", "target_node")
)
REGION_ALIGN: Final = Attributes(f"{DEVICES}/*/../dax_region/align")
REGION_MODALIAS: Final = Attributes(f"{DEVICES}/*/../modalias")
DRIVER: Final = Links(f"{DEVICES}/*/driver")
PAT: Final = File("/sys/kernel/debug/x86/pat_memtype_list", limit=16 << 20)

READS: Final[tuple[Read, ...]] = (*ATTRIBUTES, REGION_ALIGN, REGION_MODALIAS, DRIVER)

DEVDAX: Final = "device_dax"
KMEM: Final = "kmem"

_PAT_LINE = re.compile(r"PAT: \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\] ([a-z-]+)", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Device:
    """One device. `driver` is None while none is bound; `region` is `hmem`, `cxl`, `pmem` or its modalias.

    `target_node` is None where the firmware told none: the kernel then has no such file (`dev_dax_visible`
    in `drivers/dax/bus.c`). `region_align` is None where it may not be read (only root may).
    """

    start: int
    size: int
    name: str
    align: int
    target_node: int | None
    region: str
    region_align: int | None = None
    driver: str | None = None

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.start + self.size


def parse(files: Mapping[str, str], links: Mapping[str, str]) -> tuple[Device, ...]:
    """The devices by address, of what `READS` answered (all attributes in one mapping).

    ValueError where an attribute is missing or is no number. A device without memory (size 0, no
    `resource`) is left out.
    """
    names = sorted({path.split("/")[5] for path in files})
    return tuple(sorted(one for name in names if (one := _device(name, files, links)) is not None))


def _device(name: str, files: Mapping[str, str], links: Mapping[str, str]) -> Device | None:
    folder = f"{DEVICES}/{name}"

    def number(attribute: str) -> int:
        text = files.get(f"{folder}/{attribute}")
        if text is None:
            raise ValueError(f"{folder} has no {attribute}")
        try:
            return int(text.strip(), 0)
        except ValueError:
            raise ValueError(f"{folder}/{attribute} is no number: {text[:40]!r}") from None

    size = number("size")
    if size == 0:
        return None
    driver = links.get(f"{folder}/driver")
    has_region = f"{folder}/../dax_region/align" in files
    return Device(
        start=number("resource"),
        size=size,
        name=name,
        align=number("align"),
        target_node=number("target_node") if f"{folder}/target_node" in files else None,
        region=_region(files.get(f"{folder}/../modalias", "").strip()),
        region_align=number("../dax_region/align") if has_region else None,
        driver=posixpath.basename(driver) if driver else None,
    )


def _region(modalias: str) -> str:
    """Which driver made the region: `platform:hmem`, `cxl:t6` (CXL_DEVICE_DAX_REGION), `nd:t…` (pmem)."""
    if modalias == "platform:hmem":
        return "hmem"
    return {"cxl": "cxl", "nd": "pmem"}.get(modalias.partition(":")[0], modalias)


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


_GUEST = re.compile(r"\S+ -name guest=((?:[^,]|,,)+?),(?:process=|debug-threads=)", re.DOTALL)


def holders(text: str) -> tuple[Holder, ...]:
    """The answer to `Holders`: `PID TAB DEVICE TAB COMMAND LINE` a line, blanks for its NULs.

    libvirt starts QEMU with `-name guest=NAME,debug-threads=on` in front of all else
    (qemuBuildNameCommandLine in src/qemu/qemu_command.c: `,process=` may stand between, and a comma of
    the name is doubled). A QEMU that somebody else started is no guest of libvirt.
    """
    found = []
    for line in filter(None, text.split("\n")):
        pid, device, command = line.split("\t", 2)
        guest = _GUEST.match(command)
        vm = guest[1].replace(",,", ",") if guest else None
        found.append(Holder(int(pid), device, command.strip(), vm))
    return tuple(dict.fromkeys(found))


def of(devices: Iterable[Device], start: int, end: int) -> tuple[Device, ...]:
    """The devices that have any byte in a range."""
    return tuple(one for one in devices if one.start < end and start < one.end)
