"""Numbers that were hardly meant as they are written: copied from a tool that has another unit or base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cxlstate.core.address import Address
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.path import Path
from cxlstate.core.reconciler import Resource
from cxlstate.core.units import format_address, format_size, read_as_hex
from cxlstate.resources.dax.spec import DaxSpec
from cxlstate.resources.memmap.spec import MemmapSpec
from cxlstate.resources.mtrr.spec import MtrrSpec
from cxlstate.resources.vm.spec import VmSpec
from cxlstate.rules.words import Resources, Rule, TreeRule, of

_SMALLEST_GUEST: Final = 64 << 20
"""Less than this no current Linux or Windows guest starts with; as KiB it is 64 GiB."""


_SMALLEST_HUGE_PAGE: Final = 2 << 20
"""PMD_SIZE of x86_64 (Documentation/admin-guide/mm/hugetlbpage.rst)."""


def addresses_are_not_hex_without_0x(resources: Resources) -> Iterator[Diagnostic]:
    """CXS321: a decimal address that is aligned only if it is read as hex."""
    for address, path, value in _addresses(resources):
        if (meant := read_as_hex(value)) is not None:
            yield Diagnostic(
                "CXS321",
                f"{value} looks like hex without 0x",
                Severity.WARNING,
                path=path,
                address=address,
                found=f"{value} bytes = {value:#x}",
                expected=f"{meant:#x} = {format_address(meant)}, if the digits are hex",
                hint=f"write {meant:#x}, or {value:#x} if bytes are meant",
            )


def sizes_are_not_in_kib(resources: Resources) -> Iterator[Diagnostic]:
    """CXS322: a size of a VM in KiB, as dumpxml and /proc/meminfo have it, where bytes are meant."""
    for me in of(resources, VmSpec):
        cells = (me.spec.cpu.numa or ()) if me.spec.cpu else ()
        sizes: list[tuple[Path, int | None]] = [(("memory",), me.spec.memory)]
        sizes += [(("cpu", "numa", index, "memory"), cell.memory) for index, cell in enumerate(cells)]
        for path, size in sizes:
            if size is not None and size < _SMALLEST_GUEST:
                least = f"at least {format_size(_SMALLEST_GUEST)}"
                yield _in_kib(
                    me, path, size, f"{format_size(size)} of memory is too little for a guest", least
                )
        page = me.spec.hugepages
        if page is not None and page is not True and page < _SMALLEST_HUGE_PAGE:
            message = f"no huge pages are of {format_size(page)}"
            yield _in_kib(me, ("hugepages",), page, message, "2MiB or 1GiB on x86_64")


def _in_kib(me: Resource[VmSpec], path: Path, size: int, message: str, expected: str) -> Diagnostic:
    return Diagnostic(
        "CXS322",
        message,
        Severity.WARNING,
        path=(*me.path, *path),
        address=me.address,
        found=f"{size} bytes = {format_size(size)}",
        expected=expected,
        hint=f"write {format_size(size << 10)} if {size} is in KiB, as `virsh dumpxml` has it",
    )


def _addresses(resources: Resources) -> Iterator[tuple[Address, Path, int]]:
    """Every address of memory that is written in a spec."""
    for memmap in of(resources, MemmapSpec):
        for index, entry in enumerate(memmap.spec.root):
            yield memmap.address, (*memmap.path, index, "start"), entry.start
    for mtrr in of(resources, MtrrSpec):
        for index, one in enumerate(mtrr.spec.ranges):
            yield mtrr.address, (*mtrr.path, "ranges", index, "start"), one.start
        if mtrr.spec.within:
            yield mtrr.address, (*mtrr.path, "within", "start"), mtrr.spec.within.start
            yield mtrr.address, (*mtrr.path, "within", "end"), mtrr.spec.within.end
    for dax in of(resources, DaxSpec):
        if dax.spec.range:
            yield dax.address, (*dax.path, "range", "start"), dax.spec.range.start


RULES: Final[tuple[Rule, ...]] = (
    addresses_are_not_hex_without_0x,
    sizes_are_not_in_kib,
)
BETWEEN: Final[tuple[TreeRule, ...]] = ()
