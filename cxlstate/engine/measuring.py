"""Measure memory: of resources whose kind says that it can be, and of nodes. For `measure` and `show` alone.

One more exchange with each machine, after it was read, since what is measured is named by what was seen. The
memories of a machine are measured one after the other, and do not disturb each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from cxlstate.core.address import Address
from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.defect import summary
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.machine import MachineId
from cxlstate.core.measure import Measurable
from cxlstate.core.read import Command, Read, TimeLoads
from cxlstate.engine.assessing import placed
from cxlstate.engine.caching import Access, Measurement, Verdict, judge, problems
from cxlstate.engine.observe import Kinds
from cxlstate.engine.plan import MachinePlan, Plan, Reach, ResourcePlan
from cxlstate.engine.reading import Readers
from cxlstate.formats import loads
from cxlstate.machine.reader import Reader

VIRTUAL: Final = Command(("systemd-detect-virt", "--vm"))
_NONE: Final = (0, 1)
"""Its exit statuses; 1 goes with the word `none`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured of each machine: all resources that can be (None) or some of them, and nodes."""

    addresses: Mapping[MachineId, Collection[Address]] | None = None
    nodes: Mapping[MachineId, Collection[int]] = field(default_factory=dict)

    def of(self, machine: MachineId, address: Address) -> bool:
        """Whether a resource is among them."""
        return self.addresses is None or address in self.addresses.get(machine, ())


@dataclass(frozen=True, slots=True)
class _Subject:
    """Something by its name, and its memory; or why there is none to measure."""

    name: str
    memory: Measurable | str
    plan: ResourcePlan | None = None


def measured(plan: Plan, wanted: Wanted, kinds: Kinds, readers: Readers) -> Plan:
    """The plan with what was measured in it, and with the problems that this shows."""
    machines = []
    for one in plan.machines:
        subjects = tuple(_subjects(one, wanted, kinds))
        found = tuple(_measurements(plan, one, subjects, readers)) if subjects else ()
        problems_ = tuple(problem for each in found for problem in each.problems)
        machines.append(replace(one, measured=found, diagnostics=(*one.diagnostics, *problems_)))
    return replace(plan, machines=tuple(machines))


def _subjects(plan: MachinePlan, wanted: Wanted, kinds: Kinds) -> Iterator[_Subject]:
    """What an earlier spec left, and no one declares, is not asked about."""
    machine = plan.machine.id
    read = plan.reached.how is Reach.READ
    unread = "" if read else plan.reached.reason or "it was not read"
    for one in plan.resources:
        declared = one.measurable is not None or one.resource.path
        if kinds[one.address.kind].measures and declared and wanted.of(machine, one.address):
            memory = unread or one.measurable or one.reason or "nothing is known of it"
            yield _Subject(str(one.address), memory, one)
    for number in wanted.nodes.get(machine, ()):
        yield _Subject(f"node:{number}", unread or Measurable(f"node{number}"))


def _measurements(
    plan: Plan, on: MachinePlan, subjects: Collection[_Subject], readers: Readers
) -> Iterator[Measurement]:
    """One for each subject. That the machine does not answer now is told of each."""
    reads = [TimeLoads(one.memory.memory) for one in subjects if isinstance(one.memory, Measurable)]
    answers: Answers | str = "nothing was asked"
    if reads:
        answers = _asked(readers.of(on.machine), [*reads, VIRTUAL])
    for subject in subjects:
        yield _measurement(plan, on.machine.id, subject, answers)


def _asked(reader: Reader, reads: Collection[Read]) -> Answers | str:
    try:
        return reader.read(reads)
    except CxlstateError as error:
        return str(error)


def _measurement(plan: Plan, machine: MachineId, subject: _Subject, answers: Answers | str) -> Measurement:
    """What follows from the times of one memory, or why there are none."""
    of, asked = subject.plan, subject.memory
    address = of.address if of else None

    def cannot_tell(why: str) -> Measurement:
        return Measurement(machine, subject.name, Verdict(Access.CANNOT_TELL, why), address)

    if isinstance(asked, str):
        return cannot_tell(asked)
    if isinstance(answers, str):
        return cannot_tell(answers)
    try:
        times = loads.parse(answers.text(TimeLoads(asked.memory)))
    except ReadFailed as failed:
        return cannot_tell(failed.reason)
    except ValueError as odd:
        return cannot_tell(f"cannot parse the answer: {summary(odd)}")
    said = answers.raw(VIRTUAL)
    vm = said.text.strip()[:40] if said.status in _NONE else None
    verdict = judge(times, vm)
    found = problems(asked, verdict.access, times)
    if of:
        found = tuple(placed(plan.tree, one, of.at, of.resource) for one in found)
    return Measurement(machine, subject.name, verdict, address, asked, times, vm, found)
