"""Names of which libvirt takes any: models of network interfaces, of which QEMU knows some, and systems."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.resources.vm.spec import VmSpec
from cxlstate.resources.vm.wish import variant

_OF_LIBVIRT: Final = (
    *("virtio", "virtio-transitional", "virtio-non-transitional", "rtl8139", "e1000", "e1000e", "igb"),
    *("vmxnet3", "usb-net", "netfront", "spapr-vlan", "lan9118", "scm91c111"),
)
"""virDomainNetModel in `src/conf/domain_conf.c`, which it takes in any case."""

_OF_QEMU: Final = (
    *("e1000-82544gc", "e1000-82545em", "ne2k_isa", "ne2k_pci", "pcnet", "tulip", "rocker"),
    *("i82550", "i82551", "i82557a", "i82557b", "i82557c", "i82558a", "i82558b", "i82559a", "i82559b"),
    *("i82559c", "i82559er", "i82562", "i82801", "virtio-net", "virtio-net-pci", "virtio-net-device"),
    *("virtio-net-pci-transitional", "virtio-net-pci-non-transitional", "virtio-net-ccw", "xen-net-device"),
    *("smc91c111", "sunhme", "npcm-gmac", "cadence_gem", "xgmac", "ftgmac100", "imx.fec", "imx.enet"),
)
"""`qemu-system-x86_64 -device help` of QEMU 10.0, and what other machines have."""


def of_the_system(spec: VmSpec) -> Iterator[Diagnostic]:
    """Whatever is written is an id to libvirt; virt-manager and virt-install look it up in libosinfo."""
    name = variant(spec.os_variant)
    if name and "://" not in name:
        yield Diagnostic(
            "CXQ338",
            "unknown short name of a system: it is written as it is",
            Severity.WARNING,
            path=("os_variant",),
            found=name,
            expected="a name such as ubuntu22.04, debian13 or win11, or the id of libosinfo",
            hint="`osinfo-query os` (package libosinfo-bin) shows the id of each system, a URL",
        )


def diagnose(spec: VmSpec) -> Iterator[Diagnostic]:
    """A warning, since a newer QEMU may know more."""
    for number, one in enumerate(spec.interfaces or ()):
        model = one.model
        if model is None or one.state == "absent" or model.lower() in _OF_LIBVIRT or model in _OF_QEMU:
            continue
        near = get_close_matches(model.lower(), _OF_LIBVIRT, n=1)
        yield Diagnostic(
            "CXQ337",
            "QEMU has no such network interface",
            Severity.WARNING,
            path=("interfaces", number, "model"),
            found=model,
            expected=f"a model such as {', '.join(_OF_LIBVIRT[:1] + _OF_LIBVIRT[4:8])}",
            hint=f"write model: {near[0] if near else 'virtio'}; "
            "`qemu-system-x86_64 -device help` lists what the host's QEMU has",
        )
