"""libvirt of one machine as a whole: whether it can be reached, what it answers, what it is told."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from cxlstate.core.libvirt import (
    DefineNetwork,
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
from cxlstate.core.read import NOT_FOUND, Answer, LibvirtAddresses, LibvirtDomain, LibvirtNetwork, LibvirtRead
from cxlstate.formats import domain_xml, network_xml
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.simulator.files import Files
from cxlstate.simulator.libvirt import dhcp
from cxlstate.simulator.libvirt.domains import Domains, PowerOn
from cxlstate.simulator.libvirt.networks import Networks
from cxlstate.simulator.libvirt.process import device_of
from cxlstate.simulator.libvirt.refused import Refused
from cxlstate.simulator.world import World

_DAEMON = "libvirtd.service"
_SOCKET = "libvirtd.socket"
_NO_HELPER = "virt-ssh-helper is not installed"


class Libvirt:
    """Asked and told; `files` are those on the disk, with the eyes of root."""

    def __init__(self, world: World, files: Files, step: Callable[[str], None], power_on: PowerOn) -> None:
        self._world = world
        self._files = files
        self._networks = Networks(world, files, step)
        self._domains = Domains(world, files, self._networks, step, power_on)

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

    def before(self, effect: LibvirtEffect, ran: Mapping[str, str] = MappingProxyType({})) -> str | None:
        """The definition that an effect changes or ends, without secrets. Raises Refused."""
        self._reach()
        match effect:
            case EditDomain(name=name) | UndefineDomain(name=name):
                return self._domains.definition(name)
            case (
                DefineNetwork(name=name)
                | UpdateNetwork(name=name)
                | StopNetwork(name=name)
                | UndefineNetwork(name=name)
            ):
                return self._networks.definition(name)
            case StartDomain(name=name, devices=devices):
                if self._domains.active(name) is None:
                    for path in devices:
                        self._check_device(path)
            case RestoreDomain(name=name) if self._domains.active(name) is None:
                for path in domain_xml.host_devices(self._domains.to_restore(name, ran.get(name))[1]):
                    self._check_device(path)
                return self._domains.definition(name)
        return None

    def perform(self, effect: LibvirtEffect, ran: dict[str, str] | None = None) -> Outcome:
        """Do it. `ran` is what the domains that were shut down ran with, by name."""
        try:
            self._reach()
            if isinstance(effect, DomainEffect):
                return self._domains.perform(effect, {} if ran is None else ran)
            return self._networks.perform(effect)
        except Refused as why:
            return Outcome(Result.FAILED, 1, str(why))

    def boot(self) -> None:
        """What the daemon starts by itself when the machine has booted, if it is enabled."""
        if self._world.running.units.get(_DAEMON) == "active":
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
        return any(self._world.running.units.get(unit) == "active" for unit in (_DAEMON, _SOCKET))

    def _installed(self, package: str) -> bool:
        one = self._world.installed.get(package)
        return one is not None and one.status.endswith(" installed")


def details(effect: LibvirtEffect) -> dict[str, object]:
    """What the journal says of it, as on a real machine."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "-", type(effect).__name__).lower()
    return {"effect": words, "name": effect.name}


def _of_parts(parts: dict[str, str]) -> Answer:
    return Answer(0, files={name: Answer(0, text.encode()) for name, text in parts.items()})
