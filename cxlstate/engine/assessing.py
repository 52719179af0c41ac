"""Ask every kind once what follows from what was seen: in the order in which they tell each other.

An exception of a kind is an error of the one resource that it was raised for (CXE900): nothing is planned
on it, nor on what is told its exports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.assessment import Assessment, Collective, Hold
from cxlstate.core.connect import Through
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Inputs
from cxlstate.core.machine import MachineId
from cxlstate.core.observation import Absent, Observation, Unknown
from cxlstate.core.reconciler import How, Leftover, Need, Resource
from cxlstate.engine.graph import Graph
from cxlstate.engine.observe import Kinds, resources_of
from cxlstate.engine.plan import Reach, Reached
from cxlstate.engine.seen import Seen
from cxlstate.engine.suspend import Holder
from cxlstate.spec.names import Only
from cxlstate.spec.tree import Tree

TOLD = (How.REQUIRES, How.KNOWS)
IN_FORCE = (How.REQUIRES, How.AWAITS)
BEFORE = (*IN_FORCE, How.AFTER)


@dataclass
class Assessed:
    """All resources of a tree, and what their kinds made of them.

    `defects` is what kinds raised; `lost` are resources whose exports are not known because of it.
    `run_only` is what is done with a target; all with None.
    """

    tree: Tree
    kinds: Kinds
    seen: Seen
    resources: dict[ScopedAddress, Resource[Any]]
    observations: dict[ScopedAddress, Observation[Any]]
    implied: frozenset[ScopedAddress]
    graph: Graph
    defects: dict[ScopedAddress, Exception]
    run_only: frozenset[ScopedAddress] | None = None
    made: dict[ScopedAddress, Assessment] = field(default_factory=dict)
    problems: dict[ScopedAddress, tuple[Diagnostic, ...]] = field(default_factory=dict)
    lost: set[ScopedAddress] = field(default_factory=set)

    @cached_property
    def order(self) -> list[ScopedAddress]:
        """Who is done before whom."""
        return self.graph.order(*BEFORE)

    @cached_property
    def holders(self) -> list[Holder]:
        """Who may have to be taken out of use while something else is done, in the order of doing."""
        found = []
        for at in self.order:
            hold = self.made[at].hold if at in self.made else None
            if at in self.lost and self.kinds[at.address.kind].holds:
                hold = Hold(unknown=True)  # it may hold any memory
            if hold:
                found.append(Holder(at, hold))
        return found

    def inputs(self, at: ScopedAddress) -> Inputs:
        """What a resource is told."""
        told = dict.fromkeys(self.graph.targets(at, *TOLD))
        return Inputs({t.address: self.made[t].exports if t in self.made else () for t in told})

    def lost_providers(self, at: ScopedAddress) -> tuple[ScopedAddress, ...]:
        """Those by whom it should be told something, and who cannot tell."""
        return tuple(t for t in dict.fromkeys(self.graph.targets(at, *TOLD)) if t in self.lost)

    def placed(self, diagnostic: Diagnostic, at: ScopedAddress) -> Diagnostic:
        """A problem with its place in the file."""
        return placed(self.tree, diagnostic, at, self.resources.get(at))

    def reached(self, machine: MachineId) -> Reached:
        """How far we came with a machine."""
        return self.seen.reached.get(machine, Reached())

    def leftovers(self, machine: MachineId) -> Mapping[Address, Leftover]:
        """What an earlier spec left there."""
        observed = self.seen.machines.get(machine)
        return observed.leftovers if observed else {}

    def unseen(self, machine: MachineId) -> Mapping[str, str]:
        """The kinds of which it cannot be told what was left there, with the reason."""
        observed = self.seen.machines.get(machine)
        return observed.unseen if observed else {}

    def cannot_tell(self, at: ScopedAddress) -> bool:
        """Whether it is unknown what it wishes for in truth: unknown, or in error."""
        if isinstance(self.observations[at], Unknown) or at in self.defects:
            return True
        return any(one.severity is Severity.ERROR for one in self.problems[at])

    def if_absent(self, at: ScopedAddress, until: Sequence[ScopedAddress]) -> Assessment:
        """What would follow if nothing were there: for what can be read after `until`."""
        seen = Absent(until=tuple(one.address for one in until))
        return self.kinds[at.address.kind].reconciler.assess(self.resources[at], seen, self.inputs(at))

    def _assess(self, at: ScopedAddress) -> Assessment:
        """Where it cannot be told, those that are told its exports are lost, too."""
        if at in self.seen.assessed:
            return self.seen.assessed[at]
        if at not in self.defects and not self.lost_providers(at):
            kind = self.kinds[at.address.kind].reconciler
            try:
                return kind.assess(self.resources[at], self.observations[at], self.inputs(at))
            except Exception as error:  # noqa: BLE001  # a kind's defect concerns its own resource only
                self.defects[at] = error
        self.lost.add(at)
        return Assessment()

    def run(self) -> None:
        """Each after those that tell it something; then what only all of a kind together show."""
        for at in self.graph.order(*TOLD):
            self.made[at] = self._assess(at)
        for at in self.resources:
            self.problems[at] = tuple(self.placed(one, at) for one in self.made[at].problems)
        for machine in self.tree.machines:
            for name in sorted({at.address.kind for at in self.made if at.machine == machine.id}):
                if isinstance(kind := self.kinds[name].reconciler, Collective):
                    self._together(machine.id, name, kind)

    def _together(self, machine: MachineId, name: str, kind: Collective) -> None:
        several = [
            at for at in self.made if (at.machine, at.address.kind) == (machine, name) and at not in self.lost
        ]
        if self.run_only is not None:
            several = [at for at in several if at in self.run_only]
        try:
            made = {at.address: self.made[at] for at in several}
            found = kind.together(made, whole=self.run_only is None) if several else ()
        except Exception as error:  # noqa: BLE001  # as above: of all of which it was asked
            self.defects |= dict.fromkeys(several, error)
            return
        for problem in found:
            at = ScopedAddress(machine, problem.address or several[0].address)
            self.problems[at] = (*self.problems[at], self.placed(problem, at))


def assess_resources(tree: Tree, seen: Seen, kinds: Kinds, only: Only | None = None) -> Assessed:
    """What all kinds make of a tree, in the order in which they tell each other."""
    resources: dict[ScopedAddress, Resource[Any]] = {}
    observations: dict[ScopedAddress, Observation[Any]] = {}
    implied: set[ScopedAddress] = set()
    defects: dict[ScopedAddress, Exception] = {}
    needs: dict[ScopedAddress, Sequence[Need]] = {}
    for machine in tree.machines:
        observed = seen.machines.get(machine.id)
        if observed:
            its, implied_here = observed.resources, observed.implied
            defects |= {ScopedAddress(machine.id, a): error for a, error in observed.defects.items()}
        else:
            its, implied_here = resources_of(machine, kinds)
        implied |= {ScopedAddress(machine.id, address) for address in implied_here}
        for address, resource in its.items():
            at = ScopedAddress(machine.id, address)
            resources[at] = resource
            observations[at] = observed.observations[address] if observed else _not_read(seen, machine.id)
            try:
                needs[at] = (
                    *kinds[address.kind].reconciler.needs(resource),
                    *_of_guests(machine.connect, address, kinds),
                )
            except Exception as error:  # noqa: BLE001  # as told above
                needs[at], defects[at] = (), error
    graph = Graph(needs, {machine.id: machine.parent for machine in tree.machines})
    assessed = Assessed(tree, kinds, seen, resources, observations, frozenset(implied), graph, defects)
    if only is not None:
        named = (at for at in resources if at.machine in only and _is_in(only[at.machine], at))
        assessed.run_only = frozenset(graph.reached(named, *BEFORE, How.KNOWS))
    assessed.run()
    return assessed


def _is_in(named: frozenset[Address] | None, at: ScopedAddress) -> bool:
    return named is None or at.address in named


def _of_guests(connect: object, address: Address, kinds: Kinds) -> tuple[Need, ...]:
    """All of a guest comes after its VM, and after what comes first in it."""
    if not isinstance(connect, Through):
        return ()
    first = [Address(kind.kind) for kind in kinds.values() if kind.comes_first and kind.kind != address.kind]
    return (Need(connect.vm, How.AFTER, on_parent=True), *(Need(one, How.AFTER) for one in first))


def _not_read(seen: Seen, machine: MachineId) -> Unknown:
    reached = seen.reached.get(machine, Reached(Reach.UNKNOWN, "it was not read"))
    return Unknown(reached.reason or "", hint=reached.hint)


def placed(
    tree: Tree, diagnostic: Diagnostic, at: ScopedAddress, resource: Resource[Any] | None
) -> Diagnostic:
    """A problem of a resource with its place in the file."""
    path = (*resource.path, *diagnostic.path) if resource else diagnostic.path
    source = tree.locate(path) if resource and resource.path else None
    return replace(diagnostic, path=path, source=source, machine=at.machine, address=at.address)
