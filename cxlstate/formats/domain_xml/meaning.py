"""When two ways of saying something mean the same to libvirt.

Sources: libvirt 9.0 `docs/formatdomain.rst`, `src/util/virutil.c` (`virScaleInteger`),
`src/util/virbitmap.c` (`virBitmapParse`), `src/util/virmacaddr.c`, `src/qemu/qemu_domain.c`
(`qemuDomainAlignMemorySizes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cxlstate.core.domain import CpuNumbers, Nvdimm
from cxlstate.core.units import parse_cpus

KIB: Final = 1 << 10
CELL_STEP: Final = 1 << 20
"""To which a started domain's plain memory is rounded up, each cell by itself."""
MODULE_STEP: Final = 2 << 20
"""To which a started domain's memory devices are rounded up."""

_PREFIXES: Final = "kmgtpe"
_ALIASES: Final = {"pc": "pc-i440fx", "q35": "pc-q35", "ubuntu": "pc-i440fx", "ubuntu-q35": "pc-q35"}
"""libvirt writes what they lead to; Ubuntu has two more, which lead nowhere from 26.04 on."""


def size(text: str, unit: str | None) -> int:
    """Bytes of a number with libvirt's unit, KiB where it has none."""
    digits, unit = text.strip(), (unit or "KiB").lower()
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError(f"not a size: {digits[:40]!r}")
    return int(digits) * _factor(unit)


def _factor(unit: str) -> int:
    if unit in ("b", "byte", "bytes"):
        return 1
    power = _PREFIXES.find(unit[0]) + 1
    if not power or unit[1:] not in ("", "b", "ib"):
        raise ValueError(f"not a unit that libvirt knows: {unit[:40]!r}")
    return int("1" + "000" * power) if unit[1:] == "b" else 1 << 10 * power


def kib(number: int) -> int:
    """What libvirt keeps of a size: KiB, rounded up."""
    return -(-number // KIB)


def cpus(text: str | None) -> CpuNumbers:
    """The numbers of `0-3,^2`, with blanks or without; none of nothing."""
    joined = "".join((text or "").split())
    if not joined:
        return frozenset()
    try:
        return parse_cpus(joined)
    except ValueError:
        raise ValueError(f"not a set of numbers: {joined[:40]!r}") from None


def mac(text: str | None) -> str:
    """Lower case, two digits each; libvirt takes one digit, too."""
    return ":".join(part.zfill(2) for part in (text or "").strip().lower().split(":")) if text else ""


def is_machine(wished: str, live: str | None) -> bool:
    """Whether a machine type is what was wished: an alias is satisfied by any version of its own."""
    alias = _ALIASES.get(wished, wished)
    same = live == wished or (wished in _ALIASES and _ALIASES.get(live or "") == alias)
    return live is not None and (same or live.startswith(f"{alias}-"))


def is_model(wished: str, live: str | None) -> bool:
    """Whether an interface has a model: libvirt knows `VirtIO` as `virtio` (virDomainNetSetModelString)."""
    return live is not None and wished.lower() == live.lower()


def chipset(machine: str) -> str:
    """`q35`, `pc`, or the name without its version: what decides about buses and addresses."""
    name = _ALIASES.get(machine, machine)
    found = (alias for alias, prefix in _ALIASES.items() if name.startswith(prefix))
    return next(found, machine.partition("-")[0])


def pair(wished: Sequence[Nvdimm], live: Sequence[Nvdimm]) -> tuple[int | None, ...]:
    """For each one wished, the index of the one there that is meant: by slot, else by its memory.

    One to be taken out that has a path is meant by that alone, so that nobody else's goes with the slot.
    """
    found: dict[int, int] = {}
    for same in (_same_slot, _same_path):
        for index, one in enumerate(wished):
            free = (there for there in range(len(live)) if there not in found.values())
            meant = next((there for there in free if same(one, live[there])), None)
            if index not in found and meant is not None:
                found[index] = meant
    return tuple(found.get(index) for index in range(len(wished)))


def meant_alignsize(wished: Nvdimm, live: Nvdimm) -> int | None:
    """The alignment that an NVDIMM is to have; None: as it is."""
    if wished.alignsize is not None or wished.least_align is None:
        return wished.alignsize
    return wished.least_align if wished.exact or (live.alignsize or 0) < wished.least_align else None


def _same_slot(wished: Nvdimm, live: Nvdimm) -> bool:
    by_path = wished.absent and wished.path is not None
    return wished.slot is not None and wished.slot == live.slot and not by_path


def _same_path(wished: Nvdimm, live: Nvdimm) -> bool:
    return live.path is not None and live.path in (wished.path, *wished.names)
