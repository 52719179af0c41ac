"""Effects on networks, each as its docstring in `core.libvirt` says. They raise Refused or libvirtError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libvirt

from cxlstate.core.effect import Effect
from cxlstate.core.libvirt import (
    AutostartNetwork,
    DefineNetwork,
    NetworkEffect,
    StartNetwork,
    StopNetwork,
    UndefineNetwork,
    Update,
    UpdateNetwork,
)
from cxlstate.formats import xml
from cxlstate.machine.libvirt.domains import digest
from cxlstate.machine.libvirt.masking import Refused
from cxlstate.machine.libvirt.performer import DONE, STALE, Performer, Session, definition
from cxlstate.machine.libvirt.reading import find_network
from cxlstate.machine.outcome import Outcome
from cxlstate.machine.posix.transport import Before

_COMMANDS = {
    Update.MODIFY: libvirt.VIR_NETWORK_UPDATE_COMMAND_MODIFY,
    Update.DELETE: libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE,
    Update.ADD_LAST: libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
}
_SECTIONS = {
    "ip-dhcp-host": libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
    "ip-dhcp-range": libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE,
}


def _define(effect: DefineNetwork, session: Session) -> Outcome:
    connection, seen = session.connection, None
    network = find_network(connection, effect.name)
    if network is not None and network.isPersistent():
        seen = digest(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
    if seen != effect.expected:
        return STALE
    text = effect.xml if network is None else _under(network.UUIDString(), effect.xml)
    try:
        connection.networkDefineXMLFlags(text, libvirt.VIR_NETWORK_DEFINE_VALIDATE)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:  # before libvirt 7.7
            raise
        connection.networkDefineXML(text)
    return DONE


def _under(uuid: str, text: str) -> str:
    """The definition with the UUID of the one that it replaces, where it names none itself."""
    root = xml.parse(text)
    if root.find("uuid") is not None:
        return text
    xml.child(root, "uuid", ("name", "uuid")).text = uuid
    return xml.serialise(root, text)


def _update(network: libvirt.virNetwork, effect: UpdateNetwork, _session: Session) -> Outcome:
    flags = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE if effect.live else 0
    flags |= libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG if effect.config else 0
    if not flags:
        raise Refused("neither the live nor the persistent definition was named")
    network.update(_COMMANDS[effect.command], _SECTIONS[effect.section], effect.parent, effect.xml, flags)
    return DONE


def _start(network: libvirt.virNetwork, _effect: StartNetwork, _session: Session) -> Outcome:
    if not network.isActive():
        network.create()
    return DONE


def _stop(network: libvirt.virNetwork, _effect: StopNetwork, _session: Session) -> Outcome:
    if network.isActive():
        network.destroy()
    return DONE


def _autostart(network: libvirt.virNetwork, effect: AutostartNetwork, _session: Session) -> Outcome:
    network.setAutostart(int(effect.on))
    return DONE


def _undefine(network: libvirt.virNetwork, _effect: UndefineNetwork, _session: Session) -> Outcome:
    if network.isActive():
        raise Refused("it is active: undefined, it would be gone for good as soon as it is stopped")
    network.undefine()
    return DONE


def _there(act: Callable[[libvirt.virNetwork, Any, Session], Outcome]) -> Callable[[Any, Session], Outcome]:
    """On the network, which has to be there."""

    def do(effect: NetworkEffect, session: Session) -> Outcome:
        network = find_network(session.connection, effect.name)
        if network is None:
            raise Refused(f"there is no network {effect.name}")
        return act(network, effect, session)

    return do


def _its_definition(effect: NetworkEffect, session: Session) -> Before:
    network = find_network(session.connection, effect.name)
    return Before(definition(network, libvirt.VIR_NETWORK_XML_INACTIVE))


def _look(effect: NetworkEffect, session: Session) -> Before:
    find_network(session.connection, effect.name)
    return Before()


NETWORKS: dict[type[Effect], Performer] = {
    DefineNetwork: Performer(_define, _its_definition),
    UpdateNetwork: Performer(_there(_update), _its_definition),
    StartNetwork: Performer(_there(_start), _look),
    StopNetwork: Performer(_there(_stop), _its_definition),
    AutostartNetwork: Performer(_there(_autostart), _look),
    UndefineNetwork: Performer(_there(_undefine), _its_definition),
}
