"""The kind `memmap`: it says which arguments it needs, and proves that they do what they should."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cxlstate.core.action import Action, Reboot, Risk
from cxlstate.core.address import Address
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Export, Given, KernelArguments
from cxlstate.core.machine import HOST_ONLY
from cxlstate.core.observation import Observation
from cxlstate.core.read import Answers, Read
from cxlstate.core.reconciler import How, Need, Place, Reconciler, Resource, Shape
from cxlstate.resources.memmap import probe
from cxlstate.resources.memmap.check import diagnose
from cxlstate.resources.memmap.probe import Live
from cxlstate.resources.memmap.spec import MemmapEntry, MemmapSpec


class Memmap(Reconciler[MemmapSpec, Live]):
    """Ranges of memory taken from the kernel. `grub` writes the arguments; this kind checks the rest."""

    kind: ClassVar[str] = "memmap"
    reboots: ClassVar[bool] = True
    place: ClassVar[Place] = Place("memmap", Shape.ONE, HOST_ONLY)
    model: ClassVar[type[MemmapSpec]] = MemmapSpec

    def needs(self, me: Resource[MemmapSpec]) -> Sequence[Need]:
        """`grub` puts the arguments on the command line."""
        return (Need(Address("grub"), How.AFTER),)

    def reads(self, me: Resource[MemmapSpec]) -> Sequence[Read]:
        """The command lines, and memory as the firmware and as the kernel have it."""
        return probe.READS

    def observe(self, me: Resource[MemmapSpec], answers: Answers) -> Observation[Live]:
        """Always there, in some state, or unknown."""
        return probe.observe(answers)

    def exports(self, me: Resource[MemmapSpec], live: Live | None, given: Given) -> Sequence[Export]:
        """One unit for each range, but none for a refused one that is on no command line yet."""
        refused = [one for one in self.check(me, live, given) if one.severity is Severity.ERROR]
        return tuple(
            KernelArguments((entry.argument,))
            for index, entry in enumerate(me.spec.root)
            if live is None or live.knows(entry.region) or not _concern(refused, index)
        )

    def describe(self, me: Resource[MemmapSpec], live: Live | None) -> Sequence[tuple[str, str]]:
        """Each range, and how far it has got."""
        if live is None:
            return ()
        return [(entry.argument, _state(entry, live)) for entry in me.spec.root]

    def check(self, me: Resource[MemmapSpec], live: Live | None, given: Given) -> Sequence[Diagnostic]:
        """Ranges that cannot be taken, and ranges that were asked for and are not in force."""
        return tuple(diagnose(me.spec.root, live)) if live else ()

    def diff(self, me: Resource[MemmapSpec], live: Live | None, given: Given) -> Sequence[Change]:
        """What is not configured, and what is configured and not running."""
        if live is None:
            return ()
        changes = []
        total = len(live.entries)
        for index, entry in enumerate(me.spec.root):
            have = live.configured(entry.region)
            if have < total or not total:
                old = f"in {have} of {total} boot entries" if have else None
                changes.append(Change((index,), old, entry.argument))
            elif not live.runs(entry.region):
                changes.append(Change((index,), "configured", f"{entry.argument} in force", pending=True))
        return changes

    def actions(
        self, me: Resource[MemmapSpec], live: Live | None, changes: Sequence[Change], given: Given
    ) -> Sequence[Action]:
        """Only the reboot: what stands in the boot entries is the work of `grub`."""
        if not any(change.pending for change in changes):
            return ()
        texts = ", ".join(str(change.new).removesuffix(" in force") for change in changes if change.pending)
        why = f"the running kernel lacks {texts}"
        return (Action("reboot", Reboot(), Risk.REBOOT_HOST, why=why, activation=True),)


def _concern(refused: Sequence[Diagnostic], index: int) -> bool:
    """Whether one of them is about an entry, or about all of them together."""
    return any(one.path[:1] in ((), (index,)) for one in refused)


def _state(entry: MemmapEntry, live: Live) -> str:
    if live.runs(entry.region):
        return f"in force, {entry.range} {entry.range.name}"
    return f"in {live.configured(entry.region)} of {len(live.entries)} boot entries, not in force"
