"""Answers to what is asked of libvirt, in the form that `core.read` defines.

A named domain or network costs the same few calls however many there are. It is looked up by its
name; only libvirt's own word that there is none makes it absent.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import libvirt

from cxlstate.core.answers import Answer
from cxlstate.core.exit_status import TIMED_OUT
from cxlstate.core.read import LibvirtAddresses, LibvirtDomain, LibvirtNetwork, LibvirtRead
from cxlstate.machine import limits
from cxlstate.machine.libvirt.connection import Broken, Connection, Unusable, is_alive
from cxlstate.machine.libvirt.way import Way

PATIENCE = 60
"""Seconds for opening a connection and a first answer."""

_EACH = 5  # seconds for each further one

T = TypeVar("T")

# In the order of virDomainState, as virsh calls them (tools/virsh-domain-monitor.c).
STATES = (
    "no-state",
    "running",
    "idle",
    "paused",
    "in-shutdown",
    "shut-off",
    "crashed",
    "pmsuspended",
)
_NOT_SUPPORTED = (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_UNSUPPORTED)
_PORTS_SINCE = 5_005_000  # virNetworkListAllPorts (libvirt 5.5)


class LibvirtReader:
    """Asks over a read-only connection."""

    def __init__(self, way: Callable[[], Way]) -> None:
        self._connection = Connection(way, read_only=True)

    def read(self, reads: Collection[LibvirtRead]) -> dict[LibvirtRead, Answer]:
        """An answer to each; where libvirt cannot be asked, a failed one. Raises Lost."""
        try:
            return self._connection.use(partial(answers, reads=reads), PATIENCE + _EACH * len(reads))
        except Unusable as nowhere:
            failed = Answer(nowhere.refusal.status, b"", nowhere.refusal.words)
        except Broken as broken:
            failed = Answer(1, b"", str(broken))
        except TimeoutError:
            failed = Answer(TIMED_OUT, b"", "libvirt does not answer")
        return dict.fromkeys(reads, failed)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class _Changed(Exception):
    """What was asked about came, went, started or stopped meanwhile."""


class _Unanswered(Exception):
    """There is no answer, and the text says why."""


# What libvirt says of something that has changed since it was looked up.
_PASSING = (
    libvirt.VIR_ERR_NO_DOMAIN,
    libvirt.VIR_ERR_NO_NETWORK,
    libvirt.VIR_ERR_NO_NETWORK_PORT,
    libvirt.VIR_ERR_OPERATION_INVALID,
)


def answers(connection: libvirt.virConnect, reads: Collection[LibvirtRead]) -> dict[LibvirtRead, Answer]:
    """An answer to each. An error is raised only where the connection is gone."""
    return {read: _answer(connection, read) for read in reads}


def _answer(connection: libvirt.virConnect, read: LibvirtRead) -> Answer:
    """What changes while it is asked about is asked about once more."""
    why = ""
    for _ in range(2):
        try:
            return _ask(connection, read)
        except _Changed:
            why = "it changes while it is asked about"
        except _Unanswered as unanswered:
            return Answer(1, b"", str(unanswered))
        except ValueError:
            return Answer(1, b"", "libvirt cannot have such a name")
        except libvirt.libvirtError as error:
            if not is_alive(connection):
                raise
            why = str(error)
            if error.get_error_code() not in _PASSING:
                break
    return Answer(1, b"", why)


def _ask(connection: libvirt.virConnect, read: LibvirtRead) -> Answer:
    match read:
        case LibvirtDomain(name=name):
            return _domain(connection, name)
        case LibvirtNetwork(name=name):
            return _network(connection, name)
        case LibvirtAddresses(name=name):
            return _addresses(connection, name)


def find_domain(connection: libvirt.virConnect, name: str) -> libvirt.virDomain | None:
    """The domain of that name; None: libvirt said that there is none."""
    return _found(partial(connection.lookupByName, name), libvirt.VIR_ERR_NO_DOMAIN)


def find_network(connection: libvirt.virConnect, name: str) -> libvirt.virNetwork | None:
    """The network of that name; None: libvirt said that there is none."""
    return _found(partial(connection.networkLookupByName, name), libvirt.VIR_ERR_NO_NETWORK)


def _found(look_up: Callable[[], T], none: int) -> T | None:
    try:
        return look_up()
    except libvirt.libvirtError as error:
        if error.get_error_code() == none:
            return None
        raise


def _domain(connection: libvirt.virConnect, name: str) -> Answer:
    domain = find_domain(connection, name)
    if domain is None:
        return Answer(0)
    number: int = domain.ID()
    active = number >= 0
    state, _reason = domain.state()
    persistent = bool(domain.isPersistent())
    parts = {}
    if persistent:
        parts["inactive.xml"] = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    if active:
        parts["active.xml"] = domain.XMLDesc(0)
        affinity = if_supported(domain.vcpus, None)
        if affinity is not None:
            parts["affinity"] = _affinity(*affinity)
    parts["facts"] = _lines(
        {
            "state": STATES[state] if state < len(STATES) else str(state),
            "id": str(number) if active else "-",
            "persistent": _yes(persistent),
            "autostart": _yes(domain.autostart()),
            "managed-save": _yes(if_supported(domain.hasManagedSaveImage, 0)),
            "snapshots": str(if_supported(domain.snapshotNum, 0)),
            "checkpoints": str(len(if_supported(domain.listAllCheckpoints, ()))),
        }
    )
    if bool(domain.isActive()) is not active:
        raise _Changed
    return _of_parts(parts)


def _network(connection: libvirt.virConnect, name: str) -> Answer:
    network = find_network(connection, name)
    if network is None:
        return Answer(0)
    active, persistent = bool(network.isActive()), bool(network.isPersistent())
    parts = {}
    if persistent:
        parts["inactive.xml"] = network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
    if active:
        parts["active.xml"] = network.XMLDesc(0)
    parts["facts"] = _lines(
        {
            "active": _yes(active),
            "autostart": _yes(network.autostart()),
            "persistent": _yes(persistent),
            "bridge": _bridge(network),
        }
    )
    parts["ports"] = "".join(map(_port, _ports(connection, network))) if active else ""
    return _of_parts(parts)


def _addresses(connection: libvirt.virConnect, name: str) -> Answer:
    domain = find_domain(connection, name)
    if domain is None or not domain.isActive():
        return Answer(0)
    leased = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)
    lines = (
        f"{interface['hwaddr']} {address['addr']}/{address['prefix']}\n"
        for interface in leased.values()
        for address in interface["addrs"] or ()
    )
    return Answer(0, "".join(lines).encode())


def _affinity(vcpus: Sequence[tuple[int, ...]], maps: Sequence[Sequence[bool]]) -> str:
    rows = zip(vcpus, maps, strict=True)
    return "".join(
        f"{number} {cpu_set(cpu for cpu, allowed in enumerate(row) if allowed)}\n"
        for (number, *_), row in rows
    )


def cpu_set(numbers: Iterable[int]) -> str:
    """`0-1,3`, as libvirt writes sets of CPUs and of nodes."""
    spans: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def _bridge(network: libvirt.virNetwork) -> str:
    """Nothing, where it has none (networkGetBridgeName): one that leads to a device of the host's."""
    try:
        return str(network.bridgeName())
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_INTERNAL_ERROR:
            raise
        return ""


def _ports(connection: libvirt.virConnect, network: libvirt.virNetwork) -> list[str]:
    """The XML of each port. A driver may have none; a daemon that is too old cannot tell of any."""
    ports = if_supported(network.listAllPorts, None)
    if ports is None and connection.getLibVersion() < _PORTS_SINCE:
        raise _Unanswered("libvirt 5.5 or newer is needed to tell which guests are plugged into a network")
    described: list[str] = []
    size = 0
    for port in ports or ():
        described.append(port.XMLDesc(0))
        size += len(described[-1])
        if size > limits.EXCHANGE:
            raise _Unanswered(f"libvirt tells more than {limits.EXCHANGE} bytes of the ports of a network")
    return described


_OWNER = re.compile(r"<owner>\s*<name>([^<]*)</name>")
_MAC = re.compile(r"<mac address='([^']*)'")


def _port(xml: str) -> str:
    """Of the text that libvirt makes (virNetworkPortDefFormatBuf), the two words that are asked for."""
    owner, mac = _OWNER.search(xml), _MAC.search(xml)
    if not (owner and mac):
        raise _Unanswered("libvirt names a port of the network without its guest")
    return f"{mac[1]} {html.unescape(owner[1])}\n"


def if_supported(ask: Callable[[], T], else_: T) -> T:
    """What a driver does not know of, or a daemon that is too old to have any of it, is not there."""
    try:
        return ask()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _NOT_SUPPORTED:
            raise
        return else_


def _lines(facts: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in facts.items())


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _of_parts(parts: Mapping[str, str]) -> Answer:
    return Answer(0, files={name: Answer(0, text.encode()) for name, text in parts.items()})
