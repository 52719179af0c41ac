"""The files in /proc, /sys and /dev that the kernel computes, and of /run what libvirt keeps of its networks.

Sources: fs/proc/cmdline.c, kernel/resource.c, kernel/module/procfs.c, mm/vmstat.c (`zoneinfo_show_print`),
drivers/base/memory.c, drivers/firmware/memmap.c, and those of `dax.py` and `mtrr.py`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from cxlstate.core.units import format_cpus
from cxlstate.formats import cloud_init, kernel_cmdline
from cxlstate.formats.domain_xml import meaning
from cxlstate.simulator import mtrr
from cxlstate.simulator.blocks import Blocks
from cxlstate.simulator.dax import BLOCK, DEVDAX, KMEM, Bus, bounds, names_no_soft_reserved, regions
from cxlstate.simulator.memory import NAMES, PMEM, RAM, SOFT_RESERVED, TYPES, Range, boot_map
from cxlstate.simulator.mounts import mountinfo
from cxlstate.simulator.ndctl import Nd
from cxlstate.simulator.net import Devices
from cxlstate.simulator.world import Dax, Online, Region, World
from cxlstate.simulator.zones import nodes_of_ram, zoneinfo

PAT = "/sys/kernel/debug/x86/pat_memtype_list"
_ADDRESS = "0xffffffffc0000000"
_HIDDEN = "0x0000000000000000"
_SIZE = 16384


def memory_map(world: World) -> list[Range]:
    """The memory map that the running kernel works with."""
    given = kernel_cmdline.parse(world.running.command_line)
    return boot_map([_range(one) for one in world.firmware], [(one.name, one.value) for one in given])


def computed(world: World) -> dict[str, bytes]:
    """Every file that the kernel computes, by path."""
    running = world.running
    memory = memory_map(world)
    bus = Bus(world)
    files = {
        "/proc/cpuinfo": _cpuinfo(world),
        "/proc/cmdline": running.command_line + "\n",
        "/proc/iomem": _iomem(world, memory),
        "/proc/modules": _modules(world),
        "/proc/self/mountinfo": mountinfo(world),
        "/proc/uptime": _uptime(world),
        "/proc/zoneinfo": zoneinfo(nodes_of_ram(world, memory), running.online),
        "/proc/sys/kernel/random/boot_id": running.boot_id + "\n",
        "/proc/sys/net/ipv4/ip_forward": f"{int(running.ip_forward)}\n",
        "/proc/sys/kernel/osrelease": running.kernel + "\n",
        "/sys/devices/system/memory/block_size_bytes": f"{BLOCK:x}\n",
        **running.files,
        **_old_tables(world),
        **{f"/run/libvirt/network/{name}.xml": "<networkstatus/>\n" for name in running.networks},
        **dict.fromkeys(_domain_status(world), "<domstatus/>\n"),
        **dict(_of_processes(world)),
    }
    for number, region in enumerate(world.firmware):
        for name, value in (("start", region.start), ("end", region.end), ("type", region.type)):
            files[f"/sys/firmware/memmap/{number}/{name}"] = value + "\n"
    cpus = {**{one.node: "" for one in running.online}, **dict(enumerate(world.cpus))}
    for number, its in cpus.items():
        files[f"/sys/devices/system/node/node{number}/cpulist"] = its + "\n"
    files["/sys/devices/system/node/online"] = format_cpus(frozenset(cpus)) + "\n"
    all_of_them = ",".join(its for its in world.cpus if its)
    files["/sys/devices/system/cpu/online"] = format_cpus(meaning.cpus(all_of_them)) + "\n"
    if "dax_hmem" in running.modules:
        for number, _ in regions(world, memory):
            files[f"/sys/module/dax_hmem/drivers/platform:hmem/hmem.{number}/modalias"] = "platform:hmem\n"
    for name in _dax_drivers(world):
        files[f"/sys/bus/dax/drivers/{name}/uevent"] = ""
    files.update(bus.files())
    files.update(Nd(world, lambda _: None).files())
    files.update(Blocks(world).files())
    files.update(Devices(world).files())
    if world.mtrr.registers:
        files["/proc/mtrr"] = mtrr.of(world).text()
    if world.debugfs != "absent":
        files[PAT] = bus.pat()
    return {path: text.encode("utf-8", "surrogateescape") for path, text in files.items()}


def of_memory(world: World) -> dict[str, str]:
    """Those of them that the boot script looks at."""
    bus = Bus(world)
    files = {
        "/proc/iomem": _iomem(world, memory_map(world)),
        "/proc/uptime": _uptime(world),
        **_old_tables(world),
        "/sys/devices/system/memory/block_size_bytes": f"{BLOCK:x}\n",
        **{f"/sys/bus/dax/drivers/{name}/uevent": "" for name in _dax_drivers(world)},
        **dict(bus.blocks()),
        **{path: text for path, text in bus.files() if path.startswith("/sys/bus/") and "/../" not in path},
    }
    if world.mtrr.registers:
        files["/proc/mtrr"] = mtrr.of(world).text()
    if world.debugfs == "mounted":
        files[PAT] = bus.pat()
    return files


def links(world: World) -> dict[str, str]:
    """Every symbolic link of the kernel and in /dev, by path."""
    found = {
        **world.running.links,
        **dict(Bus(world).links()),
        **dict(Devices(world).links()),
        **dict(Blocks(world).links()),
    }
    for start, end, node in (*nodes_of_ram(world, memory_map(world)), *_added(world)):
        for number in range(start // BLOCK, -(-end // BLOCK)):
            found[f"/sys/devices/system/node/node{node}/memory{number}"] = f"../../memory/memory{number}"
    if world.power.seed:
        found[cloud_init.LABEL] = "../../vdz"
    return found


def refused(world: World) -> dict[str, int]:
    """Why a file of the kernel cannot be opened, by path: lockdown refuses root too."""
    if world.login.root:
        return {PAT: errno.EPERM} if world.debugfs == "locked" else {}
    nd = Nd(world, lambda _: None)
    private = dict.fromkeys(
        (*Bus(world).private(), *nd.private(), *_domain_status(world), *_old_tables(world), PAT), errno.EACCES
    )
    return {**private, "/proc/mtrr": errno.EPERM}


def _old_tables(world: World) -> dict[str, str]:
    """The tables of iptables-legacy, for root alone; the file is there with their module."""
    names = world.running.iptables.get("legacy", {})
    return {"/proc/net/ip_tables_names": "".join(f"{name}\n" for name in names)} if names else {}


def _domain_status(world: World) -> list[str]:
    """Libvirt's file of each domain while its process lives, for root alone (virXMLSaveFile)."""
    alive = {one.pid for one in world.running.processes}
    domains = world.running.domains.items()
    return [f"/run/libvirt/qemu/{name}.xml" for name, one in domains if one.pid in alive]


def _of_processes(world: World) -> Iterator[tuple[str, str]]:
    """When each process of a domain started; QEMU writes the file with its number."""
    for one in (one for one in world.running.processes if one.guest):
        yield f"/run/libvirt/qemu/{one.guest}.pid", f"{one.pid}\n"
        yield f"/proc/{one.pid}/stat", f"{one.pid} (qemu-system-x86) S {'0 ' * 18}{one.started * 100} 0\n"


def _cpuinfo(world: World) -> str:
    """Of `show_cpuinfo` (arch/x86/kernel/cpu/proc.c) what is looked at."""
    cpus = sorted(meaning.cpus(",".join(its for its in world.cpus if its)))
    width = f"address sizes\t: {world.mtrr.width} bits physical, 48 bits virtual\n"
    return "".join(f"processor\t: {number}\n{width}\n" for number in cpus)


def _uptime(world: World) -> str:
    return f"{world.running.uptime}.00 {world.running.uptime}.00\n"


def _dax_drivers(world: World) -> Iterator[str]:
    """Those that are loaded; one without a module is registered where it set up devices."""
    yield from (name for name in (DEVDAX, KMEM) if name in world.running.modules)
    if names_no_soft_reserved(world.running.kernel):
        yield "fsdev_dax"
    if KMEM not in world.running.modules and any(one.driver == KMEM for one in world.running.dax.values()):
        yield KMEM


def _added(world: World) -> Iterator[tuple[int, int, int]]:
    for one in world.running.online:
        yield (*bounds(one), one.node)


def _range(region: Region) -> Range:
    return Range(int(region.start, 16), int(region.end, 16) + 1, TYPES[region.type])


def _iomem(world: World, memory: list[Range]) -> str:
    """`r_show()`: two blanks a level, inclusive ends; without CAP_SYS_ADMIN every address is zero."""
    lines: list[str] = []

    def line(depth: int, start: int, end: int, name: str) -> None:
        low, high = (start, end - 1) if world.login.root else (0, 0)
        lines.append(f"{'  ' * depth}{low:08x}-{high:08x} : {name}")

    dimms = [Range(int(one.start, 16), int(one.end, 16) + 1, PMEM) for one in world.power.dimms]
    image = _range(Region(world.kernel_image.start, world.kernel_image.end, NAMES[RAM]))
    newer = names_no_soft_reserved(world.running.kernel)
    for one in (*memory, *dimms):  # those of the NFIT are not in the firmware's map
        if not (newer and one.type == SOFT_RESERVED):
            line(0, one.start, one.end, NAMES.get(one.type, "Unknown E820 type"))
        if one.type == RAM and one.start <= image.start and image.end <= one.end:
            line(1, image.start, image.end, world.kernel_image.type)
        if one.type == SOFT_RESERVED:
            for depth, start, end, name in _taken(world, one):
                line(depth - newer, start, end, name)
    return "\n".join(lines) + "\n"


def _taken(world: World, region: Range) -> Iterator[tuple[int, int, int, str]]:
    """What drivers have requested of a range: device_dax all of it, kmem the blocks that it made RAM."""
    inside: list[tuple[str, Dax | Online]] = [
        *((name, one) for name, one in world.running.dax.items() if one.driver == "device_dax"),
        *((one.name, one) for one in world.running.online),
    ]
    for name, one in inside:
        start, end = bounds(one)
        if region.start <= start and end <= region.end:
            yield 1, start, end, name
            if isinstance(one, Online):  # register_memory_resource() in mm/memory_hotplug.c: offline, too
                yield 2, start, end, "System RAM (kmem)"


def _modules(world: World) -> str:
    """`m_show()`: the newest first."""
    address = _ADDRESS if world.login.root else _HIDDEN
    lines = []
    for name, loaded in reversed(world.running.modules.items()):
        users = "".join(f"{user}," for user in loaded.used_by) or "-"
        count = loaded.references + len(loaded.used_by)
        lines.append(f"{name} {_SIZE} {count} {users} Live {address}\n")
    return "".join(lines)
