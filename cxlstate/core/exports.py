"""What resources tell each other. Kinds never import each other: the engine hands these over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cxlstate.core.address import Address


@dataclass(frozen=True, slots=True)
class KernelArguments:
    """Arguments that have to stand, in this order, on the kernel command line of every boot entry.

    One unit: where the hand-written configuration has all of them in order already, it is left as
    it is. `texts` are as the kernel reads them: no escaping for a shell or for GRUB.
    """

    texts: tuple[str, ...]


Export = KernelArguments

T = TypeVar("T", bound=Export)


class Given:
    """The exports of everything that a resource needs or knows."""

    def __init__(self, exports: Mapping[Address, Sequence[Export]]) -> None:
        self._exports = exports

    def everything(self) -> list[tuple[Address, Export]]:
        """All that was handed over, by address."""
        return [(address, export) for address, exports in sorted(self._exports.items()) for export in exports]

    def all(self, of: type[T]) -> list[tuple[Address, T]]:
        """Every export of a type with the resource it comes from, by address."""
        return [(address, export) for address, export in self.everything() if isinstance(export, of)]
