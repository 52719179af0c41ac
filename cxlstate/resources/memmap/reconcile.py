"""The kind `memmap`: it says which arguments it needs, and proves that they do what they should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from cxlstate.core.action import Action, Reboot, Risk
from cxlstate.core.address import Address
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Inputs, KernelArguments
from cxlstate.core.observation import Observation, Present
from cxlstate.core.read import Read
from cxlstate.core.reconciler import How, Need, Reconciler, Resource
from cxlstate.resources.memmap import MemmapKind, probe
from cxlstate.resources.memmap.check import diagnose
from cxlstate.resources.memmap.probe import Live
from cxlstate.resources.memmap.spec import MemmapEntry, MemmapSpec


class Memmap(MemmapKind, Reconciler[MemmapSpec, Live]):
    """Ranges of memory taken from the kernel. `grub` writes the arguments; this kind checks the rest."""

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

    def assess(self, resource: Resource[MemmapSpec], seen: Observation[Live], inputs: Inputs) -> Assessment:
        """What is not configured, and what is configured and not running.

        Only the reboot is its own: what stands in the boot entries is the work of `grub`.
        """
        entries = resource.spec.root
        if not isinstance(seen, Present):
            return Assessment(tuple(KernelArguments((entry.argument,)) for entry in entries))
        live = seen.live
        problems = tuple(diagnose(entries, live))
        changes = tuple(_differences(entries, live))
        pending = [str(change.new).removesuffix(" in force") for change in changes if change.pending]
        return Assessment(
            tuple(_exports(entries, live, problems)),
            problems,
            changes,
            (_reboot(pending),) if pending else (),
            tuple((entry.argument, _state(entry, live)) for entry in entries),
        )


reconciler = Memmap()


def _exports(
    entries: Sequence[MemmapEntry], live: Live, problems: Sequence[Diagnostic]
) -> Iterator[KernelArguments]:
    """One unit for each range, but none for a refused one that is on no command line yet."""
    refused = [one for one in problems if one.severity is Severity.ERROR]
    for index, entry in enumerate(entries):
        if live.knows(entry.region) or not _concern(refused, index):
            yield KernelArguments((entry.argument,))


def _differences(entries: Sequence[MemmapEntry], live: Live) -> Iterator[Change]:
    total = len(live.entries)
    for index, entry in enumerate(entries):
        have = live.configured(entry.region)
        if have < total or not total:
            old = f"in {have} of {total} boot entries" if have else None
            yield Change((index,), old, entry.argument)
        elif not live.runs(entry.region):
            yield Change((index,), "configured", f"{entry.argument} in force", pending=True)


def _reboot(lacks: Sequence[str]) -> Action:
    why = f"the running kernel lacks {', '.join(lacks)}"
    return Action("reboot", Reboot(), Risk.REBOOT_HOST, why=why, activation=True)


def _concern(refused: Sequence[Diagnostic], index: int) -> bool:
    """Whether one of them is about an entry, or about all of them together."""
    return any(one.path[:1] in ((), (index,)) for one in refused)


def _state(entry: MemmapEntry, live: Live) -> str:
    if live.runs(entry.region):
        return f"in force, {entry.range} {entry.range.name}"
    return f"in {live.configured(entry.region)} of {len(live.entries)} boot entries, not in force"
