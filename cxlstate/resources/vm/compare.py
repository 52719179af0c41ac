"""What differs, and how it can be closed: in the definition, while it runs, or by a restart. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cxlstate.core.change import Change
from cxlstate.core.domain import Domain
from cxlstate.core.libvirt import PinOf
from cxlstate.core.path import Path
from cxlstate.core.units import format_cpus
from cxlstate.formats import domain_xml
from cxlstate.formats.domain_xml import Difference
from cxlstate.resources.vm.probe import Live

EMPTY: Final = Domain()

PINS: Final = {
    "vcpupin": PinOf.VCPU,
    "emulatorpin": PinOf.EMULATOR,
    "iothreadpin": PinOf.IOTHREAD,
}


@dataclass(frozen=True, slots=True)
class Compared:
    """`defined` differs in the persistent definition, `live` can be changed while it runs, `restart` cannot.

    What the definition lacks stands in `defined` alone, though the running VM may lack it too.
    """

    defined: tuple[Difference, ...] = ()
    live: tuple[Difference, ...] = ()
    restart: tuple[Difference, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        """For the plan: each field once; of what only a restart closes, that it waits for it."""
        defined = {one.path for one in self.defined}
        later = [one for one in (*self.live, *self.restart) if one.path not in defined]
        live = {one.path for one in self.live}
        return (
            *(Change(one.path, one.old, one.new, entry=one.entry) for one in self.defined),
            *(Change(one.path, one.old, one.new, one.path not in live, one.entry) for one in later),
        )

    @property
    def needs_restart(self) -> bool:
        """Whether what runs can only come to it by a restart."""
        return bool(self.restart)


def compare(wished: Domain, live: Live, *, runs_on: bool) -> Compared:
    """What is wished against the definition and, where the VM runs and is to go on, against what runs."""
    defined = domain_xml.differences(wished, live.inactive or EMPTY)
    if not (live.active and live.runs and runs_on):
        return Compared(defined)
    running = domain_xml.differences(wished, live.active, running=True)
    at_once = tuple(one for one in running if _can_be_live(one.path, wished, live.active))
    restart = tuple(one for one in running if one not in at_once)
    return Compared(defined, (*at_once, *_strayed(wished, live, at_once)), restart)


def _can_be_live(path: Path, wished: Domain, active: Domain) -> bool:
    """What libvirt changes under a running domain."""
    match path:
        case ("vcpupin" | "emulatorpin" | "iothreadpin", *_):
            return wished.vcpu in (None, active.vcpu) and wished.iothreads in (None, active.iothreads)
        case ("interfaces", int(), "link"):
            return True
        case ("numatune", "nodeset"):
            # qemuDomainSetNumaParamsLive in src/qemu/qemu_driver.c: no other mode can be moved.
            return active.numa_mode == "restrictive" and wished.numa_mode in (None, "restrictive")
    return False


def _strayed(wished: Domain, live: Live, known: Sequence[Difference]) -> tuple[Difference, ...]:
    """Threads that the kernel runs elsewhere than libvirt was told: a CPU was off, or somebody moved them."""
    told = {one.path for one in known}
    return tuple(
        Difference(("vcpupin", number), f"runs on {format_cpus(live.affinity[number])}", format_cpus(cpus))
        for number, cpus in wished.vcpupin or ()
        if number in live.affinity and live.affinity[number] != cpus and ("vcpupin", number) not in told
    )
