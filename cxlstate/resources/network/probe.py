"""What libvirt says of a network, who is plugged into its bridge, and what our files say."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cxlstate.core.address import AllOf
from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import Attributes, Command, File, LibvirtNetwork, Names, Read
from cxlstate.formats import network_xml
from cxlstate.formats.network_xml import Definition
from cxlstate.resources.network import listing, taken
from cxlstate.resources.network.listing import Tap
from cxlstate.resources.network.spec import NetworkSpec
from cxlstate.resources.network.taken import Route

PLUGGED: Final = Names("/sys/class/net/*/brif/*")
"""`…/BRIDGE/brif/PORT`: what is plugged into which bridge (Documentation/ABI/testing/sysfs-class-net)."""

ISOLATED: Final = Attributes("/sys/class/net/*/brport/isolated")
INTERFACES: Final = Names("/sys/class/net/*")
MACS: Final = Attributes("/sys/class/net/*/address")
SERVERS: Final = Command(("pgrep", "--list-full", "--full", "^[^ ]*dnsmasq --conf-file=/var/lib/libvirt/"))
"""Status 1: there is none. The arguments are those of libvirt (networkBuildDhcpDaemonCommandLine)."""

_HINT: Final = (
    "declare the package libvirt-daemon-system and the service libvirtd; "
    "`virsh -c qemu:///system net-list --all` shows what libvirt itself says"
)


@dataclass(frozen=True, slots=True)
class Live:
    """A network as it is. `inactive` is its definition, `active` that with which it runs.

    `taps` are what is plugged into its bridge. `listed` and `begun` are the texts of our files; `loose`
    are those taps of a restart that was begun which are not yet plugged in as they were. `stray` is its
    bridge where libvirt does not know of it: the daemon died while it started the network, and the next
    start fails with `File exists` (virNetDevBridgeCreate). It has the network's own MAC address, and no
    port. `server`: its dnsmasq has outlived such a start; until it ends, the next one cannot listen.
    `others` and `routes` are interfaces that are not its own, and where they lead.
    """

    inactive_xml: str | None = None
    active_xml: str | None = None
    inactive: Definition | None = None
    active: Definition | None = None
    autostart: bool = False
    bridge: str | None = None
    guests: tuple[str, ...] = ()
    taps: tuple[Tap, ...] = ()
    listed: str | None = None
    begun: str | None = None
    loose: tuple[Tap, ...] = ()
    stray: str | None = None
    server: bool = False
    others: frozenset[str] = frozenset()
    routes: tuple[Route, ...] = ()

    @property
    def there(self) -> bool:
        """Whether libvirt has it at all."""
        return self.inactive is not None or self.active is not None

    @property
    def definition(self) -> Definition | None:
        """What it is, of the two that with which it runs."""
        return self.active or self.inactive


def reads(name: str) -> tuple[Read, ...]:
    """One network, both our files, and the host's interfaces."""
    ours = (File(listing.path(name)), File(listing.begun_path(name)))
    return (LibvirtNetwork(name), *ours, PLUGGED, ISOLATED, INTERFACES, MACS, SERVERS, taken.ROUTES)


def observe(spec: NetworkSpec, name: str, answers: Answers) -> Observation[Live]:
    """Absent only where libvirt says so, and where nothing of ours or of its own is left."""
    try:
        parts = answers.files(LibvirtNetwork(name))
    except ReadFailed as failed:
        return Unknown(failed.reason, (AllOf("package"), AllOf("service")), _HINT)
    try:
        live = _live(spec, name, parts, answers)
    except ValueError as error:
        return Unknown(f"libvirt's network {name}: {error}")
    if (
        not (live.there or live.server or any(in_the_way(spec, live)))
        and live.listed is None
        and live.begun is None
    ):
        return Absent(f"libvirt has no network {name}")
    return Present(live)


def _live(spec: NetworkSpec, name: str, parts: Mapping[str, str], answers: Answers) -> Live:
    inactive, active = parts.get("inactive.xml"), parts.get("active.xml")
    facts = dict(line.partition("=")[::2] for line in parts.get("facts", "").splitlines())
    plugged = [path.split("/")[-3::2] for path in answers.files(PLUGGED)]
    running = None if active is None else network_xml.parse(active, spec.address)
    bridge = (running.bridge if running else None) or facts.get("bridge") or None
    isolated = {path.split("/")[-3] for path, text in answers.files(ISOLATED).items() if text.strip() == "1"}
    ports = [port for on, port in plugged if on == bridge and port != f"{bridge}-nic"]
    begun = answers.text_or_none(File(listing.begun_path(name)))
    there = set(map(posixpath.basename, answers.files(INTERFACES)))
    alone = there - {port for _, port in plugged}
    open_ports = set(ports) - isolated
    definition = None if inactive is None else network_xml.parse(inactive, spec.address)
    stray = _stray(definition, answers) if running is None else None
    own = (bridge if running else None, stray)
    return Live(
        inactive_xml=inactive,
        active_xml=active,
        inactive=definition,
        active=running,
        autostart=facts.get("autostart") == "yes",
        bridge=bridge,
        guests=_guests(parts.get("ports", "")),
        taps=tuple(Tap(port, port in isolated) for port in ports),
        listed=answers.text_or_none(File(listing.path(name))),
        begun=begun,
        loose=tuple(
            tap
            for tap in listing.taps(begun)
            if tap.name in alone or (tap.isolated and tap.name in open_ports)
        ),
        stray=stray,
        server=running is None and any(map(served_by(name).search, _commands(answers))),
        others=frozenset(there.difference(own)),
        routes=tuple(one for one in taken.routes(answers) if one.interface not in own),
    )


def in_the_way(spec: NetworkSpec, live: Live) -> Iterator[Diagnostic]:
    """What others of the host have of that with which the network will start."""
    there = live.inactive
    bridge = spec.bridge or (there.bridge if there else None)
    address = spec.address or (there.address if there else None)
    yield from taken.problems(bridge, address, live.others, live.routes, new=there is None)


def _stray(definition: Definition | None, answers: Answers) -> str | None:
    if definition is None or definition.bridge is None or definition.mac is None:
        return None
    mac = answers.files(MACS).get(f"/sys/class/net/{definition.bridge}/address", "")
    used = any(path.split("/")[-3] == definition.bridge for path in answers.files(PLUGGED))
    return definition.bridge if mac.strip() == definition.mac.lower() and not used else None


def served_by(name: str) -> re.Pattern[str]:
    """The command line of the dnsmasq of a network; an extended regular expression of POSIX, too."""
    literal = re.sub("[.+]", r"[\g<0>]", name)
    return re.compile(f"^[^ ]*dnsmasq --conf-file=/var/lib/libvirt/dnsmasq/{literal}[.]conf( |$)")


def status(name: str) -> str:
    """The file that libvirt keeps of a network while it is active (virNetworkObjSaveStatus)."""
    return f"/run/libvirt/network/{name}.xml"


def _commands(answers: Answers) -> list[str]:
    """Where they cannot be listed none is known: the start itself says then what is in its way."""
    return [line.partition(" ")[2] for line in answers.raw(SERVERS).text.splitlines()]


def _guests(ports: str) -> tuple[str, ...]:
    """`MAC DOMAIN` a line; a guest may be plugged in twice."""
    return tuple(dict.fromkeys(line.partition(" ")[2] for line in ports.splitlines() if " " in line))
