"""Effects on networks, each as its docstring in `core.libvirt` says. They raise Refused or libvirtError."""

from __future__ import annotations

import libvirt

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
from cxlstate.machine.libvirt.domains import DONE, STALE, digest
from cxlstate.machine.libvirt.masking import Refused
from cxlstate.machine.libvirt.reading import find_network
from cxlstate.machine.outcome import Outcome

_COMMANDS = {
    Update.MODIFY: libvirt.VIR_NETWORK_UPDATE_COMMAND_MODIFY,
    Update.DELETE: libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE,
    Update.ADD_LAST: libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
}
_SECTIONS = {
    "ip-dhcp-host": libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
    "ip-dhcp-range": libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE,
}


def tell(connection: libvirt.virConnect, effect: NetworkEffect) -> Outcome:
    """Do it."""
    network = find_network(connection, effect.name)
    if isinstance(effect, DefineNetwork):
        return _define(connection, network, effect)
    if network is None:
        raise Refused(f"there is no network {effect.name}")
    match effect:
        case UpdateNetwork():
            _update(network, effect)
        case StartNetwork() | StopNetwork():
            _switch(network, on=isinstance(effect, StartNetwork))
        case AutostartNetwork(on=on):
            network.setAutostart(int(on))
        case UndefineNetwork():
            if network.isActive():
                raise Refused("it is active: undefined, it would be gone for good as soon as it is stopped")
            network.undefine()
    return DONE


def _switch(network: libvirt.virNetwork, *, on: bool) -> None:
    if bool(network.isActive()) is not on:
        (network.create if on else network.destroy)()


def _define(
    connection: libvirt.virConnect, network: libvirt.virNetwork | None, effect: DefineNetwork
) -> Outcome:
    seen = None
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


def _update(network: libvirt.virNetwork, effect: UpdateNetwork) -> None:
    flags = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE if effect.live else 0
    flags |= libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG if effect.config else 0
    if not flags:
        raise Refused("neither the live nor the persistent definition was named")
    network.update(_COMMANDS[effect.command], _SECTIONS[effect.section], effect.parent, effect.xml, flags)
