"""libvirt of one machine as a whole: whether it can be reached, what it answers, what it is told."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from cxlstate.core.answers import Answer
from cxlstate.core.effect import Effect
from cxlstate.core.exit_status import NOT_FOUND
from cxlstate.core.libvirt import (
    DefineNetwork,
    DetachDisk,
    DomainEffect,
    EditDomain,
    LibvirtEffect,
    RestoreDomain,
    StartDomain,
    StopNetwork,
    UndefineDomain,
    UndefineNetwork,
    UpdateNetwork,
)
from cxlstate.core.read import LibvirtAddresses, LibvirtDomain, LibvirtNetwork, LibvirtRead
from cxlstate.formats import domain_xml, network_xml
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.performing import find_performer
from cxlstate.simulator.files import Files
from cxlstate.simulator.libvirt import dhcp
from cxlstate.simulator.libvirt.domains import Domains, Inside
from cxlstate.simulator.libvirt.networks import Networks
from cxlstate.simulator.libvirt.process import device_of
from cxlstate.simulator.libvirt.refused import Refused
from cxlstate.simulator.world import World

DAEMON = "libvirtd.service"
_SOCKET = "libvirtd.socket"
_NO_HELPER = "virt-ssh-helper is not installed"


class Libvirt:
    """Asked and told; `files` are those on the disk, with the eyes of root. `hook` is that of networks."""

    def __init__(
        self,
        world: World,
        files: Files,
        step: Callable[[str], None],
        inside: Inside,
        hook: Callable[[str], None],
    ) -> None:
        self._world = world
        self._files = files
        self._networks = Networks(world, files, step, hook)
        self._domains = Domains(world, files, self._networks, step, inside)

    def answer(self, read: LibvirtRead) -> Answer:
        """What it answers to one read."""
        refused = self._unreachable("-ro")
        if refused is not None:
            return Answer(*refused)
        match read:
            case LibvirtDomain(name=name):
                return _of_parts(self._domains.answer(name))
            case LibvirtNetwork(name=name):
                return _of_parts(self._networks.answer(name))
            case LibvirtAddresses(name=name):
                return Answer(0, self._addresses(name).encode())

    @staticmethod
    def performs(effect: type[Effect]) -> bool:
        """Whether it knows how."""
        tables = (Domains.PERFORMERS, Networks.PERFORMERS)
        return any(find_performer(table, effect) is not None for table in tables)

    def before(self, effect: LibvirtEffect, ran: Mapping[str, str] = MappingProxyType({})) -> str | None:
        """The definition that an effect changes or ends, without secrets. Raises Refused."""
        self._reach()
        look = find_performer(self.BEFORE, type(effect))
        return look(self, effect, ran) if look else None

    def perform(self, effect: LibvirtEffect, ran: dict[str, str] | None = None) -> Outcome:
        """Do it. `ran` is what the domains that were shut down ran with, by name."""
        try:
            self._reach()
            if isinstance(effect, DomainEffect):
                return self._domains.perform(effect, {} if ran is None else ran)
            return self._networks.perform(effect)
        except Refused as why:
            return Outcome(Result.FAILED, 1, str(why))

    def _domain(self, effect: LibvirtEffect, _ran: Mapping[str, str]) -> str | None:
        return self._domains.definition(effect.name)

    def _network(self, effect: LibvirtEffect, _ran: Mapping[str, str]) -> str | None:
        return self._networks.definition(effect.name)

    def _devices(self, effect: StartDomain, _ran: Mapping[str, str]) -> None:
        if self._domains.active(effect.name) is None:
            for path in effect.devices:
                self._check_device(path)

    def _what_comes_back(self, effect: RestoreDomain, ran: Mapping[str, str]) -> str | None:
        if self._domains.active(effect.name) is not None:
            return None
        _, comes = self._domains.to_restore(effect.name, ran.get(effect.name))
        for path in domain_xml.host_devices(comes):
            self._check_device(path)
        return self._domains.definition(effect.name)

    BEFORE: ClassVar[dict[type[Effect], Callable[[Libvirt, Any, Mapping[str, str]], str | None]]] = {
        EditDomain: _domain,
        UndefineDomain: _domain,
        DetachDisk: _domain,
        StartDomain: _devices,
        RestoreDomain: _what_comes_back,
        DefineNetwork: _network,
        UpdateNetwork: _network,
        StopNetwork: _network,
        UndefineNetwork: _network,
    }

    def boot(self) -> None:
        """What the daemon starts by itself when the machine has booted, if it is enabled."""
        if self._world.running.units.get(DAEMON) == "active":
            self._networks.boot()
            self._domains.boot()

    def _addresses(self, name: str) -> str:
        if self._domains.active(name) is None:
            return ""
        found = ""
        for network, active in self._networks.active.items():
            plugged = self._domains.plugged(network)
            leased = dhcp.leases(network_xml.parse(active.xml), [mac for _, mac in plugged])
            found += "".join(
                f"{mac} {leased[mac]}\n" for domain, mac in plugged if domain == name and mac in leased
            )
        return found

    def _check_device(self, path: str) -> None:
        """As `machine/posix/elsewhere.py` does it on a real machine."""
        if device_of(self._world, path) is not None:
            return
        if self._files.exists(path):
            target = posixpath.normpath(f"/{self._files.real(path).relative_to(self._files.real('/'))}")
            raise Refused(f"{path} leads to {target}, which is no character device")
        raise Refused(f"{path} leads nowhere: there is no such device")

    def _reach(self) -> None:
        refused = self._unreachable("")
        if refused is not None:
            raise Refused(refused[2])

    def _unreachable(self, socket: str) -> tuple[int, bytes, str] | None:
        """Status and words of a connection that cannot be had."""
        if not self._installed("libvirt-daemon-system"):
            return NOT_FOUND, b"", _NO_HELPER
        if not self._listens():
            where = f"/var/run/libvirt/libvirt-sock{socket}"
            return 1, b"", f"Failed to connect socket to '{where}': No such file or directory"
        return None

    def _listens(self) -> bool:
        return any(self._world.running.units.get(unit) == "active" for unit in (DAEMON, _SOCKET))

    def _installed(self, package: str) -> bool:
        one = self._world.installed.get(package)
        return one is not None and one.status.endswith(" installed")


def _of_parts(parts: dict[str, str]) -> Answer:
    return Answer(0, files={name: Answer(0, text.encode()) for name, text in parts.items()})
