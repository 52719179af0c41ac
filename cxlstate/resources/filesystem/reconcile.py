"""The kind `filesystem`: differences and actions. It grows while it is mounted, and there is no way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from cxlstate.core.action import Action, Run
from cxlstate.core.address import AllOf
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import GrownDisk, Inputs
from cxlstate.core.observation import Observation, Present
from cxlstate.core.read import Read
from cxlstate.core.reconciler import How, Need, Reconciler, Resource
from cxlstate.core.units import format_size
from cxlstate.formats import filesystem, partitions
from cxlstate.resources.filesystem import FileSystemKind, probe
from cxlstate.resources.filesystem.probe import Live
from cxlstate.resources.filesystem.spec import FileSystemSpec, MountPoint

GROW: Final = ("grow",)

_MIB: Final = 1 << 20


class FileSystemReconciler(FileSystemKind, Reconciler[FileSystemSpec, Live | None]):
    """By mount point: its partition fills the disk, and it fills the partition."""

    model: ClassVar[type[FileSystemSpec]] = FileSystemSpec
    key: ClassVar[object] = MountPoint

    def needs(self, me: Resource[FileSystemSpec]) -> Sequence[Need]:
        """Its tools first. In a guest, its VM tells which disks are about to be larger."""
        vm = (Need(me.at_vm, How.KNOWS, on_parent=True),) if me.at_vm else ()
        return (Need(AllOf("package"), How.AFTER), *vm)

    def reads(self, me: Resource[FileSystemSpec]) -> Sequence[Read]:
        """Mounts, disks, and the superblock."""
        return probe.reads(me.name)

    def observe(self, me: Resource[FileSystemSpec], answers: Answers) -> Observation[Live | None]:
        """What is mounted there."""
        return probe.observe(me.name, answers)

    def assess(
        self, resource: Resource[FileSystemSpec], seen: Observation[Live | None], inputs: Inputs
    ) -> Assessment:
        """The partition first, then what is on it."""
        if not isinstance(seen, Present):
            return Assessment()
        live, point = seen.live, resource.name
        if live is None or not resource.spec.grow:
            return Assessment(
                problems=(_not_mounted(point),) if live is None else (), facts=_facts(live) if live else ()
            )
        live = _on_its_disk_to_be(live, inputs)
        problems = tuple(_problems(point, live))
        steps = tuple(_steps(point, live)) if not problems else ()
        return Assessment(
            problems=problems,
            changes=tuple(change for change, _ in steps),
            actions=tuple(action for _, action in steps),
            facts=_facts(live),
        )


reconciler = FileSystemReconciler()


def _on_its_disk_to_be(live: Live, inputs: Inputs) -> Live:
    """On a disk that is as large as one that its VM is about to make larger: it is taken to be that one."""
    disk = live.disk or live.block
    after = next((one.after for _, one in inputs.all(GrownDisk) if disk and one.before == disk.bytes), None)
    if disk is None or after is None:
        return live
    larger = replace(disk, size=after // partitions.SECTOR)
    return replace(live, disk=larger) if live.disk else replace(live, block=larger)


def _steps(point: str, live: Live) -> Iterator[tuple[Change, Action]]:
    block, disk, growth = live.block, live.disk, live.growth
    if block is None or live.extent is None:
        return
    size = block.bytes
    if disk and growth and growth.sectors:
        size += growth.sectors * partitions.SECTOR
        run = Run(("growpart", f"/dev/{disk.name}", str(block.number)))
        yield _grown("partition", block.bytes, size), Action(f"let {block.name} fill {disk.name}", run)
    if not live.extent.fills(size):
        run = Run(_resize(point, live.type, block.name, live.extent.number))
        yield _grown("size", live.extent.size, size), Action(f"let the {live.type} on {point} fill it", run)


def _grown(word: str, old: int, new: int) -> Change:
    return Change((word,), _shown(old), _shown(new))


def _resize(point: str, kind: str, name: str, number: int) -> tuple[str, ...]:
    if kind == filesystem.XFS:
        return ("xfs_growfs", point)
    if kind == filesystem.BTRFS:
        return ("btrfs", "filesystem", "resize", "max" if number == 1 else f"{number}:max", point)
    return ("resize2fs", f"/dev/{name}")


def _problems(point: str, live: Live) -> Iterator[Diagnostic]:
    """What cannot be grown, and what would have to be guessed."""
    if live.block and live.block.stacked:
        yield _stacked(point, live)
    elif live.type not in filesystem.TYPES or live.block is None:
        yield _no_disk(point, live)
    elif live.untold:
        yield Diagnostic(
            "CXF304",
            f"cannot tell how large the file system on {point} is",
            path=GROW,
            found=live.untold,
            expected=f"one {live.type} on one device",
            hint="grow it by hand, and write `grow: false`",
        )
    elif live.extent and _is_blocked(live):
        yield _blocked(live)
    elif live.logical and live.growth and live.growth.sectors:
        yield _logical(live)
    elif live.read_only and tuple(_steps(point, live)):
        yield Diagnostic(
            "CXF305",
            f"{point} is mounted read-only",
            path=GROW,
            found=f"{live.source} on {point}, ro",
            expected="a file system that may be written",
            hint=f"mount -o remount,rw {point}",
        )


def _is_blocked(live: Live) -> bool:
    """Whether another partition is before the free space: to growpart that is *no change*, too."""
    growth = live.growth
    if growth is None or growth.behind is None:
        return False
    return not growth.sectors and growth.free * partitions.SECTOR >= _MIB


def _not_mounted(point: str) -> Diagnostic:
    return Diagnostic(
        "CXF301",
        f"nothing is mounted on {point}",
        found="no such mount",
        expected="a mount point, as findmnt shows it",
        hint="mount it, or name the mount point that its folder lies in",
    )


def _stacked(point: str, live: Live) -> Diagnostic:
    block = live.block
    kind = block.stacked.partition("-")[0] if block else ""
    return Diagnostic(
        "CXF302",
        f"the file system on {point} is not on a partition itself",
        path=GROW,
        found=f"{live.source}: {kind or 'device mapper'}",
        expected="a disk or a partition: how space is shared in between is not guessed",
        hint="for LVM: growpart, pvresize and lvextend --resizefs, and `grow: false` here",
    )


def _no_disk(point: str, live: Live) -> Diagnostic:
    return Diagnostic(
        "CXF303",
        f"the file system on {point} cannot be grown",
        path=GROW,
        found=f"{live.type} from {live.source}",
        expected=", ".join(filesystem.TYPES),
        hint="write `grow: false`",
    )


def _blocked(live: Live) -> Diagnostic:
    growth, block = live.growth, live.block
    behind = growth.behind.name if growth and growth.behind else ""
    free = _shown(growth.free * partitions.SECTOR if growth else 0)
    name = block.name if block else ""
    return Diagnostic(
        "CXF306",
        f"{behind} keeps {name} from the free space of the disk",
        path=GROW,
        found=f"{free} are free behind {behind}, none behind {name}",
        expected=f"free space right behind {name}",
        hint=f"remove or move {behind} if nobody needs it there, or write `grow: false`",
    )


def _logical(live: Live) -> Diagnostic:
    block, disk = live.block, live.disk
    name, of = block.name if block else "", disk.name if disk else ""
    return Diagnostic(
        "CXF307",
        f"{name} is a logical partition",
        path=GROW,
        found=f"{name}, within an extended partition of {of}",
        expected="a primary partition, or one of a GPT",
        hint=f"grow the extended partition and {name} by hand (`parted /dev/{of}`, `resizepart`), "
        f"and plan again: the file system follows",
    )


def _facts(live: Live) -> tuple[tuple[str, str], ...]:
    """Type, device, and how large each layer is."""
    facts = [("type", live.type), ("device", live.source)]
    if live.disk:
        facts.append(("disk", f"{live.disk.name} ({_shown(live.disk.bytes)})"))
    if live.block:
        facts.append(("device size", _shown(live.block.bytes)))
    if live.extent:
        facts.append(("size", _shown(live.extent.size)))
    return tuple(facts)


def _shown(size: int) -> str:
    """In whole MiB: to the sector it says nothing to anybody."""
    return format_size(size // _MIB * _MIB)
