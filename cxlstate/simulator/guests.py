"""The machines in the domains of a simulated host: each a folder in its folder `guests`, like any machine.

It lives and dies with its domain: a start of the domain boots it, with the NVDIMMs of that start, and while
the domain does not run nothing reaches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cxlstate.core.diagnostic import CxlstateError, fail
from cxlstate.formats.domain_xml import meaning
from cxlstate.formats.xml import Element
from cxlstate.simulator import first_boot
from cxlstate.simulator.files import Files
from cxlstate.simulator.folder import load, save
from cxlstate.simulator.libvirt import devices
from cxlstate.simulator.libvirt.process import device_of
from cxlstate.simulator.libvirt.text import document
from cxlstate.simulator.world import ActiveDomain, Dimm, Guest, Nvdimm, Power, World, Written

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


def power(world: World, domain: ActiveDomain, files: Files) -> Power:
    """What a start of a domain boots its machine with. QEMU puts the label area behind what is mapped.

    `world` and `files` are those of the host, where the memory and the disks are.
    """
    dimms, root = [], document(domain.xml, "domain")
    disks = filter(None, map(devices.source, root.findall("devices/disk")))
    seed = next((path for path in disks if seed_in(files, path)), "")
    for one in root.findall("devices/memory[@model='nvdimm']"):
        place = one.find("address")
        assert place is not None  # noqa: S101  # of everything that was started
        start, label = int(place.get("base", ""), 16), _size(one, "target/label/size")
        end = start + _size(one, "target/size") - label - 1
        source = _source(world, one.findtext("source/path") or "")
        dimms.append(Dimm(int(place.get("slot", "")), hex(start), hex(end), label, source))
    return Power(domain.start, dimms, seed)


def seed_in(files: Files, path: str) -> dict[str, bytes] | None:
    """What cloud-init finds on a disk, if that is a seed; what virt-customize made of one, if it did."""
    if not files.is_file(path):
        return None
    of = first_boot.seed_of if path.endswith(".iso") else first_boot.made_of
    return of(files.read(path))


def _source(world: World, path: str) -> str:
    device = device_of(world, path)
    return world.running.dax[device].start if device else path


def _size(one: Element, path: str) -> int:
    found = one.find(path)
    return 0 if found is None else meaning.size(found.text or "", found.get("unit"))


# What is in their NVDIMMs ------------------------------------------------------------------------------


def host_of(inside: Path) -> Path:
    """The folder of the host of a machine in one of its domains."""
    return inside.parent.parent


def plug_in(host: Path, machine: World) -> None:
    """Give a machine that boots the NVDIMMs of its start; its kernel reads their labels once, now."""
    memory = load(host).memory
    dimms = sorted(machine.power.dimms, key=lambda one: one.slot)
    machine.nvdimms = [_nvdimm(number, one, _written(memory, one)) for number, one in enumerate(dimms)]


def keep(host: Path, power: Power, dimm: Nvdimm) -> None:
    """Write what is in an NVDIMM into the memory behind it, where others see it."""
    world, behind = load(host), _behind(power, dimm)
    world.memory = [one for one in world.memory if one.source != behind.source]
    world.memory.append(
        Written(behind.source, _mapped(behind), dimm.labelled, dimm.made, list(dimm.namespaces))
    )
    save(world, host)


def labels(host: Path, power: Power, dimm: Nvdimm) -> Nvdimm:
    """What an NVDIMM's label area says now, which another machine may have written."""
    return _nvdimm(0, behind := _behind(power, dimm), _written(load(host).memory, behind))


def lose(world: World) -> None:
    """The power goes: nothing is left in the memory of dax devices."""
    world.memory = [one for one in world.memory if one.source.startswith("/")]


def _behind(power: Power, dimm: Nvdimm) -> Dimm:
    return next(one for one in power.dimms if one.slot + 1 == dimm.handle)


def _mapped(one: Dimm) -> int:
    return int(one.end, 16) + 1 - int(one.start, 16)


def _written(memory: Sequence[Written], dimm: Dimm) -> Written:
    """Of another size, there is nothing where this one's labels are looked for."""
    there = (one for one in memory if (one.source, one.size) == (dimm.source, _mapped(dimm)))
    return next(there, Written(dimm.source, _mapped(dimm)))


def _nvdimm(number: int, dimm: Dimm, written: Written) -> Nvdimm:
    """The kernel's names have the number of the region."""
    spaces = [
        replace(one, name=f"namespace{number}.{one.name.partition('.')[2]}") for one in written.namespaces
    ]
    return Nvdimm(dimm.start, dimm.end, dimm.slot + 1, dimm.label, written.labelled, written.made, spaces)


# Whether they run --------------------------------------------------------------------------------------


def active(world: World, vm: str) -> ActiveDomain | None:
    """The domain, while its process runs."""
    found = world.running.domains.get(vm)
    alive = found is not None and any(one.pid == found.pid for one in world.running.processes)
    return found if alive else None


def check_runs(host: Path, vm: str, machine: str) -> ActiveDomain:
    """The domain. Raises CxlstateError: CXC122 where it does not answer, CXC106 where it lets nobody in."""
    world = load(host)
    domain = active(world, vm) if world.running.boot_id else None
    if domain is None:
        raise _unreached(machine, f"{vm} does not run", "start the VM: an apply does where the spec says so")
    inside = folder(host, vm)
    if inside.exists() and load(inside).power.start != domain.start:
        raise _unreached(machine, f"it was not booted by this start of {vm}", "start the VM again")
    match world.guests.get(vm, Guest()).ssh:
        case "silent":
            raise _unreached(machine, "it does not answer", f"wait until {vm} has booted")
        case "refuses":
            raise _refused(machine)
    return domain


def _refused(machine: str) -> CxlstateError:
    return fail(
        "CXC106",
        f"authentication failed on {machine}: the server accepted none of the keys",
        machine=machine,
        found='"ssh": "refuses" under "guests" in machine.json of its host',
        expected='"answers"',
        hint='set "ssh" to "answers" there',
    )


def _unreached(machine: str, found: str, hint: str) -> CxlstateError:
    return fail(
        "CXC122",
        f"{machine} cannot be reached from its host",
        machine=machine,
        found=found,
        expected="a simulated guest that runs",
        hint=hint,
    )
