"""Names of machines and resources on the command line: `cxl_vmx:package.ndctl`, `cloudcxl2/grub`.

Names of VMs and of resources hold dots and colons, so that no text can be taken apart by itself. It is
looked up among the names of all that the given trees have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.machine import MachineId, Scope
from cxlstate.core.reconciler import Shape
from cxlstate.spec.schema import Kinds
from cxlstate.spec.tree import Machine, Tree

Only = Mapping[MachineId, frozenset[Address] | None]
"""What a run is narrowed to: some resources of each machine, or (None) all of it."""


@dataclass(frozen=True, slots=True)
class Named:
    """A machine, or one resource of it. `declared`: the spec has a word for it."""

    machine: MachineId
    address: Address | None = None
    declared: bool = True
    rank: int = 0
    """Of what has the same name, the lowest is meant: resources of hosts, then of guests, then machines."""

    @property
    def whole(self) -> str:
        """The name that begins with its host."""
        return str(ScopedAddress(self.machine, self.address)) if self.address else self.machine


class Names:
    """The names of all that the trees of a run have."""

    def __init__(self, trees: Sequence[Tree], kinds: Kinds) -> None:
        self._trees = trees
        self._kinds = kinds

    def only(self, targets: Iterable[str]) -> Only:
        """What targets mean; they may leave the host out. KeyError for one that means nothing."""
        only: dict[MachineId, frozenset[Address] | None] = {}
        for named in (named for target in targets for named in self.targets[target]):
            if named.address is None:
                only.update(dict.fromkeys(self._within(named.machine)))
            elif (others := only.get(named.machine, frozenset())) is not None:
                only[named.machine] = others | {named.address}
        return only

    @cached_property
    def targets(self) -> Mapping[str, Sequence[Named]]:
        """All that may be a target: what is declared, also without its host (`grub`, `cxl_vmx:grub`)."""
        declared = [named for named in self._all if named.declared]
        short = [(named.whole.partition("/")[2], named) for named in declared if named.address]
        return _indexed([*((named.whole, named) for named in declared), *short])

    @cached_property
    def whole(self) -> Mapping[str, Sequence[Named]]:
        """Names that begin with a host: `cloudcxl2/grub`, `cloudcxl2/cxl_vmx`, `cloudcxl2/cxl_vmx:grub`."""
        return _indexed((named.whole, named) for named in self._all)

    def undeclared(self, name: str) -> Named | None:
        """What `cloudcxl2/vm.build7` means where no spec has that VM: one that runs may have to stop.

        Likewise `provision.build7`, whose seed may be left. Of other kinds, what no spec has is a slip.
        """
        of_vms = [one.kind for one in self._kinds.values() if one.has_guest or Scope.VM in one.place.scopes]
        for host in (tree.host.id for tree in self._trees):
            for kind in of_vms:
                vm = name.removeprefix(f"{host}/{kind}.")
                if vm not in ("", name):
                    return Named(host, Address(kind, vm), declared=False)
        return None

    @cached_property
    def _all(self) -> Sequence[Named]:
        machines = [machine for tree in self._trees for machine in tree.machines]
        resources = [named for machine in machines for named in self._of(machine)]
        return [*resources, *(Named(one.id, rank=2) for one in machines if not self._is_kind(one))]

    def _of(self, machine: Machine) -> Iterator[Named]:
        """The resources of a machine, those that it has without a word in its spec included."""
        rank = int(machine.scope is Scope.GUEST)
        declared = {resource.address for resource in machine.resources}
        yield from (Named(machine.id, address, declared=True, rank=rank) for address in declared)
        for kind in self._kinds.values():
            implied = kind.gathers is not None and machine.scope in kind.place.scopes
            if implied and Address(kind.kind) not in declared:
                yield Named(machine.id, Address(kind.kind), declared=False, rank=rank)

    def _is_kind(self, machine: Machine) -> bool:
        """Whether a guest is called like the only resource of a kind, which is meant then."""
        kind = self._kinds.get(machine.id.rpartition("/")[2])
        return machine.scope is Scope.GUEST and kind is not None and kind.place.shape is Shape.ONE

    def _within(self, machine: MachineId) -> Iterator[MachineId]:
        """A machine, and the guests of a host."""
        return (one.id for tree in self._trees for one in tree.machines if machine in (one.id, one.parent))


def _indexed(pairs: Iterable[tuple[str, Named]]) -> dict[str, list[Named]]:
    """What each name means, of the lowest rank that has it."""
    found: dict[str, list[Named]] = {}
    for name, named in sorted(pairs, key=lambda pair: pair[1].rank):
        same = found.setdefault(name, [])
        if not same or same[0].rank == named.rank:
            same.append(named)
    return found
