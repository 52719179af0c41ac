"""Which region is meant, what is in it, and who uses that."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.exports import NvdimmOfVm
from cxlstate.core.observation import Present, Unknown
from cxlstate.core.read import Attributes, Exists, Holders, Read
from cxlstate.formats import blocks, dax, modprobe, ndctl, storage
from cxlstate.formats.dax import Device, Holder
from cxlstate.formats.ndctl import Namespace, Region
from cxlstate.resources.namespace.spec import NamespaceSpec

MODULES: Final = ("nd_pmem", "dax_pmem")
HOLDERS: Final = tuple(map(Holders, ("dax[0-9]*", "pmem[0-9]*")))
DRIVERS: Final = {name: Exists(f"/sys/bus/nd/drivers/{name}/uevent") for name in MODULES}
NUMBERS: Final = Attributes("/sys/class/block/*/dev")
READS: Final[tuple[Read, ...]] = (
    *(*ndctl.READS, ndctl.RECONFIGURED),
    *dax.READS,
    *HOLDERS,
    *map(modprobe.info, MODULES),
    *DRIVERS.values(),
    *(storage.MOUNTS, blocks.SIGNATURES, blocks.SWAPS, NUMBERS),
)

_NOT_ALLOWED: Final = ("Permission denied", "Operation not permitted")
_ROOT: Final = "connect as root, or as a user with passwordless sudo"


@dataclass(frozen=True, slots=True)
class Use:
    """What is known of the content of a namespace, and who uses it.

    `signature` is what is on its disk, `mounts` where that is mounted; `made_of` are volumes and arrays that
    it is part of, and swap.
    """

    signature: str | None = None
    mounts: tuple[str, ...] = ()
    holders: tuple[Holder, ...] = ()
    made_of: tuple[str, ...] = ()

    @property
    def users(self) -> tuple[str, ...]:
        """Whoever would lose it while they use it."""
        mounts = (f"mounted on {one}" for one in self.mounts)
        return (*mounts, *(f"part of {one}" for one in self.made_of), *map(str, self.holders))


@dataclass(frozen=True, slots=True)
class Live:
    """All regions with what is in them; which one is meant may hang on what the VM says (`meant`).

    `devices` are the dax devices of the machine. `missing` are the modules that the running kernel does not
    have. `made_ram` are names of namespaces, and the file that has daxctl make system RAM of them. `labels`
    are the UUIDs in the label areas by `nmem`; None where they were not asked for.
    """

    regions: tuple[Region, ...]
    devices: tuple[Device, ...]
    uses: tuple[tuple[str, Use], ...]
    missing: tuple[str, ...]
    made_ram: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, frozenset[str]], ...] | None = None

    def use(self, namespace: Namespace) -> Use:
        """What is known of one."""
        return dict(self.uses).get(namespace.name, Use())

    def device(self, namespace: Namespace) -> Device | None:
        """Its dax device, as the dax bus has it."""
        wanted = namespace.device or namespace.dax_name
        return next((one for one in self.devices if one.name == wanted and one.region == "pmem"), None)

    def relabelled(self, region: Region) -> bool:
        """Whether labels on the NVDIMM differ from those that the kernel read: somebody else wrote them.

        A kernel that read none has a region without labels, until its next start.
        """
        found = dict(self.labels or ())
        there = frozenset(uuid for dimm in region.dimms for uuid in found.get(dimm, ()))
        known = frozenset(one.label for one in region.namespaces if one.label)
        return self.labels is not None and there != known


def reads(spec: NamespaceSpec) -> tuple[Read, ...]:
    """Reading a label area of 16 MiB takes thousands of calls to the firmware: only where others write it."""
    return (*READS, *((ndctl.LABELS,) if spec.writer else ()))


def observe(spec: NamespaceSpec, answers: Answers) -> Present[Live] | Unknown:
    """What the machine has of persistent memory."""
    try:
        live = _seen(spec, answers)
    except ReadFailed as failed:
        denied = any(word in failed.reason for word in _NOT_ALLOWED)
        cure = (AllOf("package"),) if failed.missing_tool else ()
        return Unknown(failed.reason, cure, hint=_ROOT if denied else None)
    except ValueError as error:
        return Unknown(str(error))
    possible = meant(spec, None, live)
    unseen = [one for one in possible if hidden(one, live)]
    waits = any(not answers.exists(one) for one in DRIVERS.values()) and any(one.enabled for one in unseen)
    if not unseen or (len(unseen) < len(possible) and not waits):
        return Present(live)
    name, hint = hidden(unseen[0], live) or ("", "")
    cures = tuple(Address("module", name) for name in MODULES) if unseen[0].enabled else ()
    return Unknown(f"{name} is disabled: what is in it cannot be seen", cures, hint=hint)


def hidden(region: Region, live: Live) -> tuple[str, str] | None:
    """What keeps the content of a region from being seen, and the cure. None: it is seen.

    Namespaces of a disabled region are not even on the bus. The mode of one and what is in it are only seen
    by the driver that has it (mode_show in namespace_devs.c).
    """
    if not region.enabled:
        return region.name, f"ndctl enable-region {region.name}"
    idle = next((one for one in region.namespaces if not one.enabled), None)
    return (idle.name, f"ndctl enable-namespace {idle.name}") if idle and not live.missing else None


def _seen(spec: NamespaceSpec, answers: Answers) -> Live:
    regions = ndctl.read_regions(answers)
    labels = ndctl.label_uuids(answers.text(ndctl.LABELS)) if spec.writer else None
    files = answers.files(ndctl.RECONFIGURED)
    made = (
        (one.name, ndctl.made_ram_by(files, one.uuid or "")) for each in regions for one in each.namespaces
    )
    return Live(
        regions=regions,
        devices=dax.read_devices(answers),
        uses=tuple((one.name, _use(one, answers)) for region in regions for one in region.namespaces),
        missing=tuple(
            name for name in MODULES if modprobe.is_missing(name, answers.raw(modprobe.info(name)))
        ),
        made_ram=tuple((name, path) for name, path in made if path),
        labels=None if labels is None else tuple(labels.items()),
    )


def _use(namespace: Namespace, answers: Answers) -> Use:
    """Of partitions of its disk, too."""
    disk = namespace.device
    if disk is None:
        return Use()
    listed = answers.text(blocks.SIGNATURES)
    signatures = blocks.signatures(listed)
    above = [one for one in blocks.made_of(listed, disk) if not _is_of(disk, one)]
    swaps = map(posixpath.basename, blocks.swaps(answers.text_or_none(blocks.SWAPS) or ""))
    holders = (one for read in HOLDERS for one in dax.holders(answers.text(read)))
    # The kernel's own mount of the root is of /dev/root, and Btrfs has a number that is no device's.
    numbers = {number.strip(): path.split("/")[-2] for path, number in answers.files(NUMBERS).items()}
    mounts = storage.mount_lines(answers.text(storage.MOUNTS))
    return Use(
        signature=", ".join(kind for name, kind in signatures.items() if _is_of(disk, name)) or None,
        mounts=tuple(
            one.point
            for one in mounts
            if _is_of(disk, numbers.get(one.number) or posixpath.basename(one.source))
        ),
        holders=tuple(one for one in holders if _is_of(disk, one.device)),
        made_of=tuple(dict.fromkeys((*above, *("swap" for one in swaps if _is_of(disk, one))))),
    )


def _is_of(disk: str, name: str) -> bool:
    """Whether it is a disk or one of its partitions: `pmem0` and `pmem0p1`, of mode sector `pmem0s1`.

    Behind a digit the kernel puts a `p` (`add_partition` in block/partitions/core.c).
    """
    return name == disk or name.removeprefix(disk + "p" * disk[-1:].isdigit()).isdigit()


def meant(spec: NamespaceSpec, given: NvdimmOfVm | None, live: Live) -> tuple[Region, ...]:
    """The regions that the spec's words fit: one, where all is well.

    An NVDIMM of a VM is found by its handle: neither the order of names nor that of addresses follows the
    slots.
    """
    if spec.region is not None:
        return tuple(one for one in live.regions if one.start == spec.region)
    handle = spec.handle if given is None else given.handle
    if handle is not None:
        return tuple(one for one in live.regions if handle in one.handles)
    return live.regions
