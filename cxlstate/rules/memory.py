"""Which memory an NVDIMM is, by whichever name its VM calls it."""

from __future__ import annotations

from collections.abc import Mapping

from cxlstate.core.reconciler import Resource
from cxlstate.formats import restore
from cxlstate.resources.dax.spec import DaxSpec
from cxlstate.resources.vm.devices import NvdimmSpec
from cxlstate.rules.words import Resources, of

Devices = Mapping[str, Resource[DaxSpec]]
"""By each of their names: `dax.cxl0`, `/dev/cxlstate/cxl0` and, of `device: dax0.0`, `/dev/dax0.0`."""


def devices_of(resources: Resources) -> Devices:
    """Those of a host."""
    found: dict[str, Resource[DaxSpec]] = {}
    for me in of(resources, DaxSpec):
        found |= {str(me.address): me, f"{restore.LINKS}/{me.name}": me}
        found |= {f"/dev/{me.spec.device}": me} if me.spec.device else {}
    return found


def device_of(entry: NvdimmSpec, devices: Devices) -> Resource[DaxSpec] | None:
    """The device that an NVDIMM is, as far as the spec tells."""
    return devices.get(entry.dax or entry.path or "")


def memory_of(entry: NvdimmSpec, devices: Devices) -> str:
    """One name for one memory: the address of its device; else what is written."""
    device = device_of(entry, devices)
    return str(device.address) if device else entry.dax or entry.path or ""
