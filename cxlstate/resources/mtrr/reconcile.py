"""The kind `mtrr`: registers that give memory a type, and no more of them than that takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from cxlstate.core.action import Action, Reboot, Risk, Span
from cxlstate.core.address import Address, AllOf
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Export, Given, MtrrRanges
from cxlstate.core.machine import HOST_ONLY
from cxlstate.core.observation import Observation
from cxlstate.core.read import Answers, Read
from cxlstate.core.reconciler import How, Leftover, Need, Place, Reconciler, Resource, Shape
from cxlstate.formats import restore
from cxlstate.formats.iomem import Range
from cxlstate.formats.mtrr import Block
from cxlstate.resources.mtrr import goal, probe, under
from cxlstate.resources.mtrr.check import diagnose
from cxlstate.resources.mtrr.probe import Content, Live, Registers
from cxlstate.resources.mtrr.spec import MtrrName, MtrrSpec

RANGES: Final = "ranges"

_REBOOT: Final = Action(
    "reboot, so that kmem leaves the memory offline",
    Reboot(),
    Risk.REBOOT_HOST,
    why="kmem is built in and made RAM of it; the next boot leaves it offline",
    activation=True,
)


class Mtrr(Reconciler[MtrrSpec, Live]):
    """Found by content, never by number. The engine takes devices of that memory out of use meanwhile."""

    kind: ClassVar[str] = "mtrr"
    reboots: ClassVar[bool] = True
    place: ClassVar[Place] = Place("mtrr", Shape.MAP, HOST_ONLY)
    model: ClassVar[type[MtrrSpec]] = MtrrSpec
    key: ClassVar[object] = MtrrName

    def needs(self, me: Resource[MtrrSpec]) -> Sequence[Need]:
        """Where devices are, and what others need registers for; and RAM must be out of the way first.

        Taking ranges away does not ask for that.
        """
        known = (Need(AllOf("dax"), How.KNOWS), Need(AllOf(self.kind), How.COMPARES))
        if me.spec.state == "absent":
            return known
        before = (Address("memmap"), Address("module", "kmem"))
        return (
            *known,
            Need(Address("grub"), How.AFTER),
            *(Need(address, How.REQUIRES) for address in before),
        )

    def reads(self, me: Resource[MtrrSpec]) -> Sequence[Read]:
        """Registers, memory, the kernel's log for their number, and what is listed as ours."""
        return probe.READS

    def observe(self, me: Resource[MtrrSpec], answers: Answers) -> Observation[Live]:
        """Always there, in some state, or unknown."""
        return probe.observe(answers)

    def exports(self, me: Resource[MtrrSpec], live: Live | None, given: Given) -> Sequence[Export]:
        """What registers are wanted for, and what is to be so again after a boot.

        While a register of ours has yet to go, it is what the table says already: the table is how a
        register is known to be ours.
        """
        if any(one.severity is Severity.ERROR for one in self.check(me, live, given)):
            return (MtrrRanges(None),)
        aim = goal.goal(me, given)
        wanted = tuple((one.block.base, one.block.size, one.type) for one in aim.wanted)
        ranges = MtrrRanges(None if aim.waits_for else wanted)
        lines: Iterable[Content] = aim.wanted
        if live and aim.wanted and goal.surplus(me, aim, live):
            lines = [line.content for line in live.registers.lines if line.name == me.name]
        return (ranges, *(restore.mtrr_at_boot(me.name, one.block, one.type) for one in lines))

    def describe(self, me: Resource[MtrrSpec], live: Live | None) -> Sequence[tuple[str, str]]:
        """Registers of this name, or within its window, and how many there are at all."""
        if live is None:
            return ()
        if live.missing:
            return (("registers", live.missing),)
        found = [str(one) for one in sorted(live.registers.contents) if _concerns(me, one, live.registers)]
        used = len(live.registers.used)
        total = f"{used} of {live.count} used" if live.count else f"{used} used"
        return ((RANGES, ", ".join(found) or "none"), ("registers", total))

    def check(self, me: Resource[MtrrSpec], live: Live | None, given: Given) -> Sequence[Diagnostic]:
        """What the kernel would refuse or do otherwise, and what would suffer."""
        return tuple(diagnose(me, live, given)) if live else ()

    def diff(self, me: Resource[MtrrSpec], live: Live | None, given: Given) -> Sequence[Change]:
        """Ranges that are not in force, and registers of ours that nobody wants any more."""
        aim = goal.goal(me, given)
        if aim.waits_for and me.spec.state == "present":
            return (Change((RANGES,), None, f"known after {aim.waits_for}"),)
        gone, come = _differs(me, live, given)
        waits = _waits_for_boot(come, live)
        added = [Change((RANGES, aim.wanted.index(one)), None, str(one), pending=waits) for one in come]
        return (*(Change((RANGES,), str(one), None) for one in gone), *added)

    def actions(
        self, me: Resource[MtrrSpec], live: Live | None, changes: Sequence[Change], given: Given
    ) -> Sequence[Action]:
        """First what goes, since that may free registers and clear the way for others."""
        gone, come = _differs(me, live, given)
        spans = _spans((*gone, *come))
        if _waits_for_boot(come, live):
            return (_REBOOT,)
        return (*(_remove(one, spans) for one in gone), *(_add(one, spans) for one in come))

    def leftover_reads(self) -> Sequence[Read]:
        """Registers, and what is listed as ours."""
        return (probe.MTRR, probe.SCRIPT, probe.BEFORE)

    def leftovers(self, answers: Answers, declared: frozenset[str]) -> Sequence[Leftover]:
        """Registers that are listed for a name that is not declared any more.

        Those that are gone already are no leftover: their lines go when the table is written again.
        """
        names = {line.name for line in probe.listed(answers)} - declared
        if not names or answers.text_or_none(probe.MTRR) is None:
            return ()
        registers = probe.read_registers(answers)
        found = {name: registers.dropped(name, frozenset()) for name in sorted(names)}
        return tuple(_leftover(name, gone) for name, gone in found.items() if gone)


def _differs(
    me: Resource[MtrrSpec], live: Live | None, given: Given
) -> tuple[tuple[Content, ...], tuple[Content, ...]]:
    """What goes and what comes. Planned as if it were absent, there is no register at all."""
    aim = goal.goal(me, given)
    if live is None:
        return (), aim.wanted
    gone = goal.surplus(me, aim, live)
    return gone, goal.missing(aim, live.registers, gone)


def _waits_for_boot(come: Sequence[Content], live: Live | None) -> bool:
    """Whether a kmem that is built in has RAM under them that it leaves offline from the next boot on."""
    if live is None or not live.kmem_built_in or live.added_offline:
        return False
    blocks = [one.block for one in come]
    return any(one.name == under.KMEM and _touches(one, blocks) for one in live.iomem)


def _touches(one: Range, blocks: Iterable[Block]) -> bool:
    return any(block.overlaps(one.start, one.end) for block in blocks)


def _leftover(name: str, gone: tuple[Content, ...]) -> Leftover:
    spans = _spans(gone)
    changes = tuple(Change((RANGES,), str(one), None) for one in gone)
    actions = tuple(_remove(one, spans) for one in gone)
    return Leftover(name, changes, actions, tuple(_line(one) for one in gone))


def _line(one: Content) -> tuple[str, ...]:
    kind, _, *content = restore.mtrr_at_boot("", one.block, one.type).words
    return (kind, *content)


def _add(one: Content, spans: tuple[Span, ...]) -> Action:
    return Action(
        f"add MTRR {one}",
        restore.mtrr_add(one.block, one.type),
        undo=(restore.mtrr_remove(one.block, one.type),),
        suspends=spans,
    )


def _remove(one: Content, spans: tuple[Span, ...]) -> Action:
    return Action(
        f"remove MTRR {one}",
        restore.mtrr_remove(one.block, one.type),
        undo=(restore.mtrr_add(one.block, one.type),),
        suspends=spans,
    )


def _spans(contents: Sequence[Content]) -> tuple[Span, ...]:
    """All memory that is touched. The same for every action, so that one suspension does for all."""
    return tuple(Span(one.start, one.end) for one in under.joined({content.block for content in contents}))


def _concerns(me: Resource[MtrrSpec], content: Content, registers: Registers) -> bool:
    if any(line == probe.Line(me.name, content) for line in registers.lines):
        return True
    reach = me.spec.within
    within = reach is not None and reach.start <= content.block.base and content.block.end <= reach.end
    written = any(one.block == content.block for one in me.spec.ranges)
    return content.type == me.spec.type and (within or written)
