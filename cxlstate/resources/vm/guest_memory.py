"""What a VM tells its guest of its NVDIMMs: their slots, sizes, and the alignment of their memory."""

from __future__ import annotations

from collections.abc import Iterator

from cxlstate.core.address import Address
from cxlstate.core.assessment import Derived
from cxlstate.core.domain import Domain, Nvdimm
from cxlstate.core.exports import Inputs, NvdimmOfVm
from cxlstate.core.reconciler import Resource
from cxlstate.core.units import format_size
from cxlstate.formats import domain_xml
from cxlstate.resources.vm.devices import NvdimmSpec
from cxlstate.resources.vm.probe import Live, Seen
from cxlstate.resources.vm.spec import VmSpec
from cxlstate.resources.vm.wish import derived_align, device_of, nvdimms


def exported(me: Resource[VmSpec], live: Seen | None, inputs: Inputs) -> Iterator[NvdimmOfVm]:
    """Of each that is to be there, if the spec describes the guest: also of a VM that is not there yet.

    What the spec leaves open is as the definition has it, the running one first.
    """
    if not me.has_guest or me.spec.state == "absent":
        return
    active, inactive = (live.active, live.inactive) if isinstance(live, Live) else (None, None)
    desired = nvdimms(me.spec, inputs, live.host.links if live else {})
    running, defined = _paired(desired, active), _paired(desired, inactive)
    for number, (entry, one) in enumerate(zip(me.spec.nvdimm or (), desired, strict=True)):
        if entry.state == "absent":
            continue
        now = running[number]
        there = now or defined[number] or Nvdimm()
        slot = there.slot if one.slot is None else one.slot
        size = one.size or there.size
        label = there.label if one.label is None else one.label
        device = device_of(entry, inputs)
        yield NvdimmOfVm(
            number,
            slot,
            size,
            label or 0,
            align=device.desired_align if device else None,
            align_of=Address.parse(entry.dax) if entry.dax else None,
            runs=now is not None and (now.slot, now.size, now.label or 0) == (slot, size, label or 0),
        )


def _paired(desired: tuple[Nvdimm, ...], domain: Domain | None) -> tuple[Nvdimm | None, ...]:
    there = (domain.nvdimm if domain else None) or ()
    return tuple(None if found is None else there[found] for found in domain_xml.pair(desired, there))


def derived(spec: VmSpec, inputs: Inputs) -> tuple[Derived, ...]:
    """The alignments that follow from the spec of a device."""
    return tuple(
        Derived(("nvdimm", number, "alignsize"), format_size(align), Address.parse(entry.dax))
        for number, entry in enumerate(spec.nvdimm or ())
        if entry.dax and _is_wanted(entry) and (align := derived_align(entry, inputs))
    )


def _is_wanted(entry: NvdimmSpec) -> bool:
    return entry.state == "present"
