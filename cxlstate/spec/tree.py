"""A file as a tree of machines: a host, and the guests in its VMs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cxlstate.core.connect import Connect, Through
from cxlstate.core.diagnostic import Source
from cxlstate.core.machine import MachineId, Scope
from cxlstate.core.path import Path
from cxlstate.core.reconciler import Resource
from cxlstate.spec.document import Document


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, how to reach it, and what is to be there, in the order of the file.

    `scope` is HOST or GUEST. A host has no parent; the parent of a guest is its host.
    """

    id: MachineId
    parent: MachineId | None
    scope: Scope
    connect: Connect | Through
    resources: tuple[Resource[Any], ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """The machines of one file, a parent before its children: the host stands first."""

    file: str
    machines: tuple[Machine, ...]
    document: Document = field(compare=False, repr=False)

    @property
    def host(self) -> Machine:
        """The machine that all others run on."""
        return self.machines[0]

    @property
    def guests(self) -> tuple[Machine, ...]:
        """All others, in the order of the file."""
        return self.machines[1:]

    def locate(self, path: Path) -> Source:
        """File, line and column of a path, or of the deepest part of it that was written.

        Paths begin at the top of the file, also those of a resource in a guest.
        """
        return self.document.locate(path)
