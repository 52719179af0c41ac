"""Laws 6 and 7 for namespaces and file systems in a guest: what is undone, or another leaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cxlstate.simulator.world import Disk, Partition, World
from tests.laws.bench import Bench

Undo = Callable[[Bench], None]
Leaf = tuple[str | int, ...]

_MIB = 1 << 20
_SECTORS = 2048  # of one MiB
WORDS: dict[str, Any] = {
    "packages": ["ndctl", "cloud-guest-utils"],
    "modules": {"nd_pmem": "present", "dax_pmem": "present"},
    "namespaces": {"cxl": {"mode": "devdax", "map": "mem", "align": "2MiB"}},
    "filesystems": {"/": {"grow": True}},
}
"""For a guest with one NVDIMM."""


def _inside(change: Callable[[World], None]) -> Undo:
    def undo(bench: Bench) -> None:
        with bench.guests()["guest"].world() as world:
            change(world)

    return undo


def _namespace(**values: Any) -> Undo:
    def change(world: World) -> None:
        vars(world.nvdimms[0].namespaces[0]).update(values)

    return _inside(change)


def _no_driver(world: World) -> None:
    world.running.dax["dax0.0"].driver = ""


def _purged(name: str) -> Undo:
    return _inside(lambda world: world.installed.pop(name) and None)


def _not_at_boot(name: str) -> Undo:
    return lambda bench: bench.guests()["guest"].path(f"etc/modules-load.d/cxlstate-{name}.conf").unlink()


def _disk(partition: int, holds: int) -> Undo:
    """Its disk has 4 GiB; MiB of the partition, and of the file system on it."""

    def change(world: World) -> None:
        part = Partition(1, _SECTORS, partition * _SECTORS, "ext4", holds * _MIB)
        world.disks = {"sda": Disk(4096 * _SECTORS, [part])}

    return _inside(change)


_CXL, _ROOT = "guest:namespace.cxl", "guest:filesystem./"
UNDONE: dict[str, tuple[str, Undo]] = {
    "a namespace has another mode": (_CXL, _namespace(mode="fsdax")),
    "a namespace maps itself": (_CXL, _namespace(map="dev")),
    "a namespace is aligned otherwise": (_CXL, _namespace(align=4096)),
    "a namespace has a part of its region": (_CXL, _namespace(size=1 << 30)),
    "the device of a namespace has no driver": (_CXL, _inside(_no_driver)),
    "a namespace is destroyed": (_CXL, _inside(lambda world: world.nvdimms[0].namespaces.clear())),
    "a package of a guest is purged": ("guest:package.ndctl", _purged("ndctl")),
    "another package of a guest is purged": ("guest:package.cloud-guest-utils", _purged("cloud-guest-utils")),
    "a driver of a guest is not loaded at boot": ("guest:module.nd_pmem", _not_at_boot("nd_pmem")),
    "another driver of a guest is not loaded at boot": ("guest:module.dax_pmem", _not_at_boot("dax_pmem")),
    "the disk has grown": (_ROOT, _disk(2047, 2047)),
    "the file system lags behind": (_ROOT, _disk(4095, 2047)),
}
_INSIDE = ("vms", "guest", "guest")
_NAMESPACE = (*_INSIDE, "namespaces", "cxl")
CHANGED: tuple[tuple[Leaf, Any, str], ...] = (
    ((*_NAMESPACE, "mode"), "fsdax", _CXL),
    ((*_NAMESPACE, "map"), "dev", _CXL),
    ((*_NAMESPACE, "align"), "4KiB", _CXL),
    (_NAMESPACE, {"state": "absent"}, _CXL),
    ((*_INSIDE, "packages", 0), "tree", "guest:package.tree"),
    ((*_INSIDE, "packages", 1), "hello", "guest:package.hello"),
    ((*_INSIDE, "modules", "nd_pmem"), None, "guest:module.nd_pmem"),
    ((*_INSIDE, "modules", "dax_pmem"), None, "guest:module.dax_pmem"),
)
