"""QEMU starts: what has to be there for it, and what it holds then.

Sources: libvirt 11.3 `qemuProcessPrepareHost`, `virNumaNodesetIsAvailable`, `qemuProcessInitCpuAffinity`,
QEMU 10 `backends/hostmem-file.c`; looked at on Debian 13.
"""

from __future__ import annotations

import os
import posixpath
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from cxlstate.core.units import format_cpus
from cxlstate.formats.domain_xml import meaning
from cxlstate.formats.domain_xml.read import nvdimm
from cxlstate.formats.xml import Element
from cxlstate.simulator import net
from cxlstate.simulator.dax import DEVDAX
from cxlstate.simulator.files import Files
from cxlstate.simulator.libvirt import devices, live, memory
from cxlstate.simulator.libvirt.complete import NVRAM
from cxlstate.simulator.libvirt.networks import Networks
from cxlstate.simulator.libvirt.qemu import EMULATOR
from cxlstate.simulator.libvirt.refused import INTERNAL, INVALID, UNSUPPORTED, Refused
from cxlstate.simulator.libvirt.text import under, written
from cxlstate.simulator.world import ActiveDomain, Process, Tap, World

_PINS = ("cputune/vcpupin", "cputune/emulatorpin", "cputune/iothreadpin")


def _check_qemu(root: Element) -> None:
    """By virQEMUCapsIsCPUModeSupported of libvirt, and system/vl.c of QEMU."""
    if root.get("type") == "qemu" and root.find("cpu[@mode='host-passthrough']") is not None:
        mode = "CPU mode 'host-passthrough' for x86_64 qemu domain on x86_64 host"
        raise Refused(f"{mode} is not supported by hypervisor", UNSUPPORTED)
    for tag, option in (("cmdline", "-append"), ("initrd", "-initrd")):
        if root.findtext(f"os/{tag}") and not root.findtext("os/kernel"):
            raise Refused(f"{EMULATOR}: {option} only allowed with -kernel option", INTERNAL)


class Processes:
    """Starts the processes of domains on one machine."""

    def __init__(self, world: World, files: Files, networks: Networks) -> None:
        self._world = world
        self._files = files
        self._networks = networks

    def start(self, root: Element) -> None:
        """Of a persistent definition, which becomes the active one. Raises Refused: nothing has changed."""
        name = root.findtext("name") or ""
        _check_qemu(root)
        self._check_nodes(root)
        self._check_networks(root)
        for path in self._files_needed(root):
            if not self._files.exists(path):
                raise Refused(f"Cannot access storage file '{path}': No such file or directory")
        for tag in ("kernel", "initrd"):
            path = root.findtext(f"os/{tag}") or ""
            if path and not self._files.exists(path):
                raise Refused(f"unable to stat: {path}: No such file or directory")
        holds = [*self._nvdimms(root), *self._files_needed(root)]
        self._check_pins(root, name)
        running = self._world.running
        pid = running.next_pid
        number = max((one.id for one in running.domains.values()), default=0) + 1
        running.processes.append(Process(pid, holds, _command(root, name), name, running.uptime))
        self._nvram(root)
        live.start(root, number, self._networks.bridges())
        affinity = live.affinity(root, format_cpus(host_cpus(self._world)))
        running.domains[name] = ActiveDomain(number, pid, written(root), affinity, str(uuid.uuid4()))
        self._plug(root, name)

    def _check_nodes(self, root: Element) -> None:
        there = host_nodes(self._world)
        for one in (*root.findall("numatune/memory"), *root.findall("numatune/memnode")):
            check_nodes(meaning.cpus(one.get("nodeset")), there)

    def _check_networks(self, root: Element) -> None:
        for plug in root.findall("devices/interface/source[@network]"):
            name = plug.get("network", "")
            if name in self._networks.active:
                continue
            if self._networks.definition(name) is None:
                raise Refused(f"Network not found: no network with matching name '{name}'")
            raise Refused(f"network '{name}' is not active", INVALID)
        bridges = net.Devices(self._world).bridges
        for plug in root.findall("devices/interface[@type='bridge']/source"):
            if plug.get("bridge") not in bridges:
                raise Refused(f"Cannot get interface MTU on '{plug.get('bridge')}': No such device")

    def _check_pins(self, root: Element, name: str) -> None:
        cpus = host_cpus(self._world)
        for path in _PINS:
            for one in root.findall(path):
                if not meaning.cpus(one.get("cpuset")) <= cpus:
                    scope = rf"machine.slice/machine-qemu\x2d{name}.scope/libvirt"
                    why = f"Unable to write to '/sys/fs/cgroup/{scope}/vcpu0/cpuset.cpus'"
                    raise Refused(f"{why}: Numerical result out of range")

    def _files_needed(self, root: Element) -> list[str]:
        return [path for one in root.findall("devices/disk") if (path := devices.source(one))]

    def _nvdimms(self, root: Element) -> Iterator[str]:
        """What each NVDIMM opens: a dax device, by its name, or else a file."""
        for one in root.findall("devices/memory[@model='nvdimm']"):
            path = one.findtext("source/path") or ""
            device = device_of(self._world, path)
            if device is None and not self._files.is_file(path):
                raise Refused(f"Path '{path}' is not accessible: No such file or directory")
            wanted = memory.kib(one, "target/size") * meaning.KIB
            if device is None:
                has = self._files.stat(path).st_size
                if 0 < has < wanted:  # qemu_ram_alloc_from_fd
                    why = f"backing store size {has:#x} does not match 'size' option {wanted:#x}"
                    raise _ended(why)
                yield path
                continue
            if self._world.running.dax[device].driver != DEVDAX:
                raise Refused(f"unable to open {path}: No such device or address")
            # One that is too small starts: QEMU is confined, and may not read the size.
            aligned = memory.kib(one, "source/alignsize") * meaning.KIB
            least = max(self._world.running.dax[device].align, self._world.region_align)
            ends = -(-wanted // meaning.MODULE_STEP) * meaning.MODULE_STEP
            if nvdimm(one).access != "shared" or aligned < least or ends % least:
                # check_vma in drivers/dax/device.c; QEMU maps at 4 KiB where nothing says otherwise.
                raise _ended("unable to map backing store for guest RAM: Invalid argument")
            yield device

    def _plug(self, root: Element, name: str) -> None:
        running = self._world.running
        for one in root.findall("devices/interface"):
            plug = one.find("source")
            network = None if plug is None else plug.get("network")
            if network:
                self._networks.active[network].ports[devices.mac(one)] = name
            if not devices.target(one):
                free = (f"vnet{number}" for number in range(len(running.taps) + 1))
                under(one, "target").set("dev", next(tap for tap in free if tap not in running.taps))
            isolated = one.find("port[@isolated='yes']") is not None
            bridge = "" if plug is None else plug.get("bridge", "")
            running.taps[devices.target(one)] = Tap(bridge, isolated)
        running.domains[name].xml = written(root)

    def _nvram(self, root: Element) -> None:
        """Made from its template, where it is not there."""
        path = root.findtext("os/nvram")
        if path and path.startswith(NVRAM) and not self._files.exists(path):
            self._files.write(path, b"", mode=0o600)


def _ended(said: str) -> Refused:
    """QEMU's last words."""
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} qemu-system-x86_64"
    return Refused(f"process exited while connecting to monitor: {at}: {said}", INTERNAL)


def host_cpus(world: World) -> frozenset[int]:
    """All CPUs of the machine."""
    return frozenset().union(*(meaning.cpus(cpus) for cpus in world.cpus))


def host_nodes(world: World) -> frozenset[int]:
    """All nodes of the machine that have memory."""
    return frozenset(range(len(world.cpus))) | {one.node for one in world.running.online}


def check_nodes(wanted: frozenset[int], there: frozenset[int]) -> None:
    """Raises Refused."""
    for node in sorted(wanted - there):
        raise Refused(f"NUMA node {node} is unavailable", UNSUPPORTED)


def device_of(world: World, path: str) -> str | None:
    """The dax device that a path leads to, if there is one."""
    link = world.running.links.get(path)
    target = path if link is None else posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    folder, name = os.path.split(target)
    return name if folder == "/dev" and name in world.running.dax else None


def _command(root: Element, name: str) -> str:
    words = f"{EMULATOR} -name guest={name.replace(',', ',,')},debug-threads=on -S"
    for one in root.findall("devices/memory[@model='nvdimm']"):
        words += f" -object memory-backend-file,mem-path={one.findtext('source/path')},share=on"
    return words
