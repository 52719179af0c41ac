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

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cxlstate.core.address import Address
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.machine import MachineId
from cxlstate.core.measure import Measurable
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
    here, usual = undisturbed(loads.memory.repeated), undisturbed(loads.ordinary.repeated)
    times = here / usual
    single = undisturbed(loads.memory.again) - loads.step
    why = f"a repeated load takes {here:.3g} ns, from ordinary memory {usual:.3g} ns"
    if times <= _ALIKE and single < _SINGLE:
        return Verdict(Access.CACHED, why)
    if times >= _APART and single >= _SINGLE:
        return Verdict(Access.UNCACHED, why)
    more = f"{times:.1f} times as long, and {single:.0f} ns more where it is alone"
    return Verdict(Access.CANNOT_TELL, f"{why}: {more}, which is neither; measure again")


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
    usual, here = undisturbed(loads.ordinary.repeated), undisturbed(loads.memory.repeated)
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
    if asked.latency and access is not Access.CANNOT_TELL and not asked.latency.holds(first):
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
