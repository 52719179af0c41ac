"""What resources tell each other. Kinds never import each other: the engine hands these over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cxlstate.core.action import Action, Span
from cxlstate.core.address import Address
from cxlstate.core.fragment import Fragment
from cxlstate.core.guest import GuestAccess


@dataclass(frozen=True, slots=True)
class KernelArguments:
    """Arguments that have to stand, in this order, on the kernel command line of every boot entry.

    One unit: where the hand-written configuration has all of them in order already, it is left as
    it is. `texts` are as the kernel reads them: no escaping for a shell or for GRUB.
    """

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NextBoot:
    """The command lines that the kernel may get at the next boot, whoever asks for what stands in them."""

    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class DaxDevice:
    """A dax device for those that build on it. Bytes; None, and no ranges: known once it is there.

    `link` is its stable path, which nobody else's memory can ever be behind. A device can have several
    ranges, with memory of another device between them. `desired_align` is the alignment that the spec gives
    it, and none where it gives none; `align` is then the one that it has.
    """

    link: str
    ranges: tuple[Span, ...] = ()
    align: int | None = None
    desired_align: int | None = None
    region_align: int | None = None
    target_node: int | None = None

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any byte of it is in a range; not while it is not known where it is."""
        return any(one.start < end and start < one.end for one in self.ranges)

    @property
    def size(self) -> int | None:
        """Bytes in all of its ranges."""
        return sum(one.end - one.start for one in self.ranges) if self.ranges else None


@dataclass(frozen=True, slots=True)
class ModuleKeptOut:
    """A kernel module that does nothing of note at boot, without an argument of ours.

    It is kept out by the machine's own configuration, or what it takes is given back.
    """

    name: str


@dataclass(frozen=True, slots=True)
class RestoreStep:
    """One thing that is made again after a reboot: a row of the boot script's table, and who restores it.

    The first word is the kind.
    """

    fragment: Fragment
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MtrrRanges:
    """Ranges that registers are wanted for: base, size and type of each; None: what is there stays."""

    wanted: tuple[tuple[int, int, str], ...] | None


@dataclass(frozen=True, slots=True)
class DiskImage:
    """A disk image on the host. `size` is its virtual size in bytes; None: known once it is there.

    `there`: whether it is; None: not known. `source`: the file on the host that it is made from.
    `grows_from`: the size that it has, where it is about to be made larger.
    """

    path: str
    format: str
    size: int | None = None
    there: bool | None = None
    source: str | None = None
    grows_from: int | None = None


@dataclass(frozen=True, slots=True)
class GrownDisk:
    """A disk of a VM that is about to be made larger, for what is on it in the guest. Bytes."""

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class GuestToBe:
    """What a VM tells of the guest in it that is to be provisioned.

    `defined`: there is such a VM; None: not known. `new`: whoever will be in it is made by this spec, since
    neither the VM is there, nor was a disk of it before the seed. `seeded`: it has the seed. `disks` are the
    paths that it writes to, `used` those that are there. `macs` are the addresses of its interfaces. `root`
    is the first of its disks that it writes to, if that is an image.
    """

    defined: bool | None
    new: bool
    seeded: bool = False
    disks: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    root: DiskImage | None = None


@dataclass(frozen=True, slots=True)
class Seed:
    """What its host does for the first boot of a guest.

    `given`: the VM has the seed, or will. `finish` takes it away again, on the host, once the guest is
    proven to have done with it.
    """

    instance: str
    given: bool
    finish: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class NvdimmOfVm:
    """An NVDIMM of a VM, for what is inside the guest. `number` is its place in the VM's list.

    Bytes; `size` includes the label area, which QEMU takes off its end. `slot` and `size` are None where
    neither the spec nor a definition tells them. `align` is the alignment that the spec gives the memory
    behind it, of which `align_of` is the resource. `runs`: the guest has it, in this slot, with
    this size and label.
    """

    number: int
    slot: int | None = None
    size: int | None = None
    label: int = 0
    align: int | None = None
    align_of: Address | None = None
    runs: bool = True

    @property
    def handle(self) -> int | None:
        """Its NFIT handle: slot + 1 (`nvdimm_build_structure_memdev` in QEMU's `hw/acpi/nvdimm.c`)."""
        return None if self.slot is None else self.slot + 1

    @property
    def usable(self) -> int | None:
        """Bytes of its region."""
        return None if self.size is None else self.size - self.label


@dataclass(frozen=True, slots=True)
class Reservations:
    """Addresses that a network keeps for interfaces: pairs of a MAC address in lower case and an IP.

    `subnet` is the network itself, as `192.168.122.0/24`; None where it has no address, or it is not known.
    """

    pairs: tuple[tuple[str, str], ...]
    subnet: str | None = None


@dataclass(frozen=True, slots=True)
class MacAddresses:
    """Those of a VM's interfaces, in lower case, in the order of the spec."""

    macs: tuple[str, ...]


Export = (
    KernelArguments
    | ModuleKeptOut
    | NextBoot
    | DaxDevice
    | RestoreStep
    | MtrrRanges
    | DiskImage
    | GrownDisk
    | GuestAccess
    | Reservations
    | MacAddresses
    | NvdimmOfVm
    | GuestToBe
    | Seed
)

T = TypeVar("T", bound=Export)


class Inputs:
    """The exports of everything that a resource needs or knows."""

    def __init__(self, exports: Mapping[Address, Sequence[Export]]) -> None:
        self._exports = exports

    def everything(self) -> list[tuple[Address, Export]]:
        """All that was handed over, by address."""
        return [(address, export) for address, exports in sorted(self._exports.items()) for export in exports]

    def all(self, of: type[T]) -> list[tuple[Address, T]]:
        """Every export of a type with the resource it comes from, by address."""
        return [(address, export) for address, export in self.everything() if isinstance(export, of)]
