"""NVDIMMs: their regions and namespaces on the nd bus, and ndctl.

Sources: ndctl v81 `ndctl/namespace.c`, `ndctl/list.c`, `ndctl/json.c`; Linux 6.12 drivers/nvdimm. What a
namespace leaves for use is computed as `nd_pfn_init` does. All of it stands as facts in tests/conformance.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cxlstate.formats.ndctl import usable
from cxlstate.simulator import guests
from cxlstate.simulator.dax import Bus
from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.mounts import mounted
from cxlstate.simulator.world import Dax, NdNamespace, Nvdimm, World

_ALIGN = 16 << 20
_BTT = 2109440  # of 1056964608 bytes, one arena: arena info, log, map and flog (drivers/nvdimm/btt.c)
_ALIGNS = (4096, 2 << 20, 1 << 30)
_FOLDER = "/sys/bus/nd/devices"
_NONE = "00000000-0000-0000-0000-000000000000"
_INVALID, _BUSY, _FULL, _NO_DEVICE = 234, 240, 237, 250
_MODES = ("raw", "sector", "fsdax", "devdax")


class Nd:
    """The nd bus of one machine. In a domain of a host, what is written goes into the memory of that."""

    def __init__(self, world: World, step: Callable[[str], None], host: Path | None = None) -> None:
        self._world = world
        self._step = step
        self._host = host

    # The kernel ----------------------------------------------------------------------------------

    def boot(self) -> None:
        """A region without labels is one namespace; nothing has its driver yet."""
        for number, one in enumerate(self._world.nvdimms):
            if not one.labelled and not one.namespaces:
                one.namespaces.append(NdNamespace(f"namespace{number}.0", _size(one)))
        self._world.running.disabled_namespaces[:] = [one.name for one in self._spaces()]

    def drive(self) -> None:
        """A driver was loaded: the bus gives it what has none. Each of devdax needs both."""
        modules = self._world.running.modules
        for one in self._world.nvdimms:
            for space in one.namespaces:
                has = "nd_pmem" in modules and (space.mode != "devdax" or "dax_pmem" in modules)
                if has and not self._is_enabled(space):
                    self._start(space)
                    self._enable(one, space)

    def files(self) -> Iterator[tuple[str, str]]:
        """Attributes in sysfs."""
        for name in ("nd_pmem", "dax_pmem"):
            if name in self._world.running.modules:
                yield f"/sys/bus/nd/drivers/{name}/uevent", ""
        for number, one in enumerate(self._world.nvdimms):
            yield f"{_FOLDER}/region{number}/resource", f"{int(one.start, 16):#x}\n"
            yield f"{_FOLDER}/region{number}/nstype", f"{5 if one.labelled else 4}\n"
            for space in one.namespaces:
                yield f"{_FOLDER}/{space.name}/size", f"{space.size}\n"
                if one.labelled:
                    yield f"{_FOLDER}/{space.name}/uuid", f"{space.label}\n"

    def private(self) -> Iterator[str]:
        """Attributes that only root may read."""
        yield from (f"{_FOLDER}/region{number}/resource" for number in range(len(self._world.nvdimms)))

    def disks(self) -> Iterator[tuple[str, str]]:
        """Block devices of namespaces, and the file system on each."""
        for one in self._spaces():
            if one.mode != "devdax" and self._is_enabled(one):
                yield _disk(one), one.holds

    def _enable(self, dimm: Nvdimm, space: NdNamespace) -> None:
        if space.mode != "devdax":
            return
        start = int(dimm.start, 16)
        size = usable(space.size, start, "devdax", space.map, space.align)
        low = start + space.size - size
        name = _dax(space)
        self._world.running.dax[name] = Dax(f"{low:#x}", f"{low + size - 1:#x}", 0, space.align, pmem=True)
        Bus(self._world).bind(name)

    def _disable(self, space: NdNamespace) -> None:
        self._world.running.dax.pop(_dax(space), None)

    def _is_enabled(self, space: NdNamespace) -> bool:
        return space.name not in self._world.running.disabled_namespaces

    def _spaces(self) -> list[NdNamespace]:
        return [space for one in self._world.nvdimms for space in one.namespaces]

    # The program ---------------------------------------------------------------------------------

    def ndctl(self, words: list[str]) -> Ended:
        """`ndctl` with the words that are used."""
        package = self._world.installed.get("ndctl")
        if package is None or not package.status.endswith(" installed"):
            return Ended(127, stderr="sh: 1: ndctl: not found\n")
        match words:
            case ["list", "-NRDi"]:
                return self._list()
            case ["read-labels", "-j", "all"]:
                return self._read_labels()
            case ["create-namespace", "--force", place, *options] if place.startswith("--reconfig="):
                return self._reconfigure(place.removeprefix("--reconfig="), options)
            case ["create-namespace", place, *options] if place.startswith("--region="):
                return self._create(place.removeprefix("--region="), options)
            case ["destroy-namespace", "--force", name]:
                return self._destroy(name)
            case ["enable-namespace", name]:
                return self._enabled(name)
            case ["disable-namespace", name]:
                return self._disabled(name)
        return unknown(("ndctl", *words))

    def _list(self) -> Ended:
        if not self._world.nvdimms:
            return Ended()
        found = {
            "dimms": [
                {
                    "dev": f"nmem{number}",
                    "id": f"8680-{0x55341200 + (one.handle << 24):08x}",
                    "handle": one.handle,
                    "phys_id": 0,
                }
                for number, one in enumerate(self._world.nvdimms)
            ],
            "regions": [self._region(number, one) for number, one in enumerate(self._world.nvdimms)],
        }
        return Ended(stdout=_text(found))

    def _region(self, number: int, one: Nvdimm) -> dict[str, Any]:
        size, free = _size(one), _size(one) - sum(space.size for space in one.namespaces)
        mapping = {"dimm": f"nmem{number}", "offset": 0, "length": size, "position": 0}
        return {
            "dev": f"region{number}",
            "size": size,
            "align": _ALIGN,
            "available_size": free,
            "max_available_extent": free,
            "type": "pmem",
            **({"iset_id": 52512752653219036 + number} if one.labelled else {}),
            "mappings": [mapping],
            "persistence_domain": "unknown",
            "namespaces": [
                *(_seed(name) for name in self._seeds(number, one)),
                *(self._described(one, space) for space in one.namespaces),
            ],
        }

    def _seeds(self, number: int, one: Nvdimm) -> list[str]:
        if not one.labelled:
            return []
        used = {space.name for space in one.namespaces}
        free = [
            name for name in (f"namespace{number}.{at}" for at in range(len(used) + 2)) if name not in used
        ]
        return free[:1] if used else [free[1], free[0]]

    def _described(self, dimm: Nvdimm, one: NdNamespace) -> dict[str, Any]:
        """`util_namespace_to_json`: of one that is disabled, only its label is known."""
        enabled = self._is_enabled(one)
        mode = one.mode if enabled else "raw"
        location = {"map": one.map} if mode in ("fsdax", "devdax") else {}
        found = {"dev": one.name, "mode": mode, **location, "size": self._usable(dimm, one, mode)}
        if dimm.labelled:
            found["uuid"] = one.label if mode == "raw" else one.uuid
        if mode == "devdax":
            return {**found, "chardev": _dax(one), "align": one.align}
        found["sector_size"] = 4096 if mode == "sector" else 512
        if mode == "fsdax":
            found["align"] = one.align
        return {**found, "blockdev": _disk(one)} if enabled else {**found, "state": "disabled"}

    def _usable(self, dimm: Nvdimm, one: NdNamespace, mode: str) -> int:
        if mode == "sector":
            return one.size - _BTT
        return usable(one.size, int(dimm.start, 16), mode, one.map, one.align)

    def _read_labels(self) -> Ended:
        index = {"signature": "NAMESPACE_INDEX", "major": 1, "minor": 2}
        empty = {"signature": "", "major": 0, "minor": 0}
        found = [
            {
                "dev": f"nmem{number}",
                "index": [index if one.labelled else empty] * 2,
                "label": [{"uuid": space.label} for space in one.namespaces if one.labelled],
            }
            for number, one in enumerate(map(self._on_the_dimm, self._world.nvdimms))
        ]
        return Ended(stdout=_text(found), stderr=f"read {len(found)} nmem\n")

    def _on_the_dimm(self, one: Nvdimm) -> Nvdimm:
        """What its label area says now: the kernel keeps what it read when it booted."""
        return guests.labels(self._host, self._world.power, one) if self._host else one

    def _written(self, one: Nvdimm, step: str) -> None:
        if self._host:
            guests.keep(self._host, self._world.power, one)
        self._step(step)

    def _reconfigure(self, name: str, options: list[str]) -> Ended:
        failed = "failed to reconfigure namespace"
        found = self._find(name)
        if found is None:
            return Ended(_NO_DEVICE, stderr=f"{failed}: No such device or address\n")
        dimm, one = found
        wanted = _options(options)
        if wrong := _wrong(wanted, one.name, _size(dimm)):
            return wrong
        if self._is_used(one):
            return Ended(_BUSY, stderr=f"{failed}: Device or resource busy\n")
        if not dimm.labelled and int(wanted.get("size", one.size)) != one.size:
            return Ended(
                _INVALID,
                stderr="  Error: Legacy / label-less namespaces do not support sub-dividing a region\n\n"
                "  Error: Retry without -s/--size=\n\n"
                f"{failed}: Invalid argument\n",
            )
        self._disable(one)
        one.mode, one.map, one.align, one.holds = "raw", "", 0, ""
        self._written(dimm, f"zeroed: {name}")
        dimm.labelled = bool(dimm.label)
        return self._set_up(dimm, one, wanted, int(wanted.get("size", one.size)))

    def _create(self, region: str, options: list[str]) -> Ended:
        failed = "failed to create namespace"
        numbers = {f"region{at}": at for at in range(len(self._world.nvdimms))}
        if region not in numbers:
            return Ended(_NO_DEVICE, stderr=f"{failed}: No such device or address\n")
        dimm, wanted = self._world.nvdimms[numbers[region]], _options(options)
        free = _size(dimm) - sum(space.size for space in dimm.namespaces)
        size = int(wanted.get("size", free))
        if not free or size > free:
            return Ended(_FULL, stderr=f"{failed}: No space left on device\n")
        name = min(self._seeds(numbers[region], dimm))
        if wrong := _wrong(wanted, name, size):
            return wrong
        one = NdNamespace(name, size)
        dimm.namespaces.append(one)
        return self._set_up(dimm, one, wanted, size)

    def _set_up(self, dimm: Nvdimm, one: NdNamespace, wanted: dict[str, str], size: int) -> Ended:
        """`setup_namespace`: the label first, then the metadata."""
        dimm.made += 1
        label, one.uuid = (
            str(uuid.uuid5(uuid.NAMESPACE_OID, f"{one.name} {dimm.start} {dimm.made} {what}"))
            for what in ("label", "metadata")
        )
        one.label = label if dimm.labelled else ""
        one.size = size
        self._written(dimm, f"labelled: {one.name}")
        one.mode = wanted.get("mode", "fsdax")
        if one.mode in ("fsdax", "devdax"):
            one.map, one.align = wanted.get("map", "dev"), int(wanted.get("align", _ALIGNS[1]))
        self._start(one)
        self._enable(dimm, one)
        self._written(dimm, f"made: {one.name}")
        return Ended(stdout=_text(self._described(dimm, one)))

    def _destroy(self, name: str) -> Ended:
        found = self._find(name)
        if found is None:
            return Ended(
                _NO_DEVICE,
                stderr="failed to reconfigure namespace: No such device or address\n"
                "error destroying namespaces: No such device or address\ndestroyed 0 namespaces\n",
            )
        dimm, one = found
        if self._is_used(one):
            said = "error destroying namespaces: Device or resource busy\ndestroyed 0 namespaces\n"
            return Ended(_BUSY, stderr=said)
        self._disable(one)
        one.mode, one.map, one.align, one.holds = "raw", "", 0, ""
        if dimm.labelled:
            dimm.namespaces.remove(one)
        self._start(one)
        self._written(dimm, f"destroyed: {name}")
        return Ended(stderr="destroyed 1 namespace\n")

    def _enabled(self, name: str) -> Ended:
        found = self._find(name)
        if found is None:
            said = "error enabling namespaces: No such device or address\nenabled 0 namespaces\n"
            return Ended(_NO_DEVICE, stderr=said)
        if not self._is_enabled(found[1]):
            self._start(found[1])
            self._enable(*found)
        return Ended(stderr="enabled 1 namespace\n")

    def _disabled(self, name: str) -> Ended:
        found = self._find(name)
        if found is None or self._is_used(found[1]):
            return Ended(_NO_DEVICE if found is None else _BUSY, stderr="disabled 0 namespaces\n")
        self._disable(found[1])
        if self._is_enabled(found[1]):
            self._world.running.disabled_namespaces.append(name)
        return Ended(stderr="disabled 1 namespace\n")

    def _start(self, one: NdNamespace) -> None:
        disabled = self._world.running.disabled_namespaces
        disabled[:] = [name for name in disabled if name != one.name]

    def _is_used(self, one: NdNamespace) -> bool:
        """Whether a file system on it is mounted. A process with its dax device open is no obstacle."""
        return self._is_enabled(one) and one.mode != "devdax" and mounted(self._world, f"/dev/{_disk(one)}")

    def _find(self, name: str) -> tuple[Nvdimm, NdNamespace] | None:
        pairs = ((one, space) for one in self._world.nvdimms for space in one.namespaces)
        return next(((one, space) for one, space in pairs if space.name == name), None)


def _options(words: list[str]) -> dict[str, str]:
    """`--mode=devdax` and the like."""
    return dict(word.removeprefix("--").split("=", 1) for word in words)


def _wrong(wanted: dict[str, str], name: str, size: int) -> Ended | None:
    """What ndctl refuses before it does anything (`validate_namespace_options`)."""
    mode = wanted.get("mode", "fsdax")
    paged = mode in ("fsdax", "devdax")
    if mode not in _MODES:
        return Ended(129, stderr=f"  Error: invalid mode '{mode}'\n\n")
    if "align" in wanted and int(wanted["align"]) not in _ALIGNS:
        return Ended(_NO_DEVICE, stderr=f"  Error: unsupported align: {wanted['align']}\n\n")
    if "map" in wanted and not paged:
        said = f"  Error: create namespace: {name}: --map= only valid for fsdax mode namespace\n\n"
        return Ended(_INVALID, stderr=said)
    if size % _ALIGN:
        region = name.partition(".")[0].replace("namespace", "region")
        said = f"{region}: align setting is {_ALIGN:#x} size {size:#x} is misaligned"
        return Ended(_INVALID, stderr=f"  Error: create namespace: {said}\n\n")
    return None


def _size(one: Nvdimm) -> int:
    return int(one.end, 16) + 1 - int(one.start, 16)


def _dax(one: NdNamespace) -> str:
    return "dax" + one.name.removeprefix("namespace")


def _disk(one: NdNamespace) -> str:
    number, _, place = one.name.removeprefix("namespace").partition(".")
    return f"pmem{number}" + (f".{place}" if place != "0" else "") + ("s" if one.mode == "sector" else "")


def _seed(name: str) -> dict[str, Any]:
    return {"dev": name, "mode": "raw", "size": 0, "uuid": _NONE, "sector_size": 512, "state": "disabled"}


def _text(found: object) -> str:
    return json.dumps(found, indent=2, separators=(",", ":")) + "\n"
