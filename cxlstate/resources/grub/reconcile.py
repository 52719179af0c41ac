"""The kind `grub`: differences and actions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import ClassVar

from cxlstate.core.action import Action, Generate, Reboot, RemoveFile, Risk, WriteFile, undoing
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.effect import Effect
from cxlstate.core.exports import Inputs, KernelArguments, NextBoot
from cxlstate.core.observation import Observation, Present, Unknown
from cxlstate.core.read import Read
from cxlstate.core.reconciler import Reconciler, Resource
from cxlstate.formats import grub_cfg, grub_script, kernel_cmdline
from cxlstate.formats import grub_drop_in as drop_in
from cxlstate.resources.grub import GrubKind, probe
from cxlstate.resources.grub.check import Outlook, diagnose, lost_by_reboot, standing
from cxlstate.resources.grub.goal import Goal, goal
from cxlstate.resources.grub.probe import Live
from cxlstate.resources.grub.spec import GrubSpec
from cxlstate.resources.grub.stages import DROP_IN, GRUB_CFG, RUNNING, first_stages


class Grub(GrubKind, Reconciler[GrubSpec, Live]):
    """One drop-in and one regeneration for the kernel arguments of every resource of a machine.

    A guest has no `memmap`. `reboot-host` is said of whichever machine it is on.
    """

    model: ClassVar[type[GrubSpec]] = GrubSpec

    def implied(self) -> GrubSpec:
        """Nothing of its own: arguments of others, and a drop-in that is to go, are its work too."""
        return GrubSpec()

    def reads(self, me: Resource[GrubSpec]) -> Sequence[Read]:
        """Defaults, drop-ins, grub.cfg, the running command line, and signs of another loader."""
        return probe.READS

    def observe(self, me: Resource[GrubSpec], answers: Answers) -> Observation[Live]:
        """Always there, in some state, or unknown."""
        return probe.observe(answers)

    def assess(self, resource: Resource[GrubSpec], seen: Observation[Live], inputs: Inputs) -> Assessment:
        """Three stages: drop-in, grub.cfg, running. An argument is told once, at the first it lacks.

        A reboot is barred by an entry of grub.cfg, as it will be then, that would lose the host.
        """
        spec = resource.spec
        exports = (KernelArguments(tuple(spec.args)),) if spec.args else ()
        known = seen.partly if isinstance(seen, Unknown) else seen.live if isinstance(seen, Present) else None
        if not isinstance(known, Live):
            return Assessment(exports)
        outlook = Outlook(goal(spec, known, inputs), known)
        barred = lost_by_reboot(outlook)
        if isinstance(seen, Unknown):
            return Assessment(exports, bars_reboot=barred)
        aim = outlook.goal
        concerned = aim.wanted or aim.absent or known.ours is not None  # a host without GRUB needs none of it
        return Assessment(
            (*exports, *_next_boot(outlook)),
            tuple(diagnose(outlook)) if concerned else (),
            tuple(first_stages(outlook.differences)),
            tuple(_actions(outlook)),
            _facts(known),
            bars_reboot=barred,
        )


reconciler = Grub()


def _next_boot(outlook: Outlook) -> Iterator[NextBoot]:
    """Of entries as they are, which boot until grub.cfg is generated, and as they will be: for use alone."""
    normal = [one for one in outlook.goal.forecasts if not one.entry.recovery]
    lines = [outlook.goal.line(one) for one in normal]
    if not outlook.generates:
        lines += [one.entry.arguments for one in normal]
    if lines:
        yield NextBoot(tuple(dict.fromkeys(tuple(one.text for one in line) for line in lines)))


def _facts(live: Live) -> tuple[tuple[str, str], ...]:
    """The command lines, and our part of them."""
    held = live.drop_in
    ours = (
        "none" if live.ours is None else "edited by hand" if held is None else " ".join(held.add) or "empty"
    )
    return (
        ("running", " ".join(map(str, live.running))),
        ("boot entries", str(len(live.entries))),
        ("drop-in", ours),
    )


def _actions(outlook: Outlook) -> Iterator[Action]:
    """Write the drop-in, let grub-mkconfig write grub.cfg, reboot: those of them that are needed."""
    touched = {change.path[0] for change in outlook.differences}
    if DROP_IN in touched:
        yield _write_drop_in(outlook.goal, outlook.live)
    if GRUB_CFG in touched:
        yield _generate(outlook.goal, outlook.live)
        if RUNNING not in touched:
            yield from _last_of_it(outlook.goal, outlook.live, written=DROP_IN in touched)
    if RUNNING in touched:
        yield _reboot(outlook.differences)


def _last_of_it(aim: Goal, live: Live, *, written: bool) -> Iterator[Action]:
    """Once no boot entry has an argument that was ours, a drop-in that only remembers it is not needed."""
    text = aim.text if written else live.ours
    if text is not None and not (aim.drop_in.add or aim.drop_in.drop):
        undo = undoing(WriteFile(drop_in.PATH, _bytes(text), None))
        yield Action(f"remove {drop_in.PATH}", RemoveFile(drop_in.PATH, _digest(text)), undo=undo)


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
        told.append(f"{text} is set in {place}, which is not changed; the drop-in removes the argument")
    return "; ".join(told)


def _undo(live: Live, written: str | None) -> tuple[Action, ...]:
    digest = _digest(written) if written is not None else None
    if live.ours is not None:
        return undoing(WriteFile(drop_in.PATH, _bytes(live.ours), digest))
    return undoing(RemoveFile(drop_in.PATH, digest)) if digest else ()


def _generate(aim: Goal, live: Live) -> Action:
    """grub-mkconfig itself decides; what we foresee only tells our part from other people's."""
    words = {one.entry.line: one.words for one in (*aim.forecasts, *aim.others)}
    predicted = grub_cfg.rewritten(live.grub_cfg, words)
    edits = ", ".join((*aim.foreign, *live.pending))
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
        why=f"also activates edits by others: {edits}" if edits else "",
    )


def _reboot(changes: Sequence[Change]) -> Action:
    come = [str(change.new) for change in changes if change.pending and change.new is not None]
    gone = [str(change.old) for change in changes if change.pending and change.new is None]
    parts = (
        f"lacks {', '.join(come)}" if come else "",
        f"has {', '.join(gone)}" if gone else "",
    )
    why = f"the running kernel {' and '.join(filter(None, parts))}"
    return Action("reboot", Reboot(), Risk.REBOOT_HOST, why=why, activation=True)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _digest(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()
