"""Settings of the kernel that others leave without effect, whatever the order: read in Linux 6.12.

A slot and a value are those of `kernel_rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

OVERRULED: Final[Mapping[str, tuple[str, ...]]] = {
    "crashkernel": ("crashkernel high", "crashkernel low"),  # parse_crashkernel() in kernel/crash_reserve.c
    # In mm/mm_init.c, find_zone_movable_pfns_for_nodes()
    "movable_node": ("kernelcore", "kernelcore mirror", "movablecore"),
    "kernelcore mirror": ("kernelcore", "movablecore"),
}
"""Settings that are not looked at where another one is there, by that one."""

_MITIGATIONS: Final = (
    *("mds", "tsx_async_abort", "mmio_stale_data", "reg_file_data_sampling", "srbds", "l1tf", "tsa"),
    *("gather_data_sampling", "retbleed off auto unret ibpb stuff", "spectre_v2", "spectre_v2_user"),
    *("spec_store_bypass_disable", "spec_rstack_overflow", "indirect_target_selection", "vmscape"),
)

FORCED: Final[Mapping[tuple[str, str], Mapping[str, tuple[str, ...]]]] = {
    # In drivers/iommu/intel (iommu.c, dmar.c), amd/init.c: none of it is set up
    ("iommu off", "iommu=off"): {
        "intel_iommu on off": ("intel_iommu=off",),
        "amd_iommu on": (),
        "iommu pt nopt": (),
    },
    ("amd_iommu off", "amd_iommu=off"): {"amd_iommu on": ()},
    # In arch/x86/kernel/cpu/bugs.c, each `*_select_mitigation` and `*_parse_cmdline`
    ("mitigations", "off"): dict.fromkeys(_MITIGATIONS, ("off", "retbleed=off")),
    ("nospectre_v2", ""): dict.fromkeys(("spectre_v2", "spectre_v2_user"), ("off",)),
    ("spectre_v2", "off"): {"spectre_v2_user": ("off",)},
    ("nospec_store_bypass_disable", ""): {"spec_store_bypass_disable": ("off",)},
    ("nowatchdog", ""): {"nmi_watchdog 0 1": ("nmi_watchdog=0",)},  # kernel/watchdog.c
}
"""Of a setting with this value: the settings of which only these values are left, wherever they stand."""


def stronger(slot: str) -> set[str]:
    """Settings that may leave another one without effect."""
    overruling = {name for name, slots in OVERRULED.items() if slot in slots}
    forcing = {name for (name, _), forced in FORCED.items() if slot in forced}
    return overruling | forcing | ({"lsm"} if slot == "security" else set())


def is_beaten(slot: str, value: str, kept: Iterable[tuple[str, str]]) -> bool:
    """Whether another setting that is kept forces a value on it.

    Beside `lsm=`, `security=` is not read (security/security.c): without effect where the list lacks it.
    """
    if slot == "security":
        return any(name == "lsm" and value not in order.split(",") for name, order in kept)
    forced = (FORCED.get(other, {}).get(slot) for other in kept)
    return any(left is not None and value not in left for left in forced)
