"""The order of the resources of a tree: what a resource needs comes before it, a VM before its guest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from cxlstate.core.address import Address, AllOf, NeedsOf, ScopedAddress
from cxlstate.core.diagnostic import fail
from cxlstate.core.machine import MachineId
from cxlstate.core.reconciler import How, Need


@dataclass(frozen=True, slots=True)
class _All:
    """Every declared resource of a kind on a machine, as one node: so the edges stay few."""

    machine: MachineId
    target: AllOf

    def __str__(self) -> str:
        return str(self.target)


Node = ScopedAddress | _All


class Graph:
    """The declared resources of a tree and their needs. A need of what is not declared is none.

    `parents` are the hosts of guests: a need `on_parent` is of theirs.
    """

    def __init__(
        self,
        needs: Mapping[ScopedAddress, Sequence[Need]],
        parents: Mapping[MachineId, MachineId | None] | None = None,
    ) -> None:
        self._parents = parents or {}
        self._needs: dict[ScopedAddress, list[tuple[How, Node]]] = {}
        self._kinds: dict[tuple[MachineId, str], list[ScopedAddress]] = {}
        for at in sorted(needs):
            self._kinds.setdefault((at.machine, at.address.kind), []).append(at)
            self._needs[at] = []
        for at, several in needs.items():
            for need in several:
                for node in self._nodes(at.machine, need, needs):
                    if need.how is not How.PRECEDES:
                        self._needs[at].append((need.how, node))
                    elif isinstance(node, ScopedAddress) and node in self._needs:
                        self._needs[node].append((How.AWAITS, at))

    def _nodes(
        self, machine: MachineId, need: Need, needs: Mapping[ScopedAddress, Sequence[Need]]
    ) -> Iterable[Node]:
        where = (self._parents.get(machine) or "") if need.on_parent else machine
        match need.target:
            case AllOf() as target:
                yield _All(where, target)
            case Address() as target:
                yield ScopedAddress(where, target)
            case NeedsOf(of=of, kind=kind):
                named = (one.target for one in needs.get(ScopedAddress(where, of), ()) if not one.on_parent)
                for address in dict.fromkeys(named):
                    if isinstance(address, Address) and address.kind == kind:
                        yield ScopedAddress(where, address)

    @property
    def all(self) -> Collection[ScopedAddress]:
        """Every declared resource."""
        return self._needs.keys()

    def declared(self, node: Node) -> Sequence[ScopedAddress]:
        """The declared resources that a node stands for."""
        if isinstance(node, _All):
            return self._kinds.get((node.machine, node.target.kind), ())
        return (node,) if node in self._needs else ()

    def meant(self, at: ScopedAddress, target: Address | AllOf) -> Sequence[ScopedAddress]:
        """The declared resources of the same machine that a target means."""
        (node,) = self._nodes(at.machine, Need(target, How.KNOWS), {})
        return self.declared(node)

    def targets(self, at: ScopedAddress, *how: How) -> Iterable[ScopedAddress]:
        """The declared resources that one needs in any of these ways."""
        for kind, node in self._needs[at]:
            if kind in how:
                yield from (found for found in self.declared(node) if found != at)

    def gathers(self, at: ScopedAddress) -> frozenset[str]:
        """The kinds of which it is told all that is declared."""
        nodes = (node for how, node in self._needs[at] if how is How.KNOWS)
        return frozenset(node.target.kind for node in nodes if isinstance(node, _All))

    def reached(self, start: Iterable[ScopedAddress], *how: How) -> set[ScopedAddress]:
        """Those, and all that they need in these ways, and what that needs, and so on."""
        found: set[ScopedAddress] = set()
        todo = [at for at in start if at in self._needs]
        while todo:
            at = todo.pop()
            if at not in found:
                found.add(at)
                todo += self.targets(at, *how)
        return found

    def order(self, *how: How) -> list[ScopedAddress]:
        """Every resource after what it needs in these ways; within that, by machine, kind and name."""
        sorter: TopologicalSorter[Node] = TopologicalSorter()
        for at, needs in self._needs.items():
            sorter.add(at, *(node for kind, node in needs if kind in how and self.declared(node)))
        for (machine, kind), several in self._kinds.items():
            sorter.add(_All(machine, AllOf(kind)), *several)
        try:
            sorter.prepare()
        except CycleError as error:
            circle = " → ".join(
                str(node.address) if isinstance(node, ScopedAddress) else str(node) for node in error.args[1]
            )
            raise fail("CXE120", "dependency cycle", found=circle) from None
        order: list[ScopedAddress] = []
        while sorter.is_active():
            ready = sorter.get_ready()
            order += sorted(node for node in ready if isinstance(node, ScopedAddress))
            sorter.done(*ready)
        return order
