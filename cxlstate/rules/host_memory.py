"""Rules between dax devices, MTRR ranges, `memmap` and the module that would take the memory away."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import combinations, product
from typing import Final

from cxlstate.core.address import Address
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.reconciler import Resource
from cxlstate.core.units import format_address, format_size
from cxlstate.formats import mtrr
from cxlstate.formats.iomem import Range, gaps
from cxlstate.resources.dax.spec import DaxSpec
from cxlstate.resources.memmap.spec import MemmapSpec
from cxlstate.resources.mtrr.spec import MtrrSpec
from cxlstate.rules.words import Resources, Rule, TreeRule, of


def cover_names_a_device(resources: Resources) -> Iterator[Diagnostic]:
    """CXR101: `cover: dax.NAME` is declared below `host.dax`."""
    devices = [str(me.address) for me in of(resources, DaxSpec)]
    for me in of(resources, MtrrSpec):
        if me.spec.cover is not None and me.spec.cover not in devices:
            near = get_close_matches(me.spec.cover, devices, n=1)
            yield Diagnostic(
                "CXR101",
                f"{me.address} covers {me.spec.cover}, which is not declared",
                path=(*me.path, "cover"),
                address=me.address,
                found=me.spec.cover,
                expected=f"one of {', '.join(devices)}" if devices else "a device below host.dax",
                hint=f"did you mean {near[0]}?" if near else "declare it below host.dax",
            )


def window_holds_the_device(resources: Resources) -> Iterator[Diagnostic]:
    """CXR102: a window is at least as wide as the device that it is for."""
    for me in of(resources, MtrrSpec):
        device, window = _covered(me, resources), me.spec.within
        if device and window and not (window.start <= device[0].start and device[-1].end <= window.end):
            yield Diagnostic(
                "CXR102",
                f"the window of {me.address} does not hold {me.spec.cover}",
                path=(*me.path, "within"),
                address=me.address,
                found=f"{format_address(window.start)} to {format_address(window.end)}",
                expected=f"at least {format_address(device[0].start)} to {format_address(device[-1].end)}",
                hint="a window says how far the ranges may reach beyond the device on both sides",
            )


def covers_are_apart(resources: Resources) -> Iterator[Diagnostic]:
    """CXR103: two mtrr resources never overlap."""
    for one, other in combinations(of(resources, MtrrSpec), 2):
        pairs = product(_blocks(one, resources), _blocks(other, resources))
        both = next(((here, there) for here, there in pairs if here.overlaps(there)), None)
        if both:
            yield Diagnostic(
                "CXR103",
                f"{one.address} and {other.address} overlap",
                path=other.path,
                address=other.address,
                found=f"{both[0]} {one.spec.type} and {both[1]} {other.spec.type}",
                expected="ranges that are apart",
                hint="two registers over the same memory give a type that neither of them says",
            )


def devices_are_apart(resources: Resources) -> Iterator[Diagnostic]:
    """CXR104: two dax resources are two devices."""
    for one, other in combinations(of(resources, DaxSpec), 2):
        pairs = product(_ranges(one), _ranges(other))
        both = next(((here, there) for here, there in pairs if here.overlaps(there)), None)
        same = both is not None
        same = same or (one.spec.device is not None and one.spec.device == other.spec.device)
        same = same or (one.spec.target_node is not None and one.spec.target_node == other.spec.target_node)
        if same:
            yield Diagnostic(
                "CXR104",
                f"{one.address} and {other.address} are the same device",
                path=other.path,
                address=other.address,
                found=f"{both[0]} and {both[1]}" if both else "the same name or node",
                expected="a name of its own for every device",
            )


def memmap_leaves_devices_alone(resources: Resources) -> Iterator[Diagnostic]:
    """CXR105: `memmap` takes RAM away; on the memory of a device it does something else."""
    for me in of(resources, MemmapSpec):
        for index, entry in enumerate(me.spec.root):
            for device in of(resources, DaxSpec):
                where = next((one for one in _ranges(device) if one.overlaps(entry.range)), None)
                if where:
                    yield Diagnostic(
                        "CXR105",
                        f"{entry.argument} reaches into the memory of {device.address}",
                        path=(*me.path, index),
                        address=me.address,
                        found=f"{entry.range} and {where}",
                        expected="a range that ends before the device, or begins behind it",
                        hint="the memory of a device needs no memmap: take only the RAM beside it away",
                    )


def kmem_is_not_wanted(resources: Resources) -> Iterator[Diagnostic]:
    """CXR106: a devdax device, and the module that makes system RAM of it."""
    kmem = next((me for me in resources if me.address == Address("module", "kmem")), None)
    devices = [me for me in of(resources, DaxSpec) if me.spec.state == "enabled"]
    if kmem and kmem.spec == "present" and devices:
        yield Diagnostic(
            "CXR106",
            f"kmem would claim {devices[0].address} as system RAM",
            path=kmem.path,
            address=kmem.address,
            found="kmem: present",
            expected="kmem: absent",
            hint="with kmem absent the device stays what host.dax says",
        )


def a_device_has_one_type(resources: Resources) -> Iterator[Diagnostic]:
    """CXR107, a warning: MTRR ranges that cover only a part of a device."""
    blocks = [one for me in of(resources, MtrrSpec) for one in _blocks(me, resources)]
    for me in of(resources, DaxSpec):
        device = _ranges(me)
        missing = [gap for one in device for gap in gaps(one, blocks)]
        if missing and any(one.overlaps(other) for one in blocks for other in device):
            yield Diagnostic(
                "CXR107",
                f"MTRR ranges cover only a part of {me.address}",
                Severity.WARNING,
                path=me.path,
                address=me.address,
                found=f"{missing[0]} is not covered",
                expected="ranges for all of it, or for none of it",
                hint=f"write `cover: {me.address}`, and the ranges are computed",
            )


RULES: Final[tuple[Rule, ...]] = (
    cover_names_a_device,
    window_holds_the_device,
    covers_are_apart,
    devices_are_apart,
    memmap_leaves_devices_alone,
    kmem_is_not_wanted,
    a_device_has_one_type,
)
BETWEEN: Final[tuple[TreeRule, ...]] = ()


def _ranges(me: Resource[DaxSpec]) -> tuple[Range, ...]:
    """Where a device is, by address; nothing where the spec does not say so."""
    return tuple(Range(one.start, one.end, str(me.address)) for one in me.spec.memory)


def _covered(me: Resource[MtrrSpec], resources: Resources) -> tuple[Range, ...]:
    devices = {str(device.address): device for device in of(resources, DaxSpec)}
    return _ranges(devices[me.spec.cover]) if me.spec.cover in devices else ()


def _blocks(me: Resource[MtrrSpec], resources: Resources) -> list[Range]:
    """What its registers will hold, as far as the spec tells; nothing where another rule is broken."""
    if me.spec.state == "absent":
        return []
    if me.spec.ranges:
        return [Range(one.start, one.start + one.size, format_size(one.size)) for one in me.spec.ranges]
    device = _covered(me, resources)
    if not device:
        return []
    window = me.spec.within
    low, high = (window.start, window.end) if window else (device[0].start, device[-1].end)
    try:
        blocks = mtrr.cover_all([(one.start, one.end) for one in device], low, high)
        return [Range(one.base, one.end) for one in blocks]
    except ValueError:
        return []
