"""The effect: what is seen of a device, in the kernel that runs. A version proves nothing.

Source: `dax_region/align` is what the driver of the region passed to alloc_dax_region() (drivers/dax/bus.c).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cxlstate.core.address import Address
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import DaxDevice, Inputs
from cxlstate.core.path import Path
from cxlstate.core.units import format_size
from cxlstate.formats.dax import Device
from cxlstate.formats.kernel_patches import BY_DRIVER
from cxlstate.resources.kernel.probe import Live
from cxlstate.resources.kernel.spec import KernelSpec


@dataclass(frozen=True, slots=True)
class Proven:
    """What is seen, what is still to be seen after a reboot, and what should have been seen by now."""

    facts: tuple[tuple[str, str], ...] = ()
    changes: tuple[Change, ...] = ()
    problems: tuple[Diagnostic, ...] = ()
    holds: bool = False


@dataclass(frozen=True, slots=True)
class _Named:
    """One line of the proof. `busy`: the source or what is installed is still to change."""

    spec: KernelSpec
    live: Live
    name: str
    wanted: int
    busy: bool

    @property
    def path(self) -> Path:
        """Of the value that is written."""
        return ("proof", self.name, "region_align")

    @property
    def waiting(self) -> bool:
        """Whether nothing was booted since a patch went in, or a kernel was installed."""
        live = self.live
        since = {note.boot for note in live.notes.values()} | {live.running_since}
        return self.busy or live.boot in since or not (live.notes or live.stamp)


def proven(spec: KernelSpec, live: Live, inputs: Inputs, *, busy: bool) -> Proven:
    """Of all devices that are named."""
    known = dict(inputs.all(DaxDevice))
    found = [
        _one(_Named(spec, live, name, proof.region_align, busy), known.get(Address.parse(name)))
        for name, proof in spec.proof.items()
    ]
    return Proven(
        tuple(one for each in found for one in each.facts),
        tuple(one for each in found for one in each.changes),
        tuple(one for each in found for one in each.problems),
        holds=bool(found) and all(each.holds for each in found),
    )


def _one(me: _Named, exported: DaxDevice | None) -> Proven:
    if exported is None:
        return Proven(problems=(_undeclared(me.name),))
    device = next((one for one in me.live.devices if _is(one, exported)), None)
    if device is None:
        change = Change(me.path, "no such device", format_size(me.wanted), pending=True)
        return Proven(((me.name, "not there"),), (change,))
    seen = format_size(device.region_align or 0)
    facts = ((me.name, f"{device.name}, region aligned {seen} by {_driver(device)}"),)
    if device.region_align == me.wanted:
        return Proven(facts, holds=True)
    if me.waiting:
        change = Change(me.path, seen, format_size(me.wanted), pending=True)
        return Proven(facts, (change,), tuple(_for_another_driver(me, device)))
    return Proven(facts, problems=(_unseen(me, device),))


def _is(device: Device, exported: DaxDevice) -> bool:
    return any(exported.overlaps(one.start, one.end) for one in device.ranges)


def _driver(device: Device) -> str:
    """Which driver has it, and which patch is for that one."""
    patch = BY_DRIVER.get(device.region)
    return f"{device.owner or device.region}{f' (patch {patch})' if patch else ''}"


def _lacks(me: _Named, device: Device) -> str:
    """The patch for its driver, where only that of another is to be in."""
    patch = BY_DRIVER.get(device.region, "")
    names = {one.series.name for one in me.spec.patches}
    return patch if patch not in names and names & {*BY_DRIVER.values()} else ""


def _for_another_driver(me: _Named, device: Device) -> Iterator[Diagnostic]:
    """A warning: with the new kernel another driver may have the device."""
    if patch := _lacks(me, device):
        yield Diagnostic(
            "CXK422",
            f"the patches are not for the driver of {device.name}",
            Severity.WARNING,
            path=("patches",),
            found=f"{device.name} of {device.owner or device.region}",
            expected=patch,
            hint=f"add {patch} to patches, unless the new kernel gives it to another driver (Linux 7.1)",
        )


def _unseen(me: _Named, device: Device) -> Diagnostic:
    lacks = _lacks(me, device)
    return Diagnostic(
        "CXK421",
        f"{device.name} does not show the effect of the patches",
        path=me.path,
        found=f"region aligned {format_size(device.region_align or 0)} by {_driver(device)}",
        expected=format_size(me.wanted),
        hint=f"add {lacks} to patches, build and boot the kernel"
        if lacks
        else f"boot a kernel that was built of {me.spec.source}: {me.live.release} runs",
    )


def _undeclared(name: str) -> Diagnostic:
    return Diagnostic(
        "CXK420",
        f"`kernel.proof` names {name}, which is not declared",
        path=("proof", name),
        found=name,
        expected="a device of `dax` on this machine",
        hint="declare it in `dax`, or remove the line",
    )
