"""Changes of a domain that runs, as `machine/libvirt/live.py` asks libvirt for them.

Sources: libvirt 11.3 `qemuDomainPinVcpuFlags`, `qemuDomainSetNumaParamsLive`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from cxlstate.core.effect import Effect
from cxlstate.core.libvirt import LinkInterface, PinDomain, PinOf, TuneNuma
from cxlstate.core.units import format_cpus
from cxlstate.formats.domain_xml.read import iothread_ids, max_vcpu
from cxlstate.formats.xml import Element
from cxlstate.machine.performing import performer
from cxlstate.simulator.libvirt import devices, live
from cxlstate.simulator.libvirt.process import check_nodes, host_cpus, host_nodes
from cxlstate.simulator.libvirt.refused import ARGUMENT, INVALID, Refused, not_running
from cxlstate.simulator.libvirt.text import under, written
from cxlstate.simulator.world import ActiveDomain, World

Change = PinDomain | TuneNuma | LinkInterface


class Tuning:
    """Changes running domains of one machine."""

    def __init__(self, world: World) -> None:
        self._world = world

    def change(self, effect: Change, root: Element, active: ActiveDomain | None) -> None:
        """Of the domain with this XML, the active one if it runs. Raises Refused."""
        performer(self.CHANGES, type(effect))(self, effect, root, active)
        if active is not None:
            active.xml = written(root)

    def _pin(self, effect: PinDomain, root: Element, active: ActiveDomain | None) -> None:
        missing = effect.cpus - host_cpus(self._world)
        if missing:
            there = f"{format_cpus(missing)} is not there or not on"
            raise Refused(f"of the CPUs {format_cpus(effect.cpus)}, {there}")
        if active is None:
            raise not_running()
        if not effect.cpus:
            raise Refused("Empty cpu list for pinning", ARGUMENT)
        number, count = effect.number, max_vcpu(root)
        match effect.of:
            case PinOf.VCPU:
                if number >= count:
                    raise Refused(f"vcpu {number} is out of range of live cpu count {count}", ARGUMENT)
                live.pin(root, "vcpupin", "vcpu", number, effect.cpus)
                active.affinity[number] = format_cpus(effect.cpus)
            case PinOf.EMULATOR:
                live.pin(root, "emulatorpin", "", 0, effect.cpus)
            case PinOf.IOTHREAD:
                if number not in iothread_ids(root):
                    raise Refused(f"iothread {number} not found", ARGUMENT)
                live.pin(root, "iothreadpin", "iothread", number, effect.cpus)

    def _tune(self, effect: TuneNuma, root: Element, active: ActiveDomain | None) -> None:
        if active is None:
            raise not_running()
        one = root.find("numatune/memory")
        if one is not None and one.get("mode") != "restrictive":
            raise Refused("change of nodeset for running domain requires restrictive numa mode", INVALID)
        check_nodes(effect.nodeset, host_nodes(self._world))
        one = under(under(root, "numatune"), "memory")
        one.set("mode", one.get("mode", "strict"))
        one.set("nodeset", format_cpus(effect.nodeset))

    def _link(self, effect: LinkInterface, root: Element, active: ActiveDomain | None) -> None:
        for one in root.findall("devices/interface"):
            if devices.mac(one) == effect.mac.lower():
                if active is None:
                    raise not_running()
                under(one, "link").set("state", "up" if effect.up else "down")
                return
        raise Refused(f"none of its interfaces has the address {effect.mac}")

    CHANGES: ClassVar[dict[type[Effect], Callable[[Tuning, Any, Element, ActiveDomain | None], None]]] = {
        PinDomain: _pin,
        TuneNuma: _tune,
        LinkInterface: _link,
    }
