"""The kind `mtrr`: registers that give memory a type, and no more of them than that takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from cxlstate.core.action import Action, Reboot, Risk, Span, undoing
from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Export, Inputs, MtrrRanges
from cxlstate.core.observation import Observation, Present, Unknown
from cxlstate.core.read import Asked, Question, Read
from cxlstate.core.reconciler import How, Leftover, Need, Reconciler, Resource
from cxlstate.formats.iomem import Range
from cxlstate.formats.mtrr import Block
from cxlstate.resources.mtrr import MtrrKind, goal, probe, under, verbs
from cxlstate.resources.mtrr.check import Judged, diagnose, judged, overflows, too_many, without_live
from cxlstate.resources.mtrr.goal import Goal
from cxlstate.resources.mtrr.probe import Content, Live, Registers
from cxlstate.resources.mtrr.spec import MtrrName, MtrrSpec

RANGES: Final = "ranges"

_NONE: Final[tuple[Export, ...]] = (MtrrRanges(None),)

_REBOOT: Final = Action(
    "reboot, so that kmem does not take the memory",
    Reboot(),
    Risk.REBOOT_HOST,
    why="kmem made RAM of it; the next boot keeps kmem out",
    activation=True,
)


class Mtrr(MtrrKind, Reconciler[MtrrSpec, Live]):
    """Found by content, never by number. The engine takes devices of that memory out of use meanwhile."""

    model: ClassVar[type[MtrrSpec]] = MtrrSpec
    key: ClassVar[object] = MtrrName

    def needs(self, me: Resource[MtrrSpec]) -> Sequence[Need]:
        """Where devices are; and RAM must be out of the way first.

        Taking ranges away does not ask for that.
        """
        known = (Need(AllOf("dax"), How.KNOWS),)
        if me.spec.state == "absent":
            return known
        before = (Address("memmap"), Address("module", "kmem"))
        return (
            *known,
            *(Need(Address("grub"), how) for how in (How.KNOWS, How.AFTER)),
            *(Need(address, How.REQUIRES) for address in before),
        )

    def reads(self, me: Resource[MtrrSpec]) -> Sequence[Read]:
        """Registers, memory, the kernel's log for their number, and what is listed as ours."""
        return probe.READS

    def observe(self, me: Resource[MtrrSpec], answers: Answers) -> Observation[Live]:
        """Always there, in some state, or unknown."""
        return probe.observe(answers)

    def assess(self, resource: Resource[MtrrSpec], seen: Observation[Live], inputs: Inputs) -> Assessment:
        """Ranges that are not in force, and registers of ours that nobody wants any more.

        First what goes, since that may free registers and clear the way for others.
        """
        aim = goal.goal(resource, inputs)
        problems = tuple(without_live(resource.spec, aim))
        if not isinstance(seen, Present):
            exports = _exports(resource.name, aim, aim.wanted) if not problems else _NONE
            if isinstance(seen, Unknown):
                return Assessment(exports, problems)
            changes = _changes(resource.spec, aim, (), aim.wanted, pending=False)
            return Assessment(exports, problems, changes, _actions((), aim.wanted))
        live = seen.live
        one = judged(resource, aim, live, inputs)
        problems = (*problems, *diagnose(one))
        refused = any(problem.severity is Severity.ERROR for problem in problems) or overflows(one, {})
        listed = [line.content for line in live.registers.lines if line.name == resource.name]
        lines = listed if one.gone and aim.wanted else aim.wanted
        waits = _is_ram_of_kmem(one.come, live, inputs)
        rebooted = waits and live.kmem_kept_out
        return Assessment(
            _NONE if refused else _exports(resource.name, aim, lines),
            problems,
            _changes(resource.spec, aim, one.gone, one.come, pending=rebooted),
            ((_REBOOT,) if rebooted else ()) if waits else _actions(one.gone, one.come),
            _facts(resource, live),
            shared=one,
        )

    def together(self, assessed: Mapping[Address, Assessment], *, whole: bool = True) -> Sequence[Diagnostic]:
        """Registers that all need, counted before any of them is written."""
        wanted = {address.name: _wanted(found.exports) for address, found in assessed.items()}
        return [
            replace(problem, address=address)
            for address, found in assessed.items()
            if isinstance(found.shared, Judged)
            for problem in too_many(found.shared, wanted, whole=whole)
        ]

    def leftover_reads(self) -> Sequence[Question]:
        """What is listed as ours and, where anything may be, the registers."""
        reads = (probe.SCRIPT, probe.MTRR, probe.BEFORE)
        return tuple(Asked(read, only_if=probe.LISTED) for read in reads)

    def leftovers(self, answers: Answers, declared: frozenset[str]) -> Sequence[Leftover]:
        """Registers that are listed for a name that is not declared any more.

        Those that are gone already are no leftover: their lines go when the table is written again.
        """
        if not answers.exists(probe.LISTED):
            return ()
        names = {line.name for line in probe.listed(answers)} - declared
        if not names or answers.text_or_none(probe.MTRR) is None:
            return ()
        registers = probe.read_registers(answers)
        found = {name: registers.dropped(name, frozenset()) for name in sorted(names)}
        return tuple(_leftover(name, gone) for name, gone in found.items() if gone)


reconciler = Mtrr()


def _exports(name: str, aim: Goal, lines: Iterable[Content]) -> tuple[Export, ...]:
    """What registers are wanted for, and what is to be so again after a boot.

    While a register of ours has yet to go, `lines` are what the table says already: the table is how a
    register is known to be ours.
    """
    wanted = tuple((one.block.base, one.block.size, one.type) for one in aim.wanted)
    ranges = MtrrRanges(None if aim.waits_for else wanted)
    return (ranges, *(verbs.at_boot(name, one.block, one.type) for one in lines))


def _wanted(exports: Iterable[Export]) -> tuple[Content, ...] | None:
    ranges = next((one.wanted for one in exports if isinstance(one, MtrrRanges)), None)
    if ranges is None:
        return None
    return tuple(Content(Block(base, size), kind) for base, size, kind in ranges)


def _changes(
    spec: MtrrSpec, aim: Goal, gone: Sequence[Content], come: Sequence[Content], *, pending: bool
) -> tuple[Change, ...]:
    if aim.waits_for and spec.state == "present":
        return (Change((RANGES,), None, f"known after {aim.waits_for}"),)
    added = (Change((RANGES, aim.wanted.index(one)), None, str(one), pending=pending) for one in come)
    return (*(Change((RANGES,), str(one), None) for one in gone), *added)


def _actions(gone: Sequence[Content], come: Sequence[Content]) -> tuple[Action, ...]:
    spans = _spans((*gone, *come))
    return (*(_remove(one, spans) for one in gone), *(_add(one, spans) for one in come))


def _facts(resource: Resource[MtrrSpec], live: Live) -> tuple[tuple[str, str], ...]:
    """Registers of this name, or within its window, and how many there are at all."""
    if live.missing:
        return (("registers", live.missing),)
    contents = sorted(live.registers.contents)
    found = [str(one) for one in contents if _concerns(resource, one, live.registers)]
    used = len(live.registers.used)
    total = f"{used} of {live.count} used" if live.count else f"{used} used"
    return ((RANGES, ", ".join(found) or "none"), ("registers", total))


def _is_ram_of_kmem(come: Sequence[Content], live: Live, inputs: Inputs) -> bool:
    """Whether kmem has RAM under them that only a boot takes from it, and `module.kmem` does not see to that.

    One that is built in leaves it offline then. An argument that keeps kmem out is put into force by `grub`,
    what stands in modprobe.d by any boot.
    """
    if live.kmem_built_in:
        gone = not live.added_offline or under.never_set_up(inputs)
    else:
        gone = not under.kmem_is_seen_to(inputs)
    blocks = [one.block for one in come]
    return gone and any(one.name == under.KMEM and _touches(one, blocks) for one in live.iomem)


def _touches(one: Range, blocks: Iterable[Block]) -> bool:
    return any(block.overlaps(one.start, one.end) for block in blocks)


def _leftover(name: str, gone: tuple[Content, ...]) -> Leftover:
    spans = _spans(gone)
    changes = tuple(Change((RANGES,), str(one), None) for one in gone)
    actions = tuple(_remove(one, spans) for one in gone)
    return Leftover(name, changes, actions, tuple(_line(one) for one in gone))


def _line(one: Content) -> tuple[str, ...]:
    kind, _, *content = verbs.at_boot("", one.block, one.type).words
    return (kind, *content)


def _add(one: Content, spans: tuple[Span, ...]) -> Action:
    return Action(
        f"add MTRR {one}",
        verbs.add(one.block, one.type),
        undo=undoing(verbs.remove(one.block, one.type)),
        suspends=spans,
    )


def _remove(one: Content, spans: tuple[Span, ...]) -> Action:
    return Action(
        f"remove MTRR {one}",
        verbs.remove(one.block, one.type),
        undo=undoing(verbs.add(one.block, one.type)),
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
