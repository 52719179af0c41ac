"""What libvirt refuses of a domain as a whole because of the machine's QEMU, its firmware, or its NUMA nodes.

Sources: libvirt 11.3 `virQEMUCapsNewForBinaryInternal` (qemu_capabilities.c), `qemuValidateDomainDef`
(qemu_validate.c), `virDomainDefOSValidate` and `virDomainDefBootValidate` (domain_validate.c),
`virDomainNumatuneParseXML` and `virDomainNumaDefParseXML` (numa_conf.c). Texts are those of that version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from cxlstate.formats.xml import Element
from cxlstate.simulator.libvirt.refused import UNSUPPORTED, XML, Refused

EMULATOR: Final = "/usr/bin/qemu-system-x86_64"
NEWEST: Final = (10, 0)

_EMULATORS: Final = (EMULATOR, "/usr/bin/qemu-system-i386", "/usr/bin/kvm")  # of Debian's qemu-system-x86
_ARCHITECTURES: Final = ("x86_64", "i686")
_FIRMWARE_DETAIL: Final = ""  # VIR_ERR_XML_DETAIL says nothing of itself
_VERSIONED = re.compile(r"pc-(?:i440fx|q35)-([0-9]+)\.([0-9]+)", re.ASCII)

Rule = tuple[str, str]
"""A kind of error, and its text."""


def check(root: Element) -> None:
    """Raises Refused."""
    for rules in (_emulator, _tuning, _firmware, _boot, _nodes):
        for kind, why in rules(root):
            raise Refused(why, kind)


def _emulator(root: Element) -> Iterator[Rule]:
    emulator = root.findtext("devices/emulator") or EMULATOR
    if emulator not in _EMULATORS:
        yield "", f"Cannot check QEMU binary {emulator}: No such file or directory"
    kind = root.find("os/type")
    arch, machine = ("", "") if kind is None else (kind.get("arch", ""), kind.get("machine", ""))
    if arch and arch not in _ARCHITECTURES:
        yield UNSUPPORTED, f"Emulator '{emulator}' does not support arch '{arch}'"
    versioned = _VERSIONED.fullmatch(machine)
    if versioned and tuple(map(int, versioned.groups())) > NEWEST:
        yield UNSUPPORTED, f"Emulator '{emulator}' does not support machine type '{machine}'"


def _tuning(root: Element) -> Iterator[Rule]:
    if root.get("type") != "kvm" and root.find("cputune/cachetune") is not None:
        yield UNSUPPORTED, "cachetune is only supported for KVM domains"


def _firmware(root: Element) -> Iterator[Rule]:
    if _is_uefi(root) and root.find("features/acpi") is None:
        yield UNSUPPORTED, "UEFI requires ACPI on this architecture"
    yield from _loader(root)


def _is_uefi(root: Element) -> bool:
    loader = root.find("os/loader")
    return root.find("os[@firmware='efi']") is not None or (
        loader is not None and loader.get("type") == "pflash"
    )


def _loader(root: Element) -> Iterator[Rule]:
    """VirDomainDefOSValidate."""
    os = root.find("os")
    chosen = None if os is None else os.get("firmware")
    features = {one.get("name"): one.get("enabled") for one in root.findall("os/firmware/feature")}
    loader, nvram = root.find("os/loader"), root.find("os/nvram")
    if chosen and features.get("enrolled-keys") == "yes" and features.get("secure-boot") == "no":
        feature = "firmware feature 'enrolled-keys' cannot be enabled"
        yield _FIRMWARE_DETAIL, f"{feature} when firmware feature 'secure-boot' is disabled"
    if not chosen and features:
        feature = "cannot use feature-based firmware autoselection"
        yield _FIRMWARE_DETAIL, f"{feature} when firmware autoselection is disabled"
    if chosen not in (None, "efi") and nvram is not None:
        yield _FIRMWARE_DETAIL, f"firmware type '{chosen}' does not support nvram"
    if loader is None:
        return
    if not chosen and not (loader.text or "").strip():
        yield _FIRMWARE_DETAIL, "no loader path specified and firmware auto selection disabled"
    stateless = loader.get("stateless")
    if stateless == "yes" and nvram is not None:
        what = "NVRAM template" if nvram.get("template") else "NVRAM"
        yield _FIRMWARE_DETAIL, f"{what} is not permitted when loader is stateless"
    if stateless == "no" and not chosen and loader.get("type") != "pflash":
        yield _FIRMWARE_DETAIL, "Only pflash loader type permits NVRAM"
    if stateless == "no" and chosen not in (None, "efi"):
        yield _FIRMWARE_DETAIL, "Only EFI firmware permits NVRAM"


def _boot(root: Element) -> Iterator[Rule]:
    if root.find("os/boot") is not None and root.find("devices/*/boot") is not None:
        yield UNSUPPORTED, "per-device boot elements cannot be used together with os/boot elements"


def _nodes(root: Element) -> Iterator[Rule]:
    """Of the guest, and what they are bound to."""
    cells = root.findall("cpu/numa/cell")
    numbers = sorted(int(one.get("id") or index) for index, one in enumerate(cells))
    if numbers != list(range(len(cells))):
        once = "Exactly one 'cell' element per guest NUMA cell allowed"
        yield XML, f"{once}, non-contiguous ranges or ranges not starting from 0 are not allowed"
    memory, nodes = root.find("numatune/memory"), root.findall("numatune/memnode")
    if memory is not None and memory.get("placement") == "static" and memory.get("nodeset") is None:
        yield UNSUPPORTED, "nodeset for NUMA memory tuning must be set if 'placement' is 'static'"
    if nodes and not cells:
        yield XML, "Element 'memnode' is invalid without any guest NUMA cells"
    is_restrictive = memory is not None and memory.get("mode") == "restrictive"
    if is_restrictive and any(one.get("mode") != "restrictive" for one in nodes):
        must = "'restrictive' mode is required in memnode element"
        yield XML, f"{must} when mode is 'restrictive' in memory element"
