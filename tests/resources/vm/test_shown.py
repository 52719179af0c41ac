"""What is done to a VM, and what changes in its devices, as a plan shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxlstate.core.domain import Disk, Domain, Interface, Nvdimm
from cxlstate.core.libvirt import DefineDomain, DomainEffect, EditDomain, PinDomain, PinOf, StopDomain
from cxlstate.formats.domain_xml import read
from cxlstate.render.words import change_text
from cxlstate.resources.vm.compare import compare
from cxlstate.resources.vm.probe import Host, Live

CAPTURED = (Path(__file__).parent / "captured/cxl_vmx.xml").read_text()
MAC = "52:54:00:fc:10:bd"
GIB = 1 << 30


@pytest.mark.parametrize(
    ("effect", "shown"),
    [
        (DefineDomain("a vm", "<domain/>"), "virsh define 'a vm.xml'"),
        (EditDomain("vm", Domain(vcpu=2), "0f"), "edit the definition of vm"),
        (StopDomain("vm"), "virsh shutdown vm"),
        (PinDomain("vm", PinOf.VCPU, frozenset({0, 1}), 3), "virsh vcpupin vm 3 0-1 --live"),
        (PinDomain("vm", PinOf.EMULATOR, frozenset({0})), "virsh emulatorpin vm 0 --live"),
    ],
)
def test_an_editor_is_no_command(effect: DomainEffect, shown: str) -> None:
    assert effect.shown() == shown


CHANGES = {
    "by slot": (Domain(nvdimm=(Nvdimm(slot=1, size=40 * GIB),)), "nvdimm[slot 1].size  96GiB → 40GiB"),
    "by slot where the path is said": (
        Domain(nvdimm=(Nvdimm("/dev/cxlstate/cxl0", pmem=False),)),
        "nvdimm[slot 1].pmem  yes → no",
    ),
    "by target": (Domain(disks=(Disk("vda", cache="none"),)), "disks[vda].cache  default → none"),
    "by MAC": (
        Domain(interfaces=(Interface(MAC, bridge="br0"),)),
        f"interfaces[{MAC}].bridge  network default → br0",
    ),
    "a new one says it by itself": (Domain(disks=(Disk("vdz", "/a", "raw"),)), "disks  + /a (raw)"),
    "a pin has its place": (Domain(vcpupin=((0, frozenset({7})),)), "vcpupin[0]  1 → 7"),
}


@pytest.mark.parametrize(("wish", "shown"), CHANGES.values(), ids=CHANGES)
def test_a_device_is_named_and_not_counted(wish: Domain, shown: str) -> None:
    live = Live(
        host=Host(frozenset(), {}, {}, ()),
        state="shut-off",
        autostart=False,
        xml=CAPTURED,
        inactive=read(CAPTURED),
        active=None,
        affinity={},
        managed_save=False,
        keeps="",
        addresses=(),
    )
    (change,) = compare(wish, live, runs_on=False).changes
    assert change_text(change) == shown
