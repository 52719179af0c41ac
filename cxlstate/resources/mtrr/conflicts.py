"""The kernel's rules about registers that share memory: Linux 6.12 `mtrr_add_page`, `get_effective_type`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.formats.mtrr import UNCACHABLE, WRITE_BACK, Register, effective
from cxlstate.resources.mtrr.probe import Content, Registers, content_of


def conflicts(one: Content, left: Iterable[Register], registers: Registers) -> Iterator[Diagnostic]:
    """What the kernel would refuse, accept without effect, or put in the place of another."""
    near = [other for other in left if other.block.overlaps(one.block.base, one.block.end)]
    for other in near:
        if not _compatible(one.type, other.type):
            yield Diagnostic(
                "CXT306",
                f"the kernel would refuse {one}",
                found=f"reg{other.index:02}: {content_of(other)}",
                expected="no register of another type over the same memory",
                hint=f"it would say: {_refusal(one, other)}",
            )
            return
    after = effective(one.block.base, one.block.end, (*near, Register(-1, one.block, one.type)))
    if after != one.type:
        stronger = next(other for other in near if other.type != one.type)
        yield Diagnostic(
            "CXT313",
            f"{one} would have no effect",
            found=f"reg{stronger.index:02}: {content_of(stronger)}",
            expected="no register of a type that wins over it",
            hint=f"where ranges overlap, {after or UNCACHABLE} wins",
        )
    same = [other for other in near if other.type == one.type and other.block != one.block]
    enclosed = [other for other in same if one.block.holds(other.block)]
    if len(enclosed) == 1 and not registers.ours(content_of(enclosed[0])):
        yield Diagnostic(
            "CXT305",
            f"{one} would replace a register that is not ours",
            found=f"reg{enclosed[0].index:02}: {content_of(enclosed[0])}",
            expected="ranges beside the register that is there",
            hint="the kernel puts a larger range of the same type in the place of one that it holds",
        )


def _compatible(one: str, other: str) -> bool:
    """`types_compatible()`."""
    return one == other or UNCACHABLE in (one, other) or {one, other} == {WRITE_BACK, "write-through"}


def _refusal(one: Content, other: Register) -> str:
    """In the kernel's words: numbers of pages in hex, and `000` behind them."""
    new = f"{one.block.base >> 12:x}000", f"{one.block.size >> 12:x}000"
    if other.block.holds(one.block):
        return f"mtrr: type mismatch for {new[0]},{new[1]} old: {other.type} new: {one.type}"
    old = f"0x{other.block.base >> 12:x}000,0x{other.block.size >> 12:x}000"
    return f"mtrr: 0x{new[0]},0x{new[1]} overlaps existing {old}"
