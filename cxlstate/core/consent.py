"""What the user allowed: risk classes, each narrowed to a machine or a resource if wished."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cxlstate.core.action import Risk
from cxlstate.core.address import Address
from cxlstate.core.diagnostic import CxlstateError, fail
from cxlstate.core.machine import MachineId, host_of


@dataclass(frozen=True, slots=True)
class Consent:
    """One allowed class. Without a machine it holds everywhere; that of a host holds in its guests, too."""

    risk: Risk
    machine: MachineId | None = None
    address: Address | None = None

    def covers(self, machine: MachineId, address: Address) -> bool:
        """Whether it holds for a resource."""
        if self.address is not None:
            return (self.machine, self.address) == (machine, address)
        return self.machine in (None, machine, host_of(machine))


Meaning = Callable[[str], tuple[MachineId, Address | None]]
"""What is meant by HOST, HOST/kind.name, HOST/GUEST or HOST/GUEST:kind.name."""


@dataclass(frozen=True, slots=True)
class Consents:
    """Everything that was allowed. No class implies another."""

    given: frozenset[Consent] = frozenset()

    def allow(self, risk: Risk, machine: MachineId, address: Address) -> bool:
        """Whether an action of that class on that resource may be done."""
        return any(consent.risk is risk and consent.covers(machine, address) for consent in self.given)

    def with_live(self) -> Consents:
        """The same, and everything that interrupts nothing."""
        return Consents(self.given | {Consent(Risk.LIVE)})


def of_a_host(name: str) -> tuple[MachineId, Address | None]:
    """HOST or HOST/kind.name, as far as that can be told without the specs."""
    host, _, address = name.partition("/")
    return host, Address.parse(address) if address else None


def parse_consents(texts: Iterable[str], meaning: Meaning = of_a_host) -> Consents:
    """Read `--allow` values: `CLASS[=NAME][,…]`.

    Raises CxlstateError (CXE110) for a class that does not exist, `destroy-data` without a resource, and
    for an empty machine or address: with HOST unset, `--allow restart-vm=$HOST` must not hold everywhere.
    """
    items = (item for text in texts for item in text.split(",") if item)
    return Consents(frozenset(_parse(item, meaning) for item in items))


def _parse(item: str, meaning: Meaning) -> Consent:
    word, narrowed, name = item.partition("=")
    try:
        risk = Risk(word)
    except ValueError:
        raise _refuse(item, "one of " + ", ".join(risk.value for risk in Risk)) from None
    if narrowed and not all(name.partition("/")[::2] if "/" in name else [name]):
        raise _refuse(item, "a machine behind =, and an address behind /")
    machine, address = meaning(name) if narrowed else (None, None)
    if risk is Risk.DESTROY_DATA and not address:
        raise _refuse(
            item, "destroy-data=HOST/kind.name or HOST/GUEST:kind.name: data of one named resource only"
        )
    return Consent(risk, machine, address)


def _refuse(item: str, expected: str) -> CxlstateError:
    return fail(
        "CXE110",
        "--allow does not accept this value",
        found=item,
        expected=expected,
        hint="for example --allow reboot-host, or --allow restart-vm=cloudcxl2/vm.cxl_vmx",
    )
