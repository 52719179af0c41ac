"""What would go wrong with a range: told before it is on any command line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.formats import memmap
from cxlstate.formats.iomem import RAM, covered, gaps
from cxlstate.formats.kernel_cmdline import Argument
from cxlstate.resources.memmap.probe import Live
from cxlstate.resources.memmap.spec import MemmapEntry

_KERNEL: Final = frozenset({"Kernel code", "Kernel rodata", "Kernel data", "Kernel bss"})


def diagnose(entries: tuple[MemmapEntry, ...], live: Live) -> Iterator[Diagnostic]:
    """Every problem there is; `path` is relative to `host.memmap`."""
    for index, entry in enumerate(entries):
        if not live.runs(entry.region):
            yield from _no_ram(index, entry, live)
            yield from _soft_reserved(index, entry, live)
            yield from _over_kernel(index, entry, live)
        else:
            yield from _not_in_force(index, entry, live)
        if entry.type == "pmem":
            yield _makes_pmem(index, entry)
    yield from _too_many(entries, live)
    yield from _limits(live)


def _no_ram(index: int, entry: MemmapEntry, live: Live) -> Iterator[Diagnostic]:
    missing = gaps(entry.range, (one for one in live.firmware if one.name == RAM))
    if missing:
        there = [f"{one} {one.name}" for one in live.firmware if one.overlaps(missing[0]) and one.name != RAM]
        ram = ", ".join(str(one) for one in live.firmware if one.name == RAM)
        yield Diagnostic(
            "CXM301",
            f"{entry.argument} is not all RAM by the firmware's map",
            path=(index,),
            found=f"{missing[0]}: {there[0] if there else 'nothing there'}",
            expected=f"a range within the RAM at {ram}",
            hint="the kernel checks nothing: it would take memory that is not there for memory that is",
        )


def _soft_reserved(index: int, entry: MemmapEntry, live: Live) -> Iterator[Diagnostic]:
    under = [one for one in live.iomem if one.name == "Soft Reserved" and one.overlaps(entry.range)]
    if under:
        yield Diagnostic(
            "CXM302",
            f"{entry.argument} reaches into Soft Reserved memory, where memmap has no effect",
            path=(index,),
            found=f"{under[0]} Soft Reserved",
            expected="System RAM only",
            hint="Soft Reserved memory is the CXL device's own and the kernel leaves it alone already",
        )


def _over_kernel(index: int, entry: MemmapEntry, live: Live) -> Iterator[Diagnostic]:
    """A kernel that is placed at random keeps out of memmap ranges; one that is not, is where it is."""
    if not _kaslr_off(live):
        return
    under = [one for one in live.iomem if one.name in _KERNEL and one.overlaps(entry.range)]
    if under:
        yield Diagnostic(
            "CXM303",
            f"{entry.argument} holds the kernel itself",
            path=(index,),
            found=f"{under[0]} {under[0].name}",
            expected="a range without the kernel",
            hint="with nokaslr the kernel is always loaded there",
        )


def _not_in_force(index: int, entry: MemmapEntry, live: Live) -> Iterator[Diagnostic]:
    if covered(entry.range, (one for one in live.iomem if one.name == entry.range.name)):
        return
    under = [f"{one} {one.name}" for one in live.iomem if one.overlaps(entry.range) and one.depth == 0]
    yield Diagnostic(
        "CXM304",
        f"the kernel was started with {entry.argument}, and /proc/iomem does not show it",
        path=(index,),
        found=", ".join(under) or "nothing there",
        expected=f"{entry.range} {entry.range.name}",
        hint="another memmap argument or the firmware's own type wins; `cxlstate explain CXM304`",
    )


def _makes_pmem(index: int, entry: MemmapEntry) -> Diagnostic:
    return Diagnostic(
        "CXM305",
        f"{entry.argument} takes no memory away: it makes a /dev/pmem of it",
        severity=Severity.WARNING,
        path=(index, "type"),
        found="pmem",
        expected="reserved, for memory that nobody is to touch",
        hint="udev, LVM or ndctl may use the block device; keep pmem only if you want that",
    )


def _too_many(entries: tuple[MemmapEntry, ...], live: Live) -> Iterator[Diagnostic]:
    if _kaslr_off(live):
        return
    ours = [entry.region for entry in entries]
    for arguments in live.entries or (live.running,):
        others = [item for item in memmap.items(arguments) if item not in {*ours, *live.ours}]
        count = memmap.kaslr_regions((*others, *ours))
        if count > memmap.MAX_KASLR_REGIONS:
            yield Diagnostic(
                "CXM306",
                "the kernel keeps out of four memmap ranges only when it is placed at random",
                found=f"{len(ours)} ranges here and {count - len(ours)} by other arguments",
                expected=f"at most {memmap.MAX_KASLR_REGIONS}",
                hint="join neighbouring ranges, or add nokaslr to host.grub.args",
            )
            return


def _limits(live: Live) -> Iterator[Diagnostic]:
    """What a `$` without escaping leaves behind."""
    for argument in _memmaps((*live.running, *(one for entry in live.entries for one in entry))):
        if any(isinstance(item, memmap.Limit) for item in memmap.items((argument,))):
            yield Diagnostic(
                "CXM307",
                f"{argument} takes away all memory above its size",
                severity=Severity.WARNING,
                found=f"{argument}, written by hand",
                expected="a $, !, # or @ and an address behind the size",
                hint="an unescaped $ in /etc/default/grub or grub.cfg eats what follows it",
            )


def _memmaps(arguments: Iterable[Argument]) -> tuple[Argument, ...]:
    return tuple(dict.fromkeys(one for one in arguments if one.name == "memmap"))


def _kaslr_off(live: Live) -> bool:
    """`nokaslr` in every entry to be booted, or, without one, on the running command line."""
    return all(
        any(one.name == "nokaslr" for one in arguments) for arguments in (live.entries or (live.running,))
    )
