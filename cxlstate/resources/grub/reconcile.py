"""The kind `grub`: differences and actions."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from cxlstate.core.action import Action, Effect, Generate, Reboot, RemoveFile, Risk, WriteFile
from cxlstate.core.address import Address, AllOf
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import Export, Given, KernelArguments
from cxlstate.core.observation import Observation
from cxlstate.core.read import Answers, Read
from cxlstate.core.reconciler import How, Need, Place, Reconciler, Resource, Section, Shape
from cxlstate.formats import grub_cfg, grub_script, kernel_cmdline
from cxlstate.formats import grub_drop_in as drop_in
from cxlstate.formats.grub_drop_in import DropIn
from cxlstate.resources.grub import probe
from cxlstate.resources.grub.check import diagnose, standing
from cxlstate.resources.grub.goal import Goal, arguments, goal, surplus, surplus_running, visible
from cxlstate.resources.grub.probe import Live
from cxlstate.resources.grub.spec import GrubSpec

DROP_IN: Final = "drop-in"
GRUB_CFG: Final = "grub.cfg"
RUNNING: Final = "running"


class Grub(Reconciler[GrubSpec, Live]):
    """One drop-in and one regeneration for the kernel arguments of every resource of a host."""

    kind: ClassVar[str] = "grub"
    place: ClassVar[Place] = Place(Section.HOST, "grub", Shape.ONE)
    model: ClassVar[type[GrubSpec]] = GrubSpec

    def implied(self) -> GrubSpec:
        """Nothing of its own: arguments of others, and a drop-in that is to go, are its work too."""
        return GrubSpec()

    def needs(self, me: Resource[GrubSpec]) -> Sequence[Need]:
        """Those who export kernel arguments."""
        return (Need(Address("memmap"), How.KNOWS), Need(AllOf("module"), How.KNOWS))

    def reads(self, me: Resource[GrubSpec]) -> Sequence[Read]:
        """Defaults, drop-ins, grub.cfg, the running command line, and signs of another loader."""
        return probe.READS

    def observe(self, me: Resource[GrubSpec], answers: Answers) -> Observation[Live]:
        """Always there, in some state, or unknown."""
        return probe.observe(answers)

    def exports(self, me: Resource[GrubSpec], live: Live | None, given: Given) -> Sequence[Export]:
        """What the user asked for here, for those whom an argument concerns."""
        return (KernelArguments(tuple(me.spec.args)),) if me.spec.args else ()

    def describe(self, me: Resource[GrubSpec], live: Live | None) -> Sequence[tuple[str, str]]:
        """The command lines, and our part of them."""
        if live is None:
            return ()
        held = live.drop_in
        ours = (
            "none"
            if live.ours is None
            else "edited by hand"
            if held is None
            else " ".join(held.add) or "empty"
        )
        return (
            ("running", " ".join(map(str, live.running))),
            ("boot entries", str(len(live.entries))),
            ("drop-in", ours),
        )

    def check(self, me: Resource[GrubSpec], live: Live | None, given: Given) -> Sequence[Diagnostic]:
        """Only where there is anything to do for us: a host without GRUB needs none of it."""
        if live is None:
            return ()
        aim = goal(me.spec, live, given)
        concerned = aim.wanted or aim.absent or live.ours is not None
        return tuple(diagnose(aim, live)) if concerned else ()

    def diff(self, me: Resource[GrubSpec], live: Live | None, given: Given) -> Sequence[Change]:
        """Three stages: drop-in, grub.cfg, running. An argument is told once, at the first it lacks."""
        if live is None:
            return ()
        return tuple(_first_stages(_stages(goal(me.spec, live, given), live)))

    def actions(
        self, me: Resource[GrubSpec], live: Live | None, changes: Sequence[Change], given: Given
    ) -> Sequence[Action]:
        """Write the drop-in, let grub-mkconfig write grub.cfg, reboot: those of them that are needed."""
        if live is None:
            return ()
        aim = goal(me.spec, live, given)
        stages = _stages(aim, live)
        touched = {change.path[0] for change in stages}
        planned: list[Action] = []
        if DROP_IN in touched:
            planned.append(_write_drop_in(aim, live))
        if GRUB_CFG in touched:
            planned.append(_generate(aim, live))
        if RUNNING in touched:
            planned.append(_reboot(stages))
        return planned


def _stages(aim: Goal, live: Live) -> tuple[Change, ...]:
    return (*_drop_in_changes(aim, live), *_grub_cfg_changes(aim), *_running_changes(aim, live))


def _first_stages(changes: Sequence[Change]) -> Iterator[Change]:
    """What the drop-in lacks, grub.cfg and the running kernel lack because of it: not told again."""
    told: dict[str | int, set[str]] = {}
    for change in changes:
        stage, *subject = change.path
        words = set(str(subject[0] if subject else change.new or change.old).split())
        before = set().union(*(known for at, known in told.items() if at != stage))
        if not words <= before:
            told.setdefault(stage, set()).update(words)
            yield change


def _drop_in_changes(aim: Goal, live: Live) -> Iterator[Change]:
    now, then = live.drop_in, aim.drop_in
    if live.ours is not None and now is None:
        yield Change((DROP_IN,), "edited by hand", "as cxlstate writes it" if aim.text else None)
        return
    now = now or DropIn()
    yield from _list_changes(now.add, then.add, "")
    yield from _list_changes(now.drop, then.drop, "without ")
    if live.ours is not None and aim.text is None and (now.add, now.drop) == ((), ()):
        yield Change((DROP_IN,), "there, with nothing in it", None)


def _list_changes(now: tuple[str, ...], then: tuple[str, ...], word: str) -> Iterator[Change]:
    gone, come = Counter(now) - Counter(then), Counter(then) - Counter(now)
    for text in gone.elements():
        yield Change((DROP_IN,), word + text, None)
    for text in come.elements():
        yield Change((DROP_IN,), None, word + text)
    if now != then and not gone and not come:
        yield Change((DROP_IN,), word + " ".join(now), word + " ".join(then))


def _grub_cfg_changes(aim: Goal) -> Iterator[Change]:
    entries = [one.entry for one in aim.forecasts]
    total = len(entries)
    for unit in aim.wanted:
        have = sum(kernel_cmdline.holds(entry.arguments, unit.arguments) for entry in entries)
        if have < total:
            yield Change((GRUB_CFG, str(unit)), _of(have, total), _of(total, total))
    for pattern in aim.absent:
        have = sum(visible(pattern, entry.arguments, recovery=entry.recovery) for entry in entries)
        allowed = sum(visible(pattern, arguments(one), recovery=one.entry.recovery) for one in aim.forecasts)
        if have > allowed:
            yield Change((GRUB_CFG, str(pattern)), _of(have, total), _of(allowed, total))
    for text in aim.drop_in.retired:
        if left := sum(surplus(text, one) for one in aim.forecasts):
            yield Change((GRUB_CFG, text), f"left over {_of(left, total)}", None)
    for text in aim.drop_in.released:
        pattern = kernel_cmdline.read(text)
        have = sum(visible(pattern, entry.arguments) for entry in entries)
        back = sum(visible(pattern, arguments(one)) for one in aim.forecasts)
        yield Change((GRUB_CFG, text), _of(have, total), _of(back, total))


def _of(count: int, total: int) -> str:
    return f"in {count} of {total} boot entries"


def _running_changes(aim: Goal, live: Live) -> Iterator[Change]:
    for unit in aim.wanted:
        if not kernel_cmdline.holds(live.running, unit.arguments):
            yield Change((RUNNING,), None, str(unit), pending=True)
    recovery = any(argument.text in ("single", "recovery") for argument in live.running)
    for pattern in aim.absent:
        if visible(pattern, live.running, recovery=recovery):
            yield Change((RUNNING,), str(pattern), None, pending=True)
    for text in aim.drop_in.retired:
        if surplus_running(text, live, aim.forecasts):
            yield Change((RUNNING,), text, None, pending=True)


def _write_drop_in(aim: Goal, live: Live) -> Action:
    digest = _digest(live.ours) if live.ours is not None else None
    if aim.text is None:
        effect: Effect = RemoveFile(drop_in.PATH, digest or "")
        return Action(f"remove {drop_in.PATH}", effect, undo=_undo(live, None))
    effect = WriteFile(drop_in.PATH, aim.text.encode(), digest)
    return Action(f"write {drop_in.PATH}", effect, why=_why_filtered(aim, live), undo=_undo(live, aim.text))


def _why_filtered(aim: Goal, live: Live) -> str:
    told = []
    for text in aim.drop_in.drop:
        place = standing(kernel_cmdline.read(text), live)
        told.append(f"{text} stands in {place}, which stays as it is; the drop-in filters it out")
    return "; ".join(told)


def _undo(live: Live, written: str | None) -> tuple[Effect, ...]:
    digest = _digest(written) if written is not None else None
    if live.ours is not None:
        return (WriteFile(drop_in.PATH, _bytes(live.ours), digest),)
    return (RemoveFile(drop_in.PATH, digest),) if digest else ()


def _generate(aim: Goal, live: Live) -> Action:
    """grub-mkconfig itself decides; what we foresee only tells our part from other people's."""
    predicted = grub_cfg.rewritten(live.grub_cfg, {one.entry.line: one.words for one in aim.forecasts})
    edits = ", ".join(aim.foreign)
    return Action(
        f"generate {probe.GRUB_CFG.path}",
        Generate(
            probe.GRUB_CFG.path,
            ("grub-mkconfig", "-o"),
            _bytes(predicted),
            tuple(dict.fromkeys(map(grub_script.quote, aim.drop_in.add))),
            _digest(live.grub_cfg),
        ),
        risk=Risk.FOREIGN_BOOT if edits else Risk.LIVE,
        why=f"edits of others that are not in force yet would be, too: {edits}" if edits else "",
    )


def _reboot(changes: Sequence[Change]) -> Action:
    come = [str(change.new) for change in changes if change.pending and change.new is not None]
    gone = [str(change.old) for change in changes if change.pending and change.new is None]
    parts = (
        f"the running kernel was started without {', '.join(come)}" if come else "",
        f"it was started with {', '.join(gone)}" if gone else "",
    )
    return Action("reboot", Reboot(), Risk.REBOOT_HOST, why="; ".join(filter(None, parts)), activation=True)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _digest(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()
