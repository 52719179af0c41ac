"""Which device it is today, who drives and holds it, and how its memory is mapped."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cxlstate.core.observation import Present, Unknown
from cxlstate.core.read import Answers, File, Holders, Links, MapAndRead, Read, ReadFailed
from cxlstate.formats import dax, kernel_cmdline, mtrr, restore
from cxlstate.formats.dax import Device, Holder
from cxlstate.formats.iomem import HiddenAddresses, Range, parse_iomem
from cxlstate.resources.dax.spec import DaxSpec

IOMEM: Final = File("/proc/iomem")
MTRR: Final = File("/proc/mtrr")
COMMAND_LINE: Final = File("/proc/cmdline")
ZONES: Final = File("/proc/zoneinfo", limit=16 << 20)
LINKS: Final = Links(f"{restore.LINKS}/*")
HOLDERS: Final = Holders("dax[0-9]*")
READS: Final[tuple[Read, ...]] = (
    *dax.READS,
    *(dax.PAT, IOMEM, MTRR, COMMAND_LINE, ZONES, LINKS, HOLDERS),
)

_PAGE: Final = 4096
_SWITCHED_OFF: Final = ("Input/output error", "No such device or address")
_NOT_ALLOWED: Final = ("Permission denied", "Operation not permitted")
_ROOT: Final = "connect as root, or as a user with passwordless sudo"
_ZONE = re.compile(r"Node (\d+), zone +(\w+)\n((?:(?!Node ).*\n?)*)")


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such device, and what is there in its place. A link that is left is told."""

    instead: str
    link: str | None


@dataclass(frozen=True, slots=True)
class Live:
    """A device as it is. `others` are further ones that the spec's words fit.

    `types` are the kernel's records of how it is mapped; None with `unproven` saying why they cannot be
    read. `effective` is what the MTRRs come to over it, None where that is mixed or cannot be read.
    `stays_ram`: kmem has made RAM of it that cannot be taken back without a reboot.
    """

    device: Device
    others: tuple[Device, ...]
    link: str | None
    holders: tuple[Holder, ...]
    types: tuple[str, ...] | None
    unproven: str
    effective: str | None
    stays_ram: bool
    kmem_kept_out: bool
    inspected: str | None

    @property
    def bound(self) -> bool:
        """Whether programs can map it."""
        return self.device.driver == dax.DEVDAX

    @property
    def cached(self) -> bool:
        """Mapped otherwise than the MTRRs say, in the dangerous direction: bound before they were written."""
        return (
            self.bound
            and self.effective == mtrr.UNCACHABLE
            and bool(self.types)
            and "write-back" in (self.types or ())
        )


def observe(spec: DaxSpec, name: str, answers: Answers) -> Present[Live | Missing] | Unknown:
    """The device that the spec means."""
    try:
        return Present(_seen(spec, name, answers))
    except HiddenAddresses as error:
        return Unknown(str(error), hint=_ROOT)
    except ReadFailed as failed:
        denied = any(word in failed.reason for word in _NOT_ALLOWED)
        return Unknown(failed.reason, hint=_ROOT if denied else None)
    except ValueError as error:
        return Unknown(str(error))


def _seen(spec: DaxSpec, name: str, answers: Answers) -> Live | Missing:
    iomem = parse_iomem(answers.text(IOMEM))
    devices = _devices(answers)
    link = answers.files(LINKS).get(f"{restore.LINKS}/{name}")
    found = [one for one in devices if _is_meant(one, spec)]
    if not found:
        return Missing(_instead(spec, devices, iomem), link)
    device, *others = found
    types, unproven = _types(device, answers)
    return Live(
        device=device,
        others=tuple(others),
        link=link,
        holders=holders_of(device, answers),
        types=types,
        unproven=unproven,
        effective=_effective(device, answers),
        stays_ram=device.driver == dax.KMEM and not _movable(device, answers.text(ZONES)),
        kmem_kept_out=kept_out(answers.text(COMMAND_LINE).split()),
        inspected=_inspected(spec, answers),
    )


def kept_out(arguments: Iterable[str]) -> bool:
    """Whether arguments of the kernel keep kmem from being loaded for a device."""
    given = kernel_cmdline.parse(" ".join(arguments))
    lists = [one.value or "" for one in given if one.name in ("modprobe.blacklist", "module_blacklist")]
    return any("kmem" in text.split(",") for text in lists)


def _devices(answers: Answers) -> tuple[Device, ...]:
    files: dict[str, str] = {}
    for read in (*dax.ATTRIBUTES, dax.REGION_ALIGN, dax.REGION_MODALIAS):
        files |= answers.files(read)
    return dax.parse(files, answers.files(dax.DRIVER))


def _is_meant(device: Device, spec: DaxSpec) -> bool:
    if spec.range:
        return device.start < spec.range.end and spec.range.start < device.end
    if spec.device:
        return device.name == spec.device
    return device.target_node == spec.target_node


def _instead(spec: DaxSpec, devices: tuple[Device, ...], iomem: tuple[Range, ...]) -> str:
    if not spec.range:
        nodes = {one: "no node" if one.target_node is None else f"node {one.target_node}" for one in devices}
        names = ", ".join(f"{one.name} ({node})" for one, node in nodes.items())
        return f"there is {names or 'no dax device'}"
    under = [one for one in iomem if one.start < spec.range.end and spec.range.start < one.end]
    said = ", ".join(dict.fromkeys(one.name for one in under))
    return f"that memory is {said}" if said else "there is no memory at all"


def _types(device: Device, answers: Answers) -> tuple[tuple[str, ...] | None, str]:
    try:
        return dax.memory_types(answers.text(dax.PAT), device.start, device.end), ""
    except ReadFailed as failed:
        return None, failed.reason


def _effective(device: Device, answers: Answers) -> str | None:
    """None where there are no registers: EIO and ENXIO say that they are off (`mtrr_open` in `if.c`)."""
    try:
        text = answers.text_or_none(MTRR)
    except ReadFailed as failed:
        if any(word in failed.reason for word in _SWITCHED_OFF):
            return None
        raise
    return None if text is None else mtrr.effective(device.start, device.end, mtrr.parse(text))


def _inspected(spec: DaxSpec, answers: Answers) -> str | None:
    """How the mapping went; None where nobody asked for it."""
    if not spec.range:
        return None
    read = MapAndRead(spec.range.start)
    try:
        answers.raw(read)
    except ReadFailed:
        return None
    try:
        answers.text(read)
    except ReadFailed as failed:
        return f"not checked: {failed.reason}"
    return "mapped and read"


@dataclass(frozen=True, slots=True)
class _Zone:
    """Memory of one node for one use. `whole`: all that it spans is in it, without holes."""

    node: int
    name: str
    start: int
    end: int
    whole: bool

    def overlaps(self, device: Device) -> bool:
        return self.start < device.end and device.start < self.end

    def holds(self, device: Device) -> bool:
        return self.whole and self.start <= device.start and device.end <= self.end


@lru_cache(maxsize=4)
def _zones(text: str) -> tuple[_Zone, ...]:
    """Those with any memory (zoneinfo_show_print in mm/vmstat.c)."""
    found = []
    for match in _ZONE.finditer(text):
        spanned, present, first = (_number(field, match[3]) for field in ("spanned", "present", "start_pfn:"))
        if spanned:
            start, end = first * _PAGE, (first + spanned) * _PAGE
            found.append(_Zone(int(match[1]), match[2], start, end, whole=present == spanned))
    return tuple(found)


def _number(field: str, body: str) -> int:
    match = re.search(rf"^ +{field} +(\d+)$", body, re.MULTILINE)
    return int(match[1]) if match else 0


def _movable(device: Device, zoneinfo: str) -> bool:
    """Whether all of it is in a Movable zone: what the kernel itself uses does not move away.

    Zones of a node may overlap where one has holes (Normal spans Soft Reserved memory between RAM).
    """
    over = [one for one in _zones(zoneinfo) if one.node == device.target_node and one.overlaps(device)]
    if any(one.name == "Movable" and one.holds(device) for one in over):
        return True
    return all(one.name in ("Movable", "Device") for one in over)


def linked(live: Live) -> bool:
    """Whether the stable path leads to the device."""
    return live.link is not None and posixpath.basename(live.link) == live.device.name


def holders_of(device: Device, answers: Answers) -> tuple[Holder, ...]:
    """Processes that have it open or mapped."""
    return tuple(one for one in dax.holders(answers.text(HOLDERS)) if one.device == device.name)


def selected(selector: str, answers: Answers) -> Device | None:
    """The device that a line of the restore script's table is about, if it is there."""
    try:
        devices = _devices(answers)
    except ValueError:
        return None
    fitting = [
        one
        for one in devices
        if selector
        in (
            restore.selector(start=one.start, size=one.size),
            restore.selector(node=one.target_node),
            restore.selector(name=one.name),
        )
    ]
    return fitting[0] if len(fitting) == 1 else None
