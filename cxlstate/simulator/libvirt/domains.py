"""libvirt's domains: defined, running, and changed while they do.

Sources: libvirt 11.3 `src/qemu/qemu_driver.c`, `qemu_process.c`; looked at on Debian 13. What the tool itself
says before it asks libvirt is in the words of `machine/libvirt/domains.py` and `live.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, ClassVar, Protocol

from cxlstate.core.effect import Effect
from cxlstate.core.libvirt import (
    AGAIN,
    AS_IT_RAN,
    AutostartDomain,
    DefineDomain,
    DetachDisk,
    DomainEffect,
    EditDomain,
    LinkInterface,
    PinDomain,
    RestoreDomain,
    StartDomain,
    StopDomain,
    TuneNuma,
    UndefineDomain,
)
from cxlstate.formats import domain_xml
from cxlstate.formats.xml import Element, take_out
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.performing import performer
from cxlstate.simulator import guests
from cxlstate.simulator.files import Files
from cxlstate.simulator.libvirt import devices
from cxlstate.simulator.libvirt.complete import complete
from cxlstate.simulator.libvirt.definitions import Definitions
from cxlstate.simulator.libvirt.networks import DONE, STALE, Networks
from cxlstate.simulator.libvirt.process import Processes
from cxlstate.simulator.libvirt.refused import INVALID, Refused
from cxlstate.simulator.libvirt.text import document, written
from cxlstate.simulator.libvirt.tune import Tuning
from cxlstate.simulator.world import ActiveDomain, Guest, World

_STATE = "/var/lib/libvirt/qemu"
_PULLED = "link[@state='down']"


class Inside(Protocol):
    """The machines in the domains."""

    def boot(self, vm: str, domain: ActiveDomain) -> None:
        """Boot the one in a domain that starts."""

    def unplug_seed(self, vm: str) -> None:
        """Take the seed of its first boot away from it."""


class Domains:
    """The domains of one machine. `step` is told of each change that has just been made."""

    def __init__(
        self,
        world: World,
        files: Files,
        networks: Networks,
        step: Callable[[str], None],
        inside: Inside,
    ) -> None:
        self._world = world
        self._files = files
        self._networks = networks
        self._defined = Definitions(files, "domain")
        self._processes = Processes(world, files, networks)
        self._tuning = Tuning(world)
        self._step = step
        self._inside = inside

    def perform(self, effect: DomainEffect, ran: dict[str, str]) -> Outcome:
        """Do it. Raises Refused. `ran` is what the domains that were shut down ran with, by name."""
        made = isinstance(effect, DefineDomain | EditDomain)
        if not made and not self._exists(effect.name):
            raise Refused(f"there is no domain {effect.name}")
        return performer(self.PERFORMERS, type(effect))(self, effect, ran)

    def active(self, name: str) -> ActiveDomain | None:
        """The domain, while its process runs."""
        return guests.active(self._world, name)

    def definition(self, name: str) -> str | None:
        """The persistent one without secrets, or else that of a transient domain."""
        xml = self._defined.get(name)
        active = self.active(name)
        if xml is None and active is not None:
            xml = active.xml
        return None if xml is None else _open(xml)

    def answer(self, name: str) -> dict[str, str]:
        """All that is asked of a domain; nothing of one that is not there."""
        inactive, active = self._defined.get(name), self.active(name)
        if inactive is None and active is None:
            return {}
        parts = {} if inactive is None else {"inactive.xml": _open(inactive)}
        if active is not None:
            parts["active.xml"] = _open(active.xml)
            plugged = domain_xml.plugged(active.xml)  # of the others libvirt knows no thread
            parts["affinity"] = "".join(
                f"{number} {cpus}\n" for number, cpus in enumerate(active.affinity) if number in plugged
            )
        facts = {
            "state": "running" if active is not None else "shut-off",
            "id": str(active.id) if active is not None else "-",
            "persistent": _yes(inactive is not None),
            "autostart": _yes(self._defined.autostart(name)),
            "managed-save": _yes(self._saved(name)),
            "snapshots": str(len(self._kept("snapshot", name))),
            "checkpoints": str(len(self._kept("checkpoint", name))),
        }
        parts["facts"] = "".join(f"{key}={value}\n" for key, value in facts.items())
        return parts

    def plugged(self, network: str) -> list[tuple[str, str]]:
        """Domain and MAC of every interface in a network's bridge that a system behind it asks with."""
        bridge, taps = self._networks.active[network].bridge, self._world.running.taps
        found = []
        for name, one in self._world.running.domains.items():
            root = document(one.xml, "domain")
            if self.active(name) is None or not _has_system(root):
                continue
            for interface in root.findall("devices/interface"):
                plug, tap = interface.find("source"), taps.get(devices.target(interface))
                ours = plug is not None and plug.get("network") == network
                if ours and tap is not None and tap.bridge == bridge and interface.find(_PULLED) is None:
                    found.append((name, devices.mac(interface)))
        return found

    def boot(self) -> None:
        """Start what starts by itself; one that cannot stays off."""
        for name in self._defined.names():
            if self._defined.autostart(name):
                try:
                    self.start(name)
                except Refused:
                    continue

    def start(self, name: str) -> None:
        """Nothing where it runs. Raises Refused."""
        if self.active(name) is not None:
            return
        if name in self._world.running.domains:
            self._end(name)  # its process was killed
        root = document(self._defined.get(name) or "", "domain")
        self._processes.start(root)
        self._inside.boot(name, self._world.running.domains[name])
        if self._saved(name):
            self._files.remove(f"{_STATE}/save/{name}.save")
        self._step(f"domain started: {name}")

    def _exists(self, name: str) -> bool:
        return self._defined.get(name) is not None or self.active(name) is not None

    def _running_or_defined(self, name: str) -> str:
        active = self.active(name)
        return active.xml if active is not None else self._defined.get(name) or ""

    def _define(self, effect: DefineDomain, _ran: dict[str, str]) -> Outcome:
        if self._exists(effect.name):
            return STALE
        self._put(effect.xml)
        return DONE

    def _edit(self, effect: EditDomain, _ran: dict[str, str]) -> Outcome:
        whole = self._defined.get(effect.name)
        if whole is None or sha256(_open(whole).encode()).hexdigest() != effect.expected:
            return STALE
        try:
            merged = domain_xml.merge(whole, effect.wish)
        except ValueError as error:
            raise Refused(str(error)) from None
        self._put(merged)
        return DONE

    def _put(self, xml: str) -> None:
        installed = self._world.installed.get("ovmf")
        ovmf = installed is not None and installed.status.endswith(" installed")
        known = self._defined.uuids() | {
            name: document(one.xml, "domain").findtext("uuid") or ""
            for name, one in self._world.running.domains.items()
            if self.active(name) is not None
        }
        root = complete(xml, known, ovmf=ovmf)
        name = root.findtext("name") or ""
        self._defined.put(name, written(root))
        self._step(f"domain defined: {name}")

    def to_restore(self, name: str, ran: str | None) -> tuple[str | None, str]:
        """The definition to go back to, if any, and the one to start with."""
        now = self._defined.get(name) or ""
        old = domain_xml.as_it_ran(now, ran) if ran is not None else None
        return old, old or now

    def _start(self, effect: StartDomain, _ran: dict[str, str]) -> Outcome:
        self.start(effect.name)
        return DONE

    def _autostart(self, effect: AutostartDomain, _ran: dict[str, str]) -> Outcome:
        if self._defined.get(effect.name) is None:
            raise Refused("cannot set autostart for transient domain", INVALID)
        self._defined.set_autostart(effect.name, on=effect.on)
        self._step(f"domain autostart: {effect.name}")
        return DONE

    def _tune(self, effect: PinDomain | TuneNuma | LinkInterface, _ran: dict[str, str]) -> Outcome:
        root = document(self._running_or_defined(effect.name), "domain")
        self._tuning.change(effect, root, self.active(effect.name))
        self._step(f"domain changed, live: {effect.name}")
        return DONE

    def _detach(self, effect: DetachDisk, _ran: dict[str, str]) -> Outcome:
        """Out of its definition; then, while it runs, out of it, if there is anybody in it to let go."""
        active = self.active(effect.name)
        if without := _without(self._defined.get(effect.name) or "", effect.path):
            self._defined.put(effect.name, without)
            self._step(f"disk detached: {effect.name}")
        if active is not None and (without := _without(active.xml, effect.path)):
            if not _has_system(document(without, "domain")):
                raise Refused(f"the guest has not let go of {effect.path} within {effect.timeout} s")
            active.xml = without
            for one in self._world.running.processes:
                one.holds = [path for path in one.holds if one.pid != active.pid or path != effect.path]
            self._inside.unplug_seed(effect.name)
            self._step(f"disk detached, live: {effect.name}")
        return DONE

    def _restore(self, effect: RestoreDomain, ran: dict[str, str]) -> Outcome:
        name = effect.name
        if self.active(name) is not None:
            return DONE
        now = self._defined.get(name) or ""
        old, _ = self.to_restore(name, ran.get(name))
        try:
            if old is not None:
                self._put(old)
            self.start(name)
        except Refused:
            if old is not None:
                self._defined.put(name, now)
            raise
        return Outcome(Result.DONE, output=AS_IT_RAN if old is not None else AGAIN)

    def _undefine(self, effect: UndefineDomain, _ran: dict[str, str]) -> Outcome:
        name = effect.name
        if self.active(name) is not None:
            raise Refused("it runs: undefined, it would be gone for good as soon as it is off")
        kept = {
            "a managed save image": self._saved(name),
            "snapshots": self._kept("snapshot", name),
            "checkpoints": self._kept("checkpoint", name),
        }
        if found := [what for what, there in kept.items() if there]:
            raise Refused(f"it has {' and '.join(found)}, which would be lost with it")
        self._defined.drop(name)
        self._step(f"domain undefined: {name}")
        return DONE

    def _stop(self, effect: StopDomain, ran: dict[str, str]) -> Outcome:
        name = effect.name
        active = self.active(name)
        if active is None:
            return DONE
        if self._defined.get(name) is None:
            raise Refused("it is transient: once off, it would be gone")
        ran[name] = active.xml
        if not (effect.power_off or self._obeys(name, document(active.xml, "domain"))):
            after = f"after {effect.timeout} s it is running"
            why = f"the guest does not react to its power button: {after}"
            return Outcome(Result.REFUSED, 1, why)
        self._end(name)
        self._step(f"domain stopped: {name}")
        return DONE

    def _end(self, name: str) -> None:
        """Its process ends, and its interfaces are unplugged."""
        gone, processes = self._world.running.domains.pop(name), self._world.running.processes
        processes[:] = [one for one in processes if one.pid != gone.pid]
        for interface in document(gone.xml, "domain").findall("devices/interface"):
            self._world.running.taps.pop(devices.target(interface), None)
        for network in self._networks.active.values():
            for mac in [mac for mac, domain in network.ports.items() if domain == name]:
                del network.ports[mac]

    def _obeys(self, name: str, root: Element) -> bool:
        return self._world.guests.get(name, Guest()).obeys and _has_system(root)

    def _saved(self, name: str) -> bool:
        return self._files.is_file(f"{_STATE}/save/{name}.save")

    def _kept(self, what: str, name: str) -> list[str]:
        return self._files.glob(f"{_STATE}/{what}/{name}/*.xml")

    PERFORMERS: ClassVar[dict[type[Effect], Callable[[Domains, Any, dict[str, str]], Outcome]]] = {
        DefineDomain: _define,
        EditDomain: _edit,
        UndefineDomain: _undefine,
        StartDomain: _start,
        RestoreDomain: _restore,
        StopDomain: _stop,
        AutostartDomain: _autostart,
        PinDomain: _tune,
        TuneNuma: _tune,
        LinkInterface: _tune,
        DetachDisk: _detach,
    }


def _without(xml: str, path: str) -> str | None:
    """A definition without the disk of a source; None where it has none."""
    root = document(xml, "domain") if xml else None
    found = [] if root is None else root.findall("devices/disk")
    for one in (one for one in found if devices.source(one) == path):
        take_out(one)
        return None if root is None else written(root)
    return None


def _has_system(root: Element) -> bool:
    """Whether anything can boot in it: a kernel or a disk."""
    disks = root.findall("devices/disk[@device='disk']")
    return root.find("os/kernel") is not None or any(devices.source(one) for one in disks)


def _open(xml: str) -> str:
    """The definition as everybody may see it (`virDomainGraphicsAuthDefFormatAttr`)."""
    if " passwd=" not in xml:
        return xml
    root = document(xml, "domain")
    for one in root.iterfind("devices/graphics[@passwd]"):
        del one.attrib["passwd"]
    return written(root)


def _yes(value: object) -> str:
    return "yes" if value else "no"
