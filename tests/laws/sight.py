"""Laws 6 and 7 as functions: what was undone on the machine, or changed in the spec, is seen.

They take the machine with its kinds, so that `mutations.py` can show what they catch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from cxlstate.core.address import Address, ScopedAddress
from cxlstate.engine.plan import Exit, Status
from cxlstate.engine.record import Cause
from cxlstate.simulator.world import Installed, Loaded, Unit, World
from tests.laws import sight_disks as disks
from tests.laws import sight_files as files
from tests.laws import sight_forwards as forwards
from tests.laws import sight_virtual as virtual
from tests.laws.bench import DROP_IN, GRUB_CFG, Bench

Host = dict[str, Any]

RICH: Host = {
    "packages": [
        "libvirt-daemon-system",
        "hello=2.10-5",
        "cxl | bash",
        "ndctl",
        {"name": "tree", "state": "absent"},
        "qemu-utils",
        "nftables",
    ],
    "services": {
        "libvirtd": {"enabled": True, "running": True},
        "cron": {"enabled": False, "running": False},
        "apt-daily.timer": {"masked": True},
        "virtlogd": {"masked": False, "running": True},
    },
    "users": {"admin": {"groups": ["kvm", "libvirt"]}, "daemon": {"groups": ["adm"]}},
    "grub": {
        "args": ["quiet", "splash", "a=1", "console=tty0", 'dyndbg="file x +p"', "x.price=$5", "a=1"],
        "absent": ["nomodeset", "x.none"],
    },
    "memmap": [
        {"size": "2GiB", "start": "320GiB", "type": "reserved"},
        {"size": "512MiB", "start": "64GiB", "type": "pmem"},
    ],
    "modules": {"kmem": "absent", "dummy": "present", "nd-pmem": "present", "virtio": "present"},
    "dax": {"cxl0": {"range": {"start": "322GiB", "size": "96GiB"}, "align": "2MiB"}},
    "mtrr": {
        "cxl0": {"cover": "dax.cxl0", "within": {"start": "320GiB", "end": "448GiB"}},
        "other": {"ranges": [{"start": "512GiB", "size": "64GiB"}], "type": "write-through"},
    },
    "images": virtual.IMAGES,
    "networks": virtual.NETWORKS,
    "vms": {**virtual.VMS, "guest": {**virtual.VMS["guest"], "guest": {**files.WORDS, **disks.WORDS}}},
    **files.WORDS,
    **forwards.WORDS,
}
"""At least one resource of every kind, and every leaf that a kind has."""


def applied(bench: Bench, host: Host = RICH) -> Bench:
    """The same bench with the spec in force."""
    done = bench.apply(bench.spec(host))
    assert done.exit is Exit.IN_SYNC, (done.diagnostics, done.plan)
    return bench


def where(name: str) -> ScopedAddress:
    """`package.ndctl` is of the host, `g1:package.ndctl` of a guest."""
    vm, _, address = name.rpartition(":")
    return ScopedAddress(f"bench/{vm}" if vm else "bench", Address.parse(address))


# 6: one effect undone --------------------------------------------------------------------------------

Undo = Callable[[Bench], None]


def _world(change: Callable[[World], None]) -> Undo:
    def undo(bench: Bench) -> None:
        with bench.world() as world:
            change(world)

    return undo


def _installed(name: str, version: str, status: str = "install ok installed") -> Undo:
    return _world(lambda world: world.installed.update({name: Installed(version, status)}))


def _unit(name: str, **values: Any) -> Undo:
    def change(world: World) -> None:
        world.units[name] = Unit(**{**vars(world.units[name]), **values})

    return _world(change)


def _unit_is(name: str, state: str | None) -> Undo:
    def change(world: World) -> None:
        world.running.units.pop(name, None)
        if state:
            world.running.units[name] = state

    return _world(change)


def _libvirtd_is_down(bench: Bench) -> None:
    """Neither the daemon nor the sockets that would start it."""
    with bench.world() as world:
        for name in [one for one in world.running.units if one.startswith("libvirtd")]:
            del world.running.units[name]


def _command_line(old: str, new: str) -> Undo:
    def change(world: World) -> None:
        assert old in world.running.command_line
        world.running.command_line = world.running.command_line.replace(old, new, 1)

    return _world(change)


def _edit(path: str, old: str, new: str, count: int = 1) -> Undo:
    return lambda bench: bench.edit(path, old, new, count)


def _remove(path: str) -> Undo:
    return lambda bench: bench.path(path).unlink()


def _out_of_group(user: str, group: str) -> Undo:
    return lambda bench: bench.run("gpasswd", "-d", user, group)


def _loaded(name: str, *, now: bool) -> Undo:
    def change(world: World) -> None:
        world.running.modules.pop(name, None)
        if now:
            world.running.modules[name] = Loaded()

    return _world(change)


def _boot_as_before(bench: Bench) -> None:
    """Somebody booted the machine with the command line of before."""
    with bench.world() as world:
        world.running.command_line = "BOOT_IMAGE=/x ro console=ttyS0 nomodeset"


def _device(**values: Any) -> Undo:
    """Somebody did something to the device by hand."""

    def change(world: World) -> None:
        (device,) = world.running.dax.values()
        vars(device).update(values)

    return _world(change)


def _link(target: str | None) -> Undo:
    def change(world: World) -> None:
        world.running.links.clear()
        if target:
            world.running.links["/dev/cxlstate/cxl0"] = target

    return _world(change)


def _without_register(base: str) -> Undo:
    def change(world: World) -> None:
        there = world.running.mtrr
        world.running.mtrr = [one for one in there if one.base != base]
        assert len(world.running.mtrr) == len(there) - 1

    return _world(change)


def _unit_is_off(bench: Bench) -> None:
    bench.run("systemctl", "disable", "cxlstate-restore.service")


_SCRIPT, _UNIT = "etc/cxlstate/restore", "etc/systemd/system/cxlstate-restore.service"
_LINE = "mtrr other 0x8000000000 0x1000000000 write-through"
_HALF = "install ok half-configured"
_AT_BOOT = "etc/modules-load.d/cxlstate-"

UNDONE: dict[str, tuple[str, Undo]] = {
    "a package is removed": ("package.ndctl", _installed("ndctl", "81-1", "deinstall ok config-files")),
    "a package is purged": ("package.ndctl", _world(lambda world: world.installed.pop("ndctl"))),
    "a package is half-configured": ("package.ndctl", _installed("ndctl", "81-1", _HALF)),
    "a package has another version": ("package.hello", _installed("hello", "2.10-4")),
    "a package is installed again": ("package.tree", _installed("tree", "2.2.1-1")),
    "the alternative is gone": ("package.cxl", _world(lambda world: world.installed.pop("bash"))),
    "a service is disabled": ("service.libvirtd", _unit("libvirtd.service", state="disabled")),
    "a service is stopped": ("service.libvirtd", _libvirtd_is_down),
    "a service has failed": ("service.libvirtd", _unit_is("libvirtd.service", "failed")),
    "a service is masked": ("service.libvirtd", _unit("libvirtd.service", masked=True)),
    "a service is enabled": ("service.cron", _unit("cron.service", state="enabled")),
    "a service is started": ("service.cron", _unit_is("cron.service", "active")),
    "a mask is taken away": ("service.apt-daily.timer", _unit("apt-daily.timer", masked=False)),
    "a mask is set": ("service.virtlogd", _unit("virtlogd.service", masked=True)),
    "a user is out of a group": ("user.admin", _out_of_group("admin", "kvm")),
    "another user is out of a group": ("user.daemon", _out_of_group("daemon", "adm")),
    "the drop-in is removed": ("grub", _remove(DROP_IN)),
    "the drop-in is edited": ("grub", _edit(DROP_IN, "splash", "splat", -1)),
    "the drop-in has a line more": ("grub", _edit(DROP_IN, "\n", "\nGRUB_TIMEOUT=9\n")),
    "an argument is out of one boot entry": ("grub", _edit(GRUB_CFG, " splash", "")),
    "an argument is once where it stood twice": ("grub", _edit(GRUB_CFG, " a=1", "")),
    "an argument to be absent is in one boot entry": ("grub", _edit(GRUB_CFG, " quiet", " quiet nomodeset")),
    "an argument to be absent has come back": ("grub", _edit(GRUB_CFG, " quiet", " x.none=7 quiet")),
    "the running kernel lacks an argument": ("grub", _command_line(" splash", "")),
    "the running kernel has one to be absent": ("grub", _command_line(" quiet", " quiet nomodeset")),
    "the machine was booted as it was before": ("grub", _boot_as_before),
    "a range is out of one boot entry": ("memmap", _edit(GRUB_CFG, " memmap=512M!64G", "")),
    "a range is out of every boot entry": ("memmap", _edit(GRUB_CFG, r" memmap=2G\$320G", "", -1)),
    "a range is not in force": ("memmap", _command_line(" memmap=512M!64G", "")),
    "a module is loaded again": ("module.kmem", _loaded("kmem", now=True)),
    "the running kernel has no blacklist": ("module.kmem", _command_line(" modprobe.blacklist=kmem", "")),
    "others have it loaded at boot": (
        "module.kmem",
        lambda bench: bench.write(f"{_AT_BOOT}kmem.conf", "kmem\n"),
    ),
    "a module is unloaded": ("module.dummy", _loaded("dummy", now=False)),
    "a module is no longer loaded at boot": ("module.nd-pmem", _remove(f"{_AT_BOOT}nd_pmem.conf")),
    "the file of a module was emptied": (
        "module.dummy",
        lambda bench: bench.write(f"{_AT_BOOT}dummy.conf", "# nothing\n"),
    ),
    "a register of a cover is gone": ("mtrr.cxl0", _without_register("0x6000000000")),
    "a written register is gone": ("mtrr.other", _without_register("0x8000000000")),
    "the device is not bound": ("dax.cxl0", _device(driver="", memory_type="")),
    "the device is mapped write-back": ("dax.cxl0", _device(memory_type="write-back")),
    "the device is aligned otherwise": ("dax.cxl0", _device(align=4096)),
    "the link is gone": ("dax.cxl0", _link(None)),
    "the link leads elsewhere": ("dax.cxl0", _link("../dax7.0")),
    "the boot script is removed": ("boot", _remove(_SCRIPT)),
    "a line is out of the boot script": ("boot", _edit(_SCRIPT, f"{_LINE}\n", "")),
    "the code of the boot script is edited": ("boot", _edit(_SCRIPT, "patience=60", "patience=6")),
    "the boot unit is edited": ("boot", _edit(_UNIT, "TimeoutStartSec=", "TimeoutStartSec=1")),
    "the boot unit is removed": ("boot", _remove(_UNIT)),
    "the boot unit is disabled": ("boot", _unit_is_off),
    "the package of images is purged": (
        "package.qemu-utils",
        _world(lambda world: world.installed.pop("qemu-utils")),
    ),
    "the package of rules is purged": (
        "package.nftables",
        _world(lambda world: world.installed.pop("nftables")),
    ),
    **virtual.UNDONE,
    **files.UNDONE,
    **disks.UNDONE,
    **forwards.UNDONE,
}  # fmt: skip


def is_seen(bench: Bench, undone: str, host: Host = RICH) -> None:
    """Law 6, on a bench where the spec is in force. AssertionError where it is not kept."""
    address, undo = UNDONE[undone]
    undo(bench)
    plan = bench.plan(bench.spec(host))
    found = plan.at(where(address))
    assert found is not None, f"{address} is not in the plan"
    assert found.status is not Status.IN_SYNC, f"{address} is said to be in sync"
    assert found.cause is Cause.DRIFTED, (address, found.cause)
    assert found.changes, f"{address} shows no difference"
    assert plan.exit in (Exit.CHANGES, Exit.PENDING), plan.exit


# 7: one leaf of the spec changed ---------------------------------------------------------------------

Leaf = tuple[str | int, ...]

# What a leaf is changed to, where it is not simply the other of two. A leaf of None is taken out.
CHANGED: tuple[tuple[Leaf, Any, str], ...] = (
    (("packages", 0), "ovmf", "package.ovmf"),
    (("packages", 1), "hello=2.10-4", "package.hello"),
    (("packages", 1), {"name": "hello", "state": "absent"}, "package.hello"),
    (("packages", 2), "cxl | gawk", "package.cxl"),
    (("packages", 3), {"name": "ndctl", "state": "absent"}, "package.ndctl"),
    (("packages", 4, "state"), "present", "package.tree"),
    (("packages", 4, "name"), "cron", "package.cron"),
    (("packages", 6), "daxctl", "package.daxctl"),
    (("services", "libvirtd", "enabled"), False, "service.libvirtd"),
    (("services", "libvirtd", "running"), False, "service.libvirtd"),
    (("services", "cron", "enabled"), True, "service.cron"),
    (("services", "cron", "running"), True, "service.cron"),
    (("services", "apt-daily.timer", "masked"), False, "service.apt-daily.timer"),
    (("services", "virtlogd"), {"masked": True}, "service.virtlogd"),
    (("services", "virtlogd", "running"), False, "service.virtlogd"),
    (("users", "admin", "groups", 0), "users", "user.admin"),
    (("users", "admin", "groups", 1), "users", "user.admin"),
    (("users", "daemon", "groups", 0), "kvm", "user.daemon"),
    (("grub", "args", 0), "loud", "grub"),
    (("grub", "args", 1), None, "grub"),
    (("grub", "args", 2), "a=2", "grub"),
    (("grub", "args", 4), 'dyndbg="file y +p"', "grub"),
    (("grub", "args", 5), "x.price=$6", "grub"),
    (("grub", "args", 6), None, "grub"),
    (("grub", "absent", 0), "console=ttyS0", "grub"),
    (("grub", "absent", 0), None, "grub"),
    (("grub", "absent", 1), "console=tty1", "grub"),
    (("memmap", 0, "size"), "1GiB", "memmap"),
    (("memmap", 0, "start"), "300GiB", "memmap"),
    (("memmap", 0, "type"), "acpi", "memmap"),
    (("memmap", 1, "size"), "1GiB", "memmap"),
    (("memmap", 1, "start"), "65GiB", "memmap"),
    (("memmap", 1, "type"), "reserved", "memmap"),
    (("memmap", 1), None, "grub"),
    (("modules", "kmem"), "present", "module.kmem"),
    (("modules", "dummy"), "absent", "module.dummy"),
    (("modules", "nd-pmem"), "absent", "module.nd-pmem"),
    (("modules", "kmem"), None, "grub"),
    (("modules", "dummy"), None, "module.dummy"),
    (("dax", "cxl0", "align"), "4KiB", "dax.cxl0"),
    (("dax", "cxl0", "state"), "disabled", "dax.cxl0"),
    (("mtrr", "cxl0", "within"), {"start": "322GiB", "end": "448GiB"}, "mtrr.cxl0"),
    (("mtrr", "cxl0"), None, "mtrr.cxl0"),
    (("mtrr", "other", "ranges", 0, "start"), "1TiB", "mtrr.other"),
    (("mtrr", "other", "ranges", 0, "size"), "32GiB", "mtrr.other"),
    (("mtrr", "other", "type"), "uncachable", "mtrr.other"),
    (("mtrr", "other", "state"), "absent", "mtrr.other"),
    (("mtrr", "other"), None, "mtrr.other"),
    *virtual.CHANGED,
    *files.CHANGED,
    *disks.CHANGED,
    *forwards.CHANGED,
)


def with_leaf(host: Host, path: Leaf, value: Any) -> Host:
    """The spec with another value at a place; None takes what stands there out."""
    changed = copy.deepcopy(host)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


def is_not_in_sync(bench: Bench, path: Leaf, value: Any, address: str, host: Host = RICH) -> None:
    """Law 7, on a bench where the spec is in force. AssertionError where it is not kept."""
    spec = bench.spec(with_leaf(host, path, value))
    plan = bench.plan(spec)
    found = plan.at(where(address))
    assert found is not None, f"{address} is not in the plan"
    assert found.status is not Status.IN_SYNC, f"{address} is said to be in sync"
    assert found.changes, f"{address} shows no difference"
    # Of an address that no spec had before nothing was ever applied: nobody can tell.
    at = where(address)
    named = any(
        at == ScopedAddress(machine.id, one.address) for machine in spec.machines for one in machine.resources
    )
    vm = at.machine.partition("/")[2]
    records = (bench.guests()[vm] if vm else bench).records()
    never = named and str(at.address) not in map(unquote, records)
    assert found.cause is (Cause.UNDETERMINED if never else Cause.UNAPPLIED), (address, found.cause)
    assert plan.exit is Exit.CHANGES, plan.exit
