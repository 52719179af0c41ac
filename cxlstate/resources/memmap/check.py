"""What would go wrong with a range: told before it is on any command line."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.units import format_size
from cxlstate.formats import kernel_cmdline, memmap
from cxlstate.formats.iomem import RAM, SOFT_RESERVED, Range, covered, gaps
from cxlstate.formats.kaslr import LOAD_ADDRESS, stub_may_ignore_memmap
from cxlstate.formats.kernel_cmdline import Argument
from cxlstate.formats.memparse import memparse
from cxlstate.resources.memmap.probe import Live
from cxlstate.resources.memmap.spec import MemmapEntry

_NOKASLR: Final = "add nokaslr to host.grub.args"
_KERNEL: Final = frozenset({"Kernel code", "Kernel rodata", "Kernel data", "Kernel bss"})


def diagnose(entries: tuple[MemmapEntry, ...], live: Live) -> Iterator[Diagnostic]:
    """Every problem there is; `path` is relative to `host.memmap`."""
    for index, entry in enumerate(entries):
        if not live.runs(entry.region):
            yield from _no_ram(index, entry, live)
            yield from _soft_reserved(index, entry, live)
            yield from _over_kernel(index, entry, live)
            yield from _beside_others(index, entry, live)
        else:
            yield from _not_in_force(index, entry, live)
        if entry.type == "pmem":
            yield _makes_pmem(index, entry)
    yield from _too_much(entries, live)
    yield from _too_many(entries, live)


def _no_ram(index: int, entry: MemmapEntry, live: Live) -> Iterator[Diagnostic]:
    missing = gaps(entry.range, (one for one in live.firmware if one.name == RAM))
    if missing:
        there = [one.name for one in live.firmware if one.overlaps(missing[0]) and one.name != RAM]
        yield Diagnostic(
            "CXM301",
            f"{entry.argument} covers more than RAM",
            path=(index,),
            found=f"{missing[0]} {there[0] if there else 'empty'} in the firmware's memory map",
            expected=_nearest_ram(entry.range, live),
            hint="move or shorten the range: the kernel does not check it; /sys/firmware/memmap has all RAM",
        )


def _nearest_ram(wanted: Range, live: Live) -> str:
    ram = [one for one in live.firmware if one.name == RAM]
    if not ram:
        return "a range within RAM"
    nearest = min(ram, key=lambda one: max(one.start - wanted.end, wanted.start - one.end, 0))
    return f"a range within RAM; the nearest is {nearest}"


def _too_much(entries: tuple[MemmapEntry, ...], live: Live) -> Iterator[Diagnostic]:
    """What all of them leave of the firmware's RAM."""
    ram = [one for one in live.firmware if one.name == RAM]
    left = memmap.too_little_left([one.region for one in entries], ram)
    if left is not None and not all(live.runs(one.region) for one in entries):
        index, largest = max(enumerate(entries), key=lambda one: one[1].range.size)
        yield Diagnostic(
            "CXM380",
            "memmap takes away nearly all RAM",
            path=(index, "size"),
            found=f"{largest.argument}; {format_size(left)} of RAM would be left",
            expected="at least an eighth of it, or 8GiB, to run the host",
            hint="correct the size, or give guests huge pages, which can be taken back",
        )


def _under(entry: MemmapEntry, live: Live) -> list[Range]:
    return [one for one in live.iomem if one.name == SOFT_RESERVED and one.overlaps(entry.range)]


def _soft_reserved(index: int, entry: MemmapEntry, live: Live) -> Iterator[Diagnostic]:
    if under := _under(entry, live):
        yield Diagnostic(
            "CXM302",
            f"{entry.argument} has no effect on Soft Reserved memory",
            path=(index,),
            found=f"{under[0]} Soft Reserved",
            expected="System RAM only",
            hint="leave it out: the kernel does not use Soft Reserved memory by itself",
        )


def _over_kernel(index: int, entry: MemmapEntry, live: Live) -> Iterator[Diagnostic]:
    """Where the next kernel lies, if that can be told, or may lie."""
    if _kaslr_off(live):
        under = [one for one in _fixed_kernel(live) if one.overlaps(entry.range)]
        if under:
            yield Diagnostic(
                "CXM303",
                f"{entry.argument} covers the kernel itself",
                path=(index,),
                found=f"{under[0]} {under[0].name}",
                expected="a range without the kernel",
                hint="choose another range: with nokaslr the kernel is always loaded there",
            )
    elif live.efi and (kernels := [one for one in live.kernels if stub_may_ignore_memmap(one)]):
        yield Diagnostic(
            "CXM330",
            f"{kernels[0]} may load itself into {entry.argument}",
            severity=Severity.WARNING,
            path=(index,),
            found=f"Linux {kernels[0]}, booted by EFI, without nokaslr",
            expected="nokaslr, or a kernel whose EFI stub keeps out: 6.10, 6.9.4, 6.6.33, 6.1.93 or later",
            hint=_NOKASLR,
        )


def _beside_others(index: int, entry: MemmapEntry, live: Live) -> Iterator[Diagnostic]:
    """What other arguments of the boot entries say of the same memory, and would get or lose."""
    others = [one for one in dict.fromkeys(_all_arguments(live)) if not _all_ours(one, live.ours)]
    stronger = next((one for one in others if memmap.is_stronger(one, entry.region)), None)
    if stronger and not _under(entry, live):  # what is Soft Reserved already is told as that
        yield Diagnostic(
            "CXM332",
            f"{stronger} overrides {entry.argument}",
            path=(index,),
            found=f"{stronger} in the boot entries",
            expected="no other argument about the same memory",
            hint=f"remove {stronger} where it is set: of two types the kernel takes the larger one",
        )
    crash = next((one for one in others if any(map(entry.range.overlaps, _fixed_crash_kernel(one)))), None)
    if crash:
        yield Diagnostic(
            "CXM333",
            f"{entry.argument} takes the memory of {crash}",
            path=(index,),
            found=f"{crash} in the boot entries",
            expected="a range beside it",
            hint="choose another range, or write crashkernel= without a place: the kernel finds one then",
        )


def _all_arguments(live: Live) -> Iterator[Argument]:
    return (one for line in live.entries or (live.running,) for one in line)


def _fixed_crash_kernel(argument: Argument) -> Iterator[Range]:
    """`crashkernel=SIZE@START` is reserved there or nowhere (`reserve_crashkernel_generic`)."""
    if argument.name == "crashkernel" and "@" in (argument.value or ""):
        size, rest = memparse(argument.value or "")
        start, behind = memparse(rest.removeprefix("@"))
        if size and rest.startswith("@") and not behind:
            yield Range(start, start + size)


def _fixed_kernel(live: Live) -> list[Range]:
    """The kernel as it lies in memory, or, where it was placed at random, where nokaslr will put it."""
    now = [one for one in live.iomem if one.name in _KERNEL]
    if not now or any(one.name == "nokaslr" for one in live.running):
        return now
    shift = LOAD_ADDRESS - min(one.start for one in now)
    return [Range(one.start + shift, one.end + shift, one.name) for one in now]


def _not_in_force(index: int, entry: MemmapEntry, live: Live) -> Iterator[Diagnostic]:
    if covered(entry.range, (one for one in live.iomem if one.name == entry.range.name)):
        return
    under = [f"{one} {one.name}" for one in live.iomem if one.overlaps(entry.range) and one.depth == 0]
    kernel = [one for one in live.iomem if one.name in _KERNEL and one.overlaps(entry.range)]
    if kernel:
        under = [f"{kernel[0]} {kernel[0].name}"]
    yield Diagnostic(
        "CXM304",
        f"{entry.argument} is not in force" + (": the kernel itself lies there" if kernel else ""),
        path=(index,),
        found=", ".join(under) or "nothing there in /proc/iomem",
        expected=f"{entry.range} {entry.range.name}",
        hint=_out_of_the_way(live) if kernel else _who_wins(entry, live),
    )


def _out_of_the_way(live: Live) -> str:
    if any(one.name == "nokaslr" for one in live.running):
        return "choose another range: with nokaslr the kernel is always loaded there"
    if memmap.unseen_by_kaslr(live.running):
        return f"{_NOKASLR}: of more than {memmap.MAX_KASLR_REGIONS} ranges the kernel ignores some"
    booted = next((one.value or "" for one in live.running if one.name == "BOOT_IMAGE"), "")
    release = booted.rpartition("vmlinuz-")[2] if "vmlinuz-" in booted else None
    if release is not None and not stub_may_ignore_memmap(release):
        return _NOKASLR
    return f"{_NOKASLR}, or boot Linux 6.10 or later: the EFI stubs of 6.6 to 6.9.3 ignore memmap"


def _who_wins(entry: MemmapEntry, live: Live) -> str:
    """Of two types for one place the kernel takes the one with the larger number: the evidence for it."""
    for argument in live.running:
        for item in memmap.items((argument,)):
            if isinstance(item, memmap.Region) and item != entry.region and _touches(item, entry.range):
                return f"{argument} is about the same memory: remove one of them"
    firmware = [one for one in live.firmware if one.name != RAM and one.overlaps(entry.range)]
    if firmware:
        return f"the firmware's map has {firmware[0]} {firmware[0].name}: end the range before it"
    return "`dmesg | grep e820` has what the kernel made of the memory map"


def _touches(item: memmap.Region, wanted: Range) -> bool:
    return wanted.overlaps(Range(item.start, item.start + item.size))


def _makes_pmem(index: int, entry: MemmapEntry) -> Diagnostic:
    return Diagnostic(
        "CXM305",
        f"{entry.argument} makes a block device of the memory",
        severity=Severity.WARNING,
        path=(index, "type"),
        found="pmem: a /dev/pmem of the host",
        expected="reserved, for memory that nobody uses",
        hint="write type: reserved; with pmem, udev, LVM or ndctl may use the block device",
    )


def _too_many(entries: tuple[MemmapEntry, ...], live: Live) -> Iterator[Diagnostic]:
    if _kaslr_off(live):
        return
    ours = [entry.region for entry in entries]
    added = tuple(kernel_cmdline.read(entry.argument) for entry in entries)
    for line in live.entries or (live.running,):
        others = tuple(one for one in line if not _all_ours(one, {*ours, *live.ours}))
        unseen = [memmap.unseen_by_kaslr(order) for order in ((*added, *others), (*others, *added))]
        if any(unseen):
            items = memmap.items(others)
            theirs = sum(isinstance(one, memmap.Region) and one.sign in memmap.KASLR_AVOIDS for one in items)
            yield Diagnostic(
                "CXM306",
                "the kernel may load itself into a memmap range",
                found=f"{_count(len(ours))} in host.memmap, {theirs} by other arguments",
                expected=f"at most {memmap.MAX_KASLR_REGIONS} in all: the kernel keeps out of no more",
                hint=_fewer(entries),
            )
            return


def _all_ours(argument: Argument, ours: AbstractSet[memmap.Item]) -> bool:
    return argument.name == "memmap" and all(item in ours for item in memmap.items((argument,)))


def _count(number: int) -> str:
    return f"{number} range{'s' * (number != 1)}"


def _fewer(entries: tuple[MemmapEntry, ...]) -> str:
    for one in entries:
        for other in entries:
            if one.range.end == other.range.start and one.type == other.type:
                return f"write {one.argument} and {other.argument} as one range, or {_NOKASLR}"
    return _NOKASLR


def _kaslr_off(live: Live) -> bool:
    """`nokaslr` in every entry to be booted, or, without one, on the running command line."""
    return all(
        any(one.name == "nokaslr" for one in arguments) for arguments in (live.entries or (live.running,))
    )
