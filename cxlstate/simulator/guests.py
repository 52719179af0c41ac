"""The machines in the domains of a simulated host: each a folder in its folder `guests`, like any machine.

It lives and dies with its domain: a start of the domain boots it, with the NVDIMMs of that start, and while
the domain does not run nothing reaches it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import quote

from cxlstate.core.diagnostic import CxlstateError, fail
from cxlstate.formats.domain_xml import meaning
from cxlstate.formats.xml import Element
from cxlstate.simulator import first_boot
from cxlstate.simulator.files import Files
from cxlstate.simulator.libvirt import devices
from cxlstate.simulator.libvirt.text import document
from cxlstate.simulator.world import ActiveDomain, Dimm, Power, World, load

FIRMWARE: Final = (
    ("0x0", "0x9ffff", "System RAM"),
    ("0xa0000", "0xfffff", "Reserved"),
    ("0x100000", "0x7fffffff", "System RAM"),
    ("0x80000000", "0xffffffff", "Reserved"),
)
"""What a guest has that nobody has made by hand: 2 GiB, whatever its domain says."""


def folder(host: Path, vm: str) -> Path:
    """Of the machine in a domain of the host in a folder."""
    name = quote(vm, safe="@:+,")
    return host / "guests" / (f"%2E{name[1:]}" if name.startswith(".") else name)


def power(domain: ActiveDomain, files: Files) -> Power:
    """What a start of a domain boots its machine with. QEMU puts the label area behind what is mapped.

    `files` are those of the host, where the disks are.
    """
    dimms, root = [], document(domain.xml, "domain")
    disks = filter(None, map(devices.source, root.findall("devices/disk")))
    seed = next((path for path in disks if seed_in(files, path) is not None), "")
    for one in root.findall("devices/memory[@model='nvdimm']"):
        place = one.find("address")
        assert place is not None  # noqa: S101  # of everything that was started
        start, label = int(place.get("base", ""), 16), _size(one, "target/label/size")
        end = start + _size(one, "target/size") - label - 1
        dimms.append(Dimm(int(place.get("slot", "")), hex(start), hex(end), label))
    return Power(domain.start, dimms, seed)


def seed_in(files: Files, path: str) -> dict[str, bytes] | None:
    """What cloud-init finds on a disk, if that is a seed."""
    return first_boot.seed_of(files.read(path)) if path.endswith(".iso") and files.is_file(path) else None


def _size(one: Element, path: str) -> int:
    found = one.find(path)
    return 0 if found is None else meaning.size(found.text or "", found.get("unit"))


def active(world: World, vm: str) -> ActiveDomain | None:
    """The domain, while its process runs."""
    found = world.running.domains.get(vm)
    alive = found is not None and any(one.pid == found.pid for one in world.running.processes)
    return found if alive else None


def check_runs(host: Path, vm: str, machine: str) -> ActiveDomain:
    """The domain. Raises CxlstateError CXC122 where the machine in it cannot be reached."""
    world = load(host)
    domain = active(world, vm) if world.running.boot_id else None
    if domain is None:
        raise _unreached(machine, f"{vm} does not run", "start the VM: an apply does where the spec says so")
    inside = folder(host, vm)
    if inside.exists() and load(inside).power.start != domain.start:
        raise _unreached(machine, f"it was not booted by this start of {vm}", "start the VM again")
    return domain


def _unreached(machine: str, found: str, hint: str) -> CxlstateError:
    return fail(
        "CXC122",
        f"{machine} cannot be reached from its host",
        machine=machine,
        found=found,
        expected="a simulated guest that runs",
        hint=hint,
    )
