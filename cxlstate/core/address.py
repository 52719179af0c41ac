"""The address of a resource: `kind.name`, or `kind` alone where a machine has only one."""

from __future__ import annotations

from dataclasses import dataclass

from cxlstate.core.machine import MachineId, is_guest


@dataclass(frozen=True, order=True, slots=True)
class Address:
    """Names one resource of one machine, for example `module.kmem` or `grub`."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}.{self.name}" if self.name else self.kind

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `kind.name`; only the first dot separates, since names may hold dots."""
        kind, _, name = text.partition(".")
        return cls(kind, name)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every declared resource of a kind, for needs that are not on one of them alone."""

    kind: str

    def __str__(self) -> str:
        return f"{self.kind}.*"


@dataclass(frozen=True, order=True, slots=True)
class ScopedAddress:
    """One resource of one machine of all: `cloudcxl2/vm.g1`, or in a guest `cloudcxl2/g1:package.ndctl`."""

    machine: MachineId
    address: Address

    def __str__(self) -> str:
        return f"{self.machine}{':' if is_guest(self.machine) else '/'}{self.address}"


@dataclass(frozen=True, slots=True)
class NeedsOf:
    """The resources of a kind that another one needs by name: the images of a VM."""

    of: Address
    kind: str


Target = Address | AllOf
