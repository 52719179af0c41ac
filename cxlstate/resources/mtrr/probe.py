"""What is asked of the machine, and what the answers say of its registers and of whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.observation import Present, Unknown
from cxlstate.core.read import Command, Exists, File, Read
from cxlstate.core.units import format_size
from cxlstate.formats import dax, modprobe, mtrr, restore
from cxlstate.formats.dax import Device
from cxlstate.formats.iomem import HiddenAddresses, Range
from cxlstate.formats.mtrr import Block, Register

MTRR: Final = File("/proc/mtrr")
LOG: Final = Command(("dmesg",))
ADDRESS_SIZES: Final = Command(("grep", "-m1", "address sizes", "/proc/cpuinfo"))
SCRIPT: Final = File(restore.SCRIPT)
BEFORE: Final = File(restore.BEFORE)
LISTED: Final = Exists(restore.SCRIPT)

READS: Final[tuple[Read, ...]] = (MTRR, *dax.MEMORY, *modprobe.KMEM_READS, LOG, ADDRESS_SIZES, SCRIPT, BEFORE)

NOT_THERE: Final = "there is no /proc/mtrr"

_ROOT: Final = "connect as root, or as a user with passwordless sudo"
_NOT_ALLOWED: Final = ("Permission denied", "Operation not permitted")
_SWITCHED_OFF: Final = ("Input/output error", "No such device or address")
_WORDS_OF_A_LINE: Final = 5


@dataclass(frozen=True, order=True, slots=True)
class Content:
    """What a register holds, wherever in the row it stands: its number is not stable."""

    block: Block
    type: str

    def __str__(self) -> str:
        return f"{self.type} {self.block.base:#x}+{format_size(self.block.size)}"


@dataclass(frozen=True, slots=True)
class Line:
    """A register in the table of the boot script: content that mtrr.NAME asked for."""

    name: str
    content: Content


@dataclass(frozen=True, slots=True)
class Registers:
    """The registers in use, and what tells ours from others.

    `before` is what they held before our first write since the machine started; None: we have
    written nothing, or it cannot be told.
    """

    used: tuple[Register, ...] = ()
    lines: tuple[Line, ...] = ()
    before: frozenset[Content] | None = None

    @property
    def contents(self) -> frozenset[Content]:
        """What all of them hold."""
        return frozenset(map(content_of, self.used))

    def ours(self, content: Content) -> bool:
        """Whether a register of this content is there by our doing: listed, and new since the start."""
        listed = any(line.content == content for line in self.lines)
        return listed and self.before is not None and content not in self.before

    def dropped(self, name: str, wanted: frozenset[Content]) -> tuple[Content, ...]:
        """Ours by the wish of one name, there, and wanted neither by it nor by another.

        A line that is listed where no copy from before is kept is left alone: since the machine
        started nothing was written by us, so that register is somebody else's.
        """
        others = {line.content for line in self.lines if line.name != name}
        mine = {line.content for line in self.lines if line.name == name}
        return tuple(one for one in sorted(mine - others - wanted) if one in self.contents and self.ours(one))


@dataclass(frozen=True, slots=True)
class Live:
    """`count` is how many variable registers there are, if the kernel's log still says so.

    `missing` says why there is no interface to registers at all. No register reaches `top` or beyond, where
    that is known. `devices` are the dax devices of the machine. `kmem_kept_out`: by the machine's own
    configuration, from the next boot on. `kmem_built_in`: no list keeps kmem out,
    and what counts is `added_offline`, whether the memory that it adds is left offline. `forces`: the kernel
    says that write-back is forced from 4 GiB on, up to `forced_to` where that is known.
    """

    registers: Registers
    iomem: tuple[Range, ...]
    count: int | None = None
    missing: str | None = None
    devices: tuple[Device, ...] = ()
    kmem_kept_out: bool = False
    kmem_built_in: bool = False
    added_offline: bool = False
    forces: bool = False
    forced_to: int | None = None
    top: int | None = None

    @property
    def bound(self) -> tuple[Device, ...]:
        """Devices that the kernel has mapped, and goes on mapping as it did (`pat_x_mtrr_type`). Not RAM."""
        return tuple(one for one in self.devices if one.driver not in (None, dax.KMEM))


def content_of(register: Register) -> Content:
    """What it holds."""
    return Content(register.block, register.type)


def observe(answers: Answers) -> Present[Live] | Unknown:
    """Read it all; zeros in place of addresses, or a refusal, make it unknown."""
    try:
        missing = _missing(answers)
        registers = Registers() if missing else read_registers(answers)
        memory = dax.read_memory(answers)
        devices = dax.read_devices(answers)
        kmem = modprobe.of_kmem(answers)
        offline = modprobe.added_offline(answers.text(modprobe.COMMAND_LINE))
    except HiddenAddresses as error:
        return Unknown(str(error), hint=_ROOT)
    except ReadFailed as failed:
        refused = any(word in failed.reason for word in _NOT_ALLOWED)
        return Unknown(failed.reason, hint=_ROOT if refused else None)
    except ValueError as error:
        return Unknown(str(error))
    log = _text(answers, LOG)
    return Present(
        Live(
            registers,
            memory,
            count=mtrr.variable_registers(log),
            missing=missing,
            devices=devices,
            kmem_kept_out=kmem.kept_out_by is not None,
            kmem_built_in=kmem.built_in,
            added_offline=offline,
            forces=mtrr.forces_write_back(log),
            forced_to=dax.forced_write_back(log),
            top=mtrr.top_of_memory(_text(answers, ADDRESS_SIZES)),
        )
    )


def read_registers(answers: Answers) -> Registers:
    """The registers and what is listed as ours. Raises ReadFailed."""
    try:
        used = mtrr.parse(answers.text(MTRR))
        before = answers.text_or_none(BEFORE)
        known = None if before is None else frozenset(map(content_of, mtrr.parse(before)))
    except ValueError as error:
        raise ReadFailed(MTRR, str(error)) from None
    return Registers(used, listed(answers), known)


def listed(answers: Answers) -> tuple[Line, ...]:
    """The registers in the table of the script on the machine. Raises ReadFailed."""
    lines = restore.table(answers.text_or_none(SCRIPT) or "") or ()
    return tuple(_lines(lines))


def _lines(lines: tuple[restore.Words, ...]) -> Iterator[Line]:
    """A line of another form is none of ours."""
    for words in lines:
        if len(words) == _WORDS_OF_A_LINE and words[0] == "mtrr":
            _, name, base, size, kind = words
            try:
                yield Line(name, Content(Block(int(base, 16), int(size, 16)), kind))
            except ValueError:
                continue


def _missing(answers: Answers) -> str | None:
    """Evidence that registers cannot be had here: the file is not there, or the kernel has them off.

    `mtrr_open` gives EIO where they are disabled and ENXIO where they cannot be read (Linux
    arch/x86/kernel/cpu/mtrr/if.c).
    """
    try:
        if answers.text_or_none(MTRR) is None:
            return NOT_THERE
    except ReadFailed as failed:
        if any(word in failed.reason for word in _SWITCHED_OFF):
            return failed.reason
        raise
    return None


def _text(answers: Answers, read: Command) -> str:
    """What may be closed to us, or have lost its beginning: then it says nothing."""
    answer = answers.raw(read)
    return answer.text if answer.status == 0 else ""
