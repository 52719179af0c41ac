"""What the user allowed: risk classes, each narrowed to a machine or a resource if wished."""

from __future__ import annotations

from dataclasses import dataclass

from cxlstate.core.action import Risk
from cxlstate.core.address import Address
from cxlstate.core.diagnostic import CxlstateError, fail


@dataclass(frozen=True, slots=True)
class Consent:
    """One allowed class. Without a machine it holds everywhere."""

    risk: Risk
    machine: str | None = None
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Consents:
    """Everything that was allowed. No class implies another."""

    given: frozenset[Consent] = frozenset()

    def allow(self, risk: Risk, machine: str, address: Address) -> bool:
        """Whether an action of that class on that resource may be done."""
        return any(
            consent.risk is risk and consent.machine in (None, machine) and consent.address in (None, address)
            for consent in self.given
        )

    def with_live(self) -> Consents:
        """The same, and everything that interrupts nothing."""
        return Consents(self.given | {Consent(Risk.LIVE)})


def parse_consents(texts: tuple[str, ...]) -> Consents:
    """Read `--allow` values: `CLASS[=MACHINE[/ADDRESS]][,…]`.

    Raises CxlstateError (CXE110) for a class that does not exist, `destroy-data` without an address, and
    for an empty machine or address: with HOST unset, `--allow restart-vm=$HOST` must not hold everywhere.
    """
    return Consents(frozenset(_parse(item) for text in texts for item in text.split(",") if item))


def _parse(item: str) -> Consent:
    name, narrowed, scope = item.partition("=")
    machine, one, address = scope.partition("/")
    try:
        risk = Risk(name)
    except ValueError:
        raise _refuse(item, "one of " + ", ".join(risk.value for risk in Risk)) from None
    if risk is Risk.DESTROY_DATA and not address:
        raise _refuse(item, "destroy-data=MACHINE/ADDRESS: data is destroyed on one named resource only")
    if (narrowed and not machine) or (one and not address):
        raise _refuse(item, "a machine behind =, and an address behind /")
    return Consent(risk, machine or None, Address.parse(address) if address else None)


def _refuse(item: str, expected: str) -> CxlstateError:
    return fail(
        "CXE110",
        "--allow does not accept this value",
        found=item,
        expected=expected,
        hint="for example --allow reboot-host, or --allow restart-vm=cloudcxl2/vm.cxl_vmx",
    )
