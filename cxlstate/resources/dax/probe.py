"""Which device it is today, who drives and holds it, and how its memory is mapped."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.observation import Present, Unknown
from cxlstate.core.read import Command, File, Links, MapAndRead, PosixRead
from cxlstate.core.units import format_address
from cxlstate.formats import dax, kernel_cmdline, memmap, modprobe, mtrr, restore
from cxlstate.formats.dax import Device, Holder
from cxlstate.formats.iomem import HiddenAddresses, Range
from cxlstate.resources.dax import zones
from cxlstate.resources.dax.spec import DaxSpec

MTRR: Final = File("/proc/mtrr")
LOG: Final = Command(("dmesg",))
NOTED: Final = File(restore.NOTED)
ZONES: Final = File("/proc/zoneinfo", limit=16 << 20)
LINKS: Final = Links(f"{restore.LINKS}/*")
READS: Final[tuple[PosixRead, ...]] = (
    *dax.MEMORY,
    *modprobe.KMEM_READS,
    *(dax.REGION_SIZE, dax.PAT, MTRR, LOG, NOTED, ZONES, LINKS, dax.HOLDERS),
)

_MAKER: Final = "dax_hmem"
_REGION = re.compile(r"region\d+", re.ASCII)
_FROM: Final = 4 << 30
_SWITCHED_OFF: Final = ("Input/output error", "No such device or address")
_NOT_ALLOWED: Final = ("Permission denied", "Operation not permitted")
_ROOT: Final = "connect as root, or as a user with passwordless sudo"


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such device, and what is there in its place. A link that is left is told.

    `under` are the names that /proc/iomem has for its memory, `taken_by` is the argument of the running
    kernel that keeps it from being a device. `made_by_none` is what would make one.
    """

    instead: str
    link: str | None
    under: tuple[str, ...] = ()
    taken_by: str | None = None
    made_by_none: str = ""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A range of a device: what the MTRRs come to, and the kernel's records of how it is mapped.

    `effective` is None where that is mixed or cannot be read, `types` where they cannot be read.
    """

    effective: str | None
    types: tuple[str, ...] | None

    @property
    def cached(self) -> bool:
        """Known to be mapped otherwise than the MTRRs say, in the dangerous direction."""
        return self.effective == mtrr.UNCACHABLE and mtrr.WRITE_BACK in (self.types or ())

    @property
    def unproven(self) -> bool:
        """Uncachable by the MTRRs, and there is no record of it."""
        return self.effective == mtrr.UNCACHABLE and not self.types


@dataclass(frozen=True, slots=True)
class Live:
    """A device as it is. `others` are further ones that the spec's words fit.

    `mapped` is by range; `unproven` says why the kernel's records cannot be read, and `records` what would
    help. `forced` says what is
    known to keep it write-back, whatever its MTRRs are: to bind it again would not help.
    `stays_ram`: kmem has made RAM of it that cannot be taken back without a reboot. With `added_offline`
    memory that kmem adds is in use only if somebody onlined it. `region_size` is None where it is not told.
    `loaded` are modules, `modprobe_d` says what becomes of them, and `drivable` that device_dax is there.
    """

    device: Device
    others: tuple[Device, ...]
    link: str | None
    holders: tuple[Holder, ...]
    mapped: tuple[Mapped, ...]
    unproven: str
    records: str
    forced: str
    stays_ram: bool
    kmem: modprobe.Fate
    added_offline: bool
    inspected: str | None
    region_size: int | None = None
    command_line: str = ""
    modprobe_d: tuple[modprobe.Line, ...] = ()
    loaded: frozenset[str] = frozenset()
    drivable: bool = True

    @property
    def made_by_hand(self) -> bool:
        """Whether a boot does not make it again: one device of all of its region comes in its place.

        `dax_hmem_probe` and `cxl_dax_region_probe` in drivers/dax; those of pmem are as their namespace is.
        """
        of_kernel = self.device.region in (dax.HMEM, dax.CXL)
        return of_kernel and self.region_size not in (None, self.device.size)

    @property
    def bound(self) -> bool:
        """Whether programs can map it."""
        return self.device.driver == dax.DEVDAX

    @property
    def cached(self) -> bool:
        """Known to be mapped write-back, although its MTRRs are uncachable."""
        return self.bound and any(one.cached for one in self.mapped)

    @property
    def given_back(self) -> bool:
        """Whether it can be taken back from kmem at once, and after each boot at which kmem takes it anew."""
        again = self.added_offline or self.kmem.kept_out_by is not None
        return self.device.driver == dax.KMEM and again and not self.stays_ram

    @property
    def uncachable(self) -> bool:
        """Whether the MTRRs say so of any of it."""
        return any(one.effective == mtrr.UNCACHABLE for one in self.mapped)

    @property
    def doomed(self) -> bool:
        """Nothing that can be done makes it what its MTRRs say."""
        return bool(self.forced) and (self.cached if self.bound else self.uncachable)

    @property
    def types(self) -> tuple[str, ...] | None:
        """The kernel's records of all of it, each named once."""
        if any(one.types is None for one in self.mapped):
            return None
        return tuple(dict.fromkeys(kind for one in self.mapped for kind in one.types or ()))


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
    memory = dax.read_memory(answers)
    devices = dax.read_devices(answers)
    link = answers.files(LINKS).get(f"{restore.LINKS}/{name}")
    found = [one for one in devices if _is_meant(one, spec)]
    if not found:
        under = tuple(dict.fromkeys(one.name for one in memory if any(map(one.overlaps, spec.memory))))
        taken_by = _taken_by(spec, answers.text(modprobe.COMMAND_LINE))
        return Missing(_instead(spec, devices, under), link, under, taken_by, _made_by_none(under, answers))
    device, *others = found
    mapped, unproven = _mapped(device, answers)
    offline = modprobe.added_offline(answers.text(modprobe.COMMAND_LINE))
    return Live(
        device=device,
        others=tuple(others),
        link=link,
        holders=holders_of(device, answers),
        mapped=mapped,
        unproven=unproven,
        records=_to_read_records(name, unproven, answers.text(modprobe.COMMAND_LINE)),
        forced=_forced(device, answers),
        stays_ram=device.driver == dax.KMEM and zones.stays_ram(device, answers.text(ZONES), offline=offline),
        kmem=modprobe.of_kmem(answers),
        added_offline=offline,
        inspected=_inspected(spec, answers),
        region_size=dax.read_region_size(answers, device),
        command_line=answers.text(modprobe.COMMAND_LINE),
        modprobe_d=modprobe.configuration(answers),
        loaded=_loaded(answers),
        drivable=any(posixpath.basename(path) == dax.DEVDAX for path in answers.files(modprobe.DAX_DRIVERS)),
    )


def _is_meant(device: Device, spec: DaxSpec) -> bool:
    if spec.memory:
        return any(map(device.overlaps, spec.memory))
    if spec.device:
        return device.name == spec.device
    return device.target_node == spec.target_node


def _instead(spec: DaxSpec, devices: tuple[Device, ...], under: Sequence[str]) -> str:
    if not spec.memory:
        nodes = {one: "no node" if one.target_node is None else f"node {one.target_node}" for one in devices}
        names = ", ".join(f"{one.name} ({node})" for one, node in nodes.items())
        return f"there is {names or 'no dax device'}"
    return f"that memory is {', '.join(under)}" if under else "there is no memory at all"


def _taken_by(spec: DaxSpec, command_line: str) -> str | None:
    """`efi=nosoftreserve` makes RAM of it (drivers/firmware/efi/efi.c), `memmap=` what it says."""
    for one in kernel_cmdline.parse(command_line):
        if one.name == "efi" and "nosoftreserve" in (one.value or "").split(","):
            return one.text
        regions = (item for item in memmap.items([one]) if isinstance(item, memmap.Region) and item.takes_ram)
        taken = [Range(item.start, item.start + item.size) for item in regions if item.sign != "%"]
        if any(part.overlaps(mine) for part in taken for mine in spec.memory):
            return one.text
    return None


def _made_by_none(under: Sequence[str], answers: Answers) -> str:
    """Why nothing makes a device of CXL or Soft Reserved memory (drivers/dax/hmem, drivers/dax/cxl.c)."""
    loaded = _loaded(answers)
    empty = any(one.strip() == "0" for one in answers.files(dax.ATTRIBUTES[0]).values())
    if empty:
        return "`daxctl list -RD` shows a region without a device: daxctl create-device --region=ID makes one"
    if any(_REGION.fullmatch(one) for one in under):
        regions = "`cxl list --regions` shows whether the region is committed"
        return f"{'dax_cxl is loaded' if 'dax_cxl' in loaded else 'load dax_cxl'}; {regions}"
    command_line = answers.text(modprobe.COMMAND_LINE)
    off = [one for one in kernel_cmdline.parse(command_line) if one.name == "device_hmem.disable"][-1:]
    if off and (off[0].value or "y")[:1] in "1yY":
        return f"take {off[0].text} off the kernel command line: it switches dax_hmem off"
    if kept_out := modprobe.by_command_line(_MAKER, command_line):
        return f"take {_MAKER} out of {kept_out} on the kernel command line"
    if _MAKER in loaded:
        return f"{_MAKER} is loaded and made none: `dmesg | grep -i hmem` says why; dax_cxl has CXL regions"
    return f"load {_MAKER}, which makes a device of it, or dax_cxl for memory of a CXL region"


def _loaded(answers: Answers) -> frozenset[str]:
    lines = (answers.text_or_none(modprobe.LOADED) or "").splitlines()
    return frozenset(line.split(" ", 1)[0] for line in lines)


def _mapped(device: Device, answers: Answers) -> tuple[tuple[Mapped, ...], str]:
    """By range; and why the records cannot be read, if so."""
    registers, pat, unproven = _registers(answers), None, ""
    try:
        pat = answers.text(dax.PAT)
    except ReadFailed as failed:
        unproven = failed.reason
    return tuple(
        Mapped(
            None if registers is None else mtrr.effective(one.start, one.end, registers),
            None if pat is None else dax.memory_types(pat, one.start, one.end),
        )
        for one in device.ranges
    ), unproven


def _to_read_records(name: str, unproven: str, command_line: str) -> str:
    """By what is seen: without PAT the kernel has no such file (pat_memtype_list_init in pat/memtype.c)."""
    for one in kernel_cmdline.parse(command_line):
        if one.name == "nopat" or (one.name == "debugfs" and one.value in ("off", "no-mount")):
            return f"add to host.grub.absent: {one.text}"
    if any(word in unproven for word in _NOT_ALLOWED):
        return f"kernel lockdown closes it; `cxlstate measure dax.{name}` tells by the time of loads"
    if unproven:
        return "mount -t debugfs debugfs /sys/kernel/debug"
    return f"`cxlstate measure dax.{name}` tells by the time of loads"


def _registers(answers: Answers) -> tuple[mtrr.Register, ...] | None:
    """None where there are none: EIO and ENXIO say that they are off (`mtrr_open` in `if.c`)."""
    try:
        text = answers.text_or_none(MTRR)
    except ReadFailed as failed:
        if any(word in failed.reason for word in _SWITCHED_OFF):
            return None
        raise
    return None if text is None else mtrr.parse(text)


def _forced(device: Device, answers: Answers) -> str:
    """The log may be closed to us: then it says nothing."""
    said = answers.raw(LOG)
    log = said.text if said.status == 0 else ""
    top = dax.forced_write_back(log)
    if top is not None and any(one.start < top and one.end > _FROM for one in device.ranges):
        return (
            f"the processor forces write-back from 4GiB to {format_address(top)} (SYSCFG Tom2ForceMemTypeWB)"
        )
    if restore.mapped_write_back(answers.text_or_none(NOTED) or "", device.ranges):
        seen = "it was bound after its MTRRs were written, and mapped write-back all the same"
        known = "the processor forces write-back from 4GiB to TOP_MEM2 (SYSCFG Tom2ForceMemTypeWB)"
        return f"{seen}; {known}" if mtrr.forces_write_back(log) else seen
    return ""


def _inspected(spec: DaxSpec, answers: Answers) -> str | None:
    """How the mapping went; None where nobody asked for it."""
    if not spec.memory:
        return None
    read = MapAndRead(spec.memory[0].start)
    try:
        answers.raw(read)
    except ReadFailed:
        return None
    try:
        answers.text(read)
    except ReadFailed as failed:
        return f"not checked: {failed.reason}"
    return "mapped and read"


def linked(live: Live) -> bool:
    """Whether the stable path leads to the device."""
    return live.link is not None and posixpath.basename(live.link) == live.device.name


def holders_of(device: Device, answers: Answers) -> tuple[Holder, ...]:
    """Processes that have it open or mapped."""
    return tuple(one for one in dax.holders(answers.text(dax.HOLDERS)) if one.device == device.name)


def selected(selector: str, answers: Answers) -> Device | None:
    """The device that a line of the restore script's table is about, if it is there."""
    try:
        devices = dax.read_devices(answers)
    except ValueError:
        return None
    fitting = [
        one
        for one in devices
        if selector
        in (
            restore.selector(one.ranges),
            restore.selector(node=one.target_node),
            restore.selector(name=one.name),
        )
    ]
    return fitting[0] if len(fitting) == 1 else None
