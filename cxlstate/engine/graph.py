"""The order of resources: what a resource needs comes before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from cxlstate.core.address import Address, AllOf, Target
from cxlstate.core.diagnostic import fail
from cxlstate.core.reconciler import How, Need


class Graph:
    """The declared resources of a machine and their needs. A need of what is not declared is none."""

    def __init__(self, needs: Mapping[Address, Sequence[Need]]) -> None:
        self._needs = needs
        self._by_kind: dict[str, list[Address]] = {}
        for address in sorted(needs):
            self._by_kind.setdefault(address.kind, []).append(address)

    def declared(self, target: Target) -> Sequence[Address]:
        """The declared resources that a target means."""
        if isinstance(target, AllOf):
            return self._by_kind.get(target.kind, ())
        return (target,) if target in self._needs else ()

    def targets(self, address: Address, *how: How) -> Iterable[Address]:
        """The declared resources that one needs in any of these ways."""
        for need in self._needs[address]:
            if need.how in how:
                yield from (found for found in self.declared(need.target) if found != address)

    def gathers(self, address: Address) -> frozenset[str]:
        """The kinds of which it is told all that is declared."""
        needs = self._needs[address]
        return frozenset(n.target.kind for n in needs if n.how is How.KNOWS and isinstance(n.target, AllOf))

    def reached(self, start: Iterable[Address], *how: How) -> set[Address]:
        """Those, and all that they need in these ways, and what that needs, and so on."""
        found: set[Address] = set()
        todo = list(start)
        while todo:
            address = todo.pop()
            if address not in found:
                found.add(address)
                todo += self.targets(address, *how)
        return found

    def order(self, *how: How) -> list[Address]:
        """Every resource after what it needs in these ways; within that, by kind and name.

        A need of all of a kind is one node between, so that the edges stay few.
        """
        sorter: TopologicalSorter[Target] = TopologicalSorter()
        for address, needs in self._needs.items():
            before = [need.target for need in needs if need.how in how]
            sorter.add(address, *(target for target in before if self.declared(target)))
        for kind, addresses in self._by_kind.items():
            sorter.add(AllOf(kind), *addresses)
        try:
            sorter.prepare()
        except CycleError as error:
            circle = " → ".join(str(node) for node in error.args[1])
            raise fail("CXE120", "dependency cycle", found=circle) from None
        order: list[Address] = []
        while sorter.is_active():
            ready = sorter.get_ready()
            order += sorted(node for node in ready if isinstance(node, Address))
            sorter.done(*ready)
        return order
