"""Whether a cache is between a processor and memory, by how long loads took. Pure.

A repeated load from memory that may be cached takes as long as one from ordinary memory, whatever the
memory is: it comes from the same cache. Past the cache, each takes its way to the memory and back, and none
begins before the one before has ended. Between the two lies a factor of 50 and more (measured figures are in
`machine/posix/time_loads.py`): no absolute expectation is needed. Noise cannot bridge it, either: what is
disturbed only takes longer, and a few rounds that were left alone are enough.

Where a processor is emulated, loads take as long as the emulation does, and nothing follows from
them: it has no cache to go past. In a virtual machine whose loads the processor itself does, they are what
they are: what the guest's page tables and the hypervisor's come to together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Final

from cxlstate.core.address import Address
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.machine import MachineId
from cxlstate.core.measure import Measurable
from cxlstate.core.units import format_address
from cxlstate.formats.loads import Loads, undisturbed

_EMULATED: Final = ("qemu", "bochs")
"""What systemd-detect-virt(1) calls machines whose processor is software; with KVM, QEMU is `kvm`."""

_BY_PROCESSOR: Final = frozenset(
    ("kvm", "amazon", "google", "vmware", "microsoft", "oracle", "xen", "parallels", "bhyve", "acrn", "apple")
)
"""What it calls those in which the processor itself does the loads."""

_ROUNDS: Final = 8
_ALIKE, _APART = 3, 10
"""Repeated loads that take up to so many times as long are cached; from so many on they are not."""
_SINGLE: Final = 25
"""Nanoseconds by which a single repeated load past the cache takes longer, at least: no memory is closer."""
_SLOWEST_CACHE, _SLOWEST_STEP = 10, 200
"""Nanoseconds of a repeated load from ordinary memory, and of a step of Python; more, and it is no processor.

Processors have been seen to take 1 to 2 and 35 to 75, and QEMU's emulation (TCG) 9 to 12 and 600.
"""
_FARTHEST_MEMORY: Final = 5_000
"""Nanoseconds of one load; more, and it is not memory that answers, but a device that software emulates."""


class Access(StrEnum):
    """What loads of some memory go through."""

    CACHED = "cached"
    UNCACHED = "uncached"
    MIXED = "partly cached"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What it is, and by which evidence."""

    access: Access
    why: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was found of one resource, or of a node (then `address` is None and `name` is `node:2`).

    No `loads`: none were timed, and the verdict says why.
    """

    machine: MachineId
    name: str
    verdict: Verdict
    address: Address | None = None
    asked: Measurable | None = None
    loads: Loads | None = None
    vm: str | None = None
    problems: tuple[Diagnostic, ...] = ()


def judge(loads: Loads, vm: str | None) -> Verdict:
    """The verdict. `vm` is what systemd-detect-virt(1) says, None where it said nothing."""
    if doubt := _emulated(loads, vm) or _odd(loads):
        return Verdict(Access.CANNOT_TELL, doubt)
    usual, places = undisturbed(loads.ordinary.repeated), _places(loads)
    found = {at: _access(here / usual) for at, here in places.items()}
    first, single = found[0], undisturbed(loads.memory.again) - loads.step
    if (single < _SINGLE) is not (first is Access.CACHED):
        found[0] = Access.CANNOT_TELL
    if Access.CANNOT_TELL in found.values():
        return Verdict(Access.CANNOT_TELL, f"{_neither(found, places, usual, single)}; measure again")
    if len({*found.values()}) > 1:
        return Verdict(Access.MIXED, _where(found, places, usual))
    return Verdict(first, f"a repeated load takes {places[0]:.3g} ns, from ordinary memory {usual:.3g} ns")


def _places(loads: Loads) -> dict[int, float]:
    """How long a repeated load takes, by the offset in the memory."""
    return {0: undisturbed(loads.memory.repeated)} | {
        part.at: undisturbed(part.repeated) for part in loads.elsewhere
    }


def _access(times: float) -> Access:
    if times <= _ALIKE:
        return Access.CACHED
    return Access.UNCACHED if times >= _APART else Access.CANNOT_TELL


def _neither(found: Mapping[int, Access], places: Mapping[int, float], usual: float, single: float) -> str:
    """The first place that is neither. Single loads are timed of the first one only."""
    at = next(at for at, access in found.items() if access is Access.CANNOT_TELL)
    where, alone = (f" at {format_address(at)}", "") if at else ("", f", and {single:.0f} ns more alone")
    here = places[at]
    return (
        f"a repeated load{where} takes {here:.3g} ns, from ordinary memory {usual:.3g} ns: "
        f"{here / usual:.1f} times as long{alone}, which is neither"
    )


def _where(found: Mapping[int, Access], places: Mapping[int, float], usual: float) -> str:
    """Where it is what, in the order of the offsets."""
    runs = [
        f"{access.value} at {', '.join(f'{format_address(at)} ({places[at]:.3g} ns)' for at in run)}"
        for access, run in groupby(sorted(found), key=lambda at: found[at])
    ]
    return f"{'; '.join(runs)}; from ordinary memory a repeated load takes {usual:.3g} ns"


def _emulated(loads: Loads, vm: str | None) -> str:
    """Evidence that software stands for the processor, or that it cannot be told."""
    if "TCG" in loads.model:
        return f"the processor is emulated: {loads.model}"
    if vm in _EMULATED:
        return f"the processor is emulated: systemd-detect-virt says {vm}"
    if loads.virtual and vm not in _BY_PROCESSOR:
        return "in a virtual machine of an unknown kind the processor may be emulated (systemd-detect-virt)"
    return ""


def _odd(loads: Loads) -> str:
    """Times that no processor with its own memory has."""
    if loads.rounds < _ROUNDS:
        return f"only {loads.rounds} rounds in the time there was; measure again"
    usual, here = undisturbed(loads.ordinary.repeated), max(_places(loads).values())
    if not 0 < usual <= _SLOWEST_CACHE or loads.step > _SLOWEST_STEP:
        said = (
            f"a repeated load from ordinary memory takes {usual:.3g} ns, a step of Python {loads.step:.0f} ns"
        )
        return f"{said}: as under emulation, or without any cache"
    if here > _FARTHEST_MEMORY:
        return f"a load takes {here / 1000:.3g} µs: software answers it, as of an emulated device"
    return ""


def problems(asked: Measurable, access: Access, loads: Loads) -> tuple[Diagnostic, ...]:
    """Where what was measured is not what the spec or the machine's own settings say."""
    found = []
    expected = Access.CACHED if asked.cached else Access.UNCACHED
    if asked.cached is not None and access not in (expected, Access.CANNOT_TELL):
        found.append(
            Diagnostic(
                "CXX101",
                f"memory is {access.value}, and should be {expected.value}",
                found=f"{access.value}, on CPU {loads.cpu}",
                expected=f"{expected.value}: {asked.by}",
                hint="`cxlstate plan` tells of a device that was bound before its MTRRs were written",
            )
        )
    first = loads.first(loads.memory)
    from_memory = access is Access.UNCACHED or (access is not Access.CANNOT_TELL and loads.cold)
    if asked.latency and from_memory and not asked.latency.holds(first):
        found.append(
            Diagnostic(
                "CXX102",
                "latency is not as written",
                path=asked.path,
                found=f"{first:.0f} ns for a first load, from CPU {loads.cpu}",
                expected=str(asked.latency),
                hint="measure again while the machine is idle; compare with what the firmware tells",
            )
        )
    return tuple(found)
