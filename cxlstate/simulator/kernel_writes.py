"""Writes to files of the kernel: what `tell` of the boot script comes to. 0, or the number of the error.

Sources: Linux 6.12 drivers/dax/bus.c (`do_id_store`, `align_store`), drivers/base/bus.c (`bind_store`,
`unbind_store`), drivers/base/memory.c (`state_store`), arch/x86/kernel/cpu/mtrr/if.c.
"""

from __future__ import annotations

import errno

from cxlstate.simulator import mtrr
from cxlstate.simulator.dax import DEVDAX, Bus
from cxlstate.simulator.world import World

_STATES = {"online": False, "online_movable": False, "online_kernel": False, "offline": True}


def write(world: World, path: str, line: str) -> int:
    """One line, to one file."""
    bus = Bus(world)
    match path.split("/")[1:]:
        case ["proc", "mtrr"] if world.mtrr.registers:
            return mtrr.write(world, f"{line}\n")
        case ["proc", "sys", "net", "ipv4", "ip_forward"]:
            world.running.ip_forward = line != "0"
            return 0
        case ["sys", "bus", "dax", "devices", name, "align"] if name in bus.devices:
            return bus.set_align(name, int(line))
        case ["sys", "bus", "dax", "drivers", driver, file]:
            return _to_driver(bus, driver, file, line)
        case ["sys", "devices", "system", "memory", block, "state"] if line in _STATES:
            return bus.set_block(int(block.removeprefix("memory")), offline=_STATES[line])
    return errno.ENOENT


def _to_driver(bus: Bus, driver: str, file: str, name: str) -> int:
    """A new id binds too; that this failed is not told to who writes it."""
    if name not in bus.devices:
        return errno.ENODEV
    match file:
        case "new_id" | "bind" if driver == DEVDAX:
            number = bus.bind(name)
            return number if file == "bind" else 0
        case "remove_id":
            return 0
        case "unbind" if bus.devices[name].driver == driver:
            bus.unbind(name)
            return 0
    return errno.ENODEV
