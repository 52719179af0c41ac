"""libvirt's networks: defined, active, and changed while they are.

Sources: libvirt 11.3 `src/network/bridge_driver.c`, `src/conf/network_conf.c`, `src/conf/virnetworkobj.c`;
looked at on Debian 13. What the tool itself says before it asks libvirt is in the words of
`machine/libvirt/networks.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, ClassVar, Final

from cxlstate.core.effect import Effect
from cxlstate.core.libvirt import (
    AutostartNetwork,
    DefineNetwork,
    LibvirtEffect,
    StartNetwork,
    StopNetwork,
    UndefineNetwork,
    UpdateNetwork,
)
from cxlstate.formats import network_xml
from cxlstate.formats.xml import Element
from cxlstate.machine.outcome import Outcome, Result
from cxlstate.machine.performing import performer
from cxlstate.simulator.files import Files
from cxlstate.simulator.libvirt import dhcp
from cxlstate.simulator.libvirt.definitions import Definitions, drawn_mac, drawn_uuid
from cxlstate.simulator.libvirt.firewall import Firewall
from cxlstate.simulator.libvirt.refused import FAILED, INTERNAL, INVALID, UNSUPPORTED, XML, Refused
from cxlstate.simulator.libvirt.text import add, document, reordered, under, written
from cxlstate.simulator.world import ActiveNetwork, Process, World

DONE, STALE = Outcome(Result.DONE), Outcome(Result.STALE)
_OWN_BRIDGE: Final = ("nat", "route", "open", None)
_NEEDS_ADDRESS: Final = ("nat", "route", "open")
_SERVER: Final = (
    "/usr/sbin/dnsmasq --conf-file=/var/lib/libvirt/dnsmasq/{}.conf"
    " --leasefile-ro --dhcp-script=/usr/lib/libvirt/libvirt_leaseshelper"
)


class Networks:
    """The networks of one machine. `step` is told of each change that has just been made.

    `hook` is run with an event when the rules of a network are there.
    """

    def __init__(
        self,
        world: World,
        files: Files,
        step: Callable[[str], None],
        hook: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.active = world.running.networks
        self._taps = world.running.taps
        self._strays = world.running.strays
        self._running = world.running
        self._defined = Definitions(files, "network")
        self._step = step
        self._hook = hook
        self._firewall = Firewall(world)

    def perform(self, effect: LibvirtEffect) -> Outcome:
        """Do it. Raises Refused."""
        if not isinstance(effect, DefineNetwork) and not self._exists(effect.name):
            raise Refused(f"there is no network {effect.name}")
        return performer(self.PERFORMERS, type(effect))(self, effect)

    def definition(self, name: str) -> str | None:
        """The persistent one, or else that of a transient network."""
        inactive = self._defined.get(name)
        return self._live(name) if inactive is None and name in self.active else inactive

    def answer(self, name: str) -> dict[str, str]:
        """All that is asked of a network; nothing of one that is not there."""
        if not self._exists(name):
            return {}
        inactive, parts = self._defined.get(name), {}
        active = self.active.get(name)
        if inactive is not None:
            parts["inactive.xml"] = inactive
        if active is not None:
            parts["active.xml"] = self._live(name)
        bridge = _bridge(document(parts.get("active.xml") or inactive or "", "network"))
        facts = {
            "active": active is not None,
            "autostart": self._defined.autostart(name),
            "persistent": inactive is not None,
        }
        lines = [f"{key}={'yes' if value else 'no'}\n" for key, value in facts.items()]
        parts["facts"] = "".join((*lines, f"bridge={bridge or ''}\n"))
        ports = active.ports if active is not None else {}
        parts["ports"] = "".join(f"{mac} {domain}\n" for mac, domain in ports.items())
        return parts

    def bridges(self) -> dict[str, str]:
        """The bridge of each active network that has one."""
        found = {name: _bridge(document(one.xml, "network")) for name, one in self.active.items()}
        return {name: bridge for name, bridge in found.items() if bridge}

    def boot(self) -> None:
        """Start what starts by itself; one that cannot stays off."""
        for name in self._defined.names():
            if self._defined.autostart(name):
                try:
                    self.start(name)
                except Refused:
                    continue

    def start(self, name: str) -> None:
        """Nothing where it is active. Raises Refused."""
        if name in self.active:
            return
        root = document(self._defined.get(name) or "", "network")
        mine = [dhcp.address(ip).network for ip in root.findall("ip")]
        for other in self.active.values():
            there = document(other.xml, "network")
            theirs = [dhcp.address(ip).network for ip in there.findall("ip")]
            if any(a.version == b.version and a.overlaps(b) for a in mine for b in theirs):
                raise Refused(f"Network is already in use by interface {_bridge(there)}", INTERNAL)
        forward = root.find("forward")
        mode = None if forward is None else forward.get("mode")
        if mode in _OWN_BRIDGE and self._strays.pop(_bridge(root) or "", ""):
            raise Refused(f"error creating bridge interface {_bridge(root)}: File exists")
        self._serve(root, name)
        if forward is not None and forward.get("mode") == "nat":
            nat = under(forward, "nat")
            if nat.find("port") is None:
                add(nat, "port", {"start": "1024", "end": "65535"})
        self.active[name] = ActiveNetwork(written(root), (_bridge(root) or "") if mode in _OWN_BRIDGE else "")
        self._firewall.add(root)
        self._step(f"network started: {name}")
        self._hook("started")

    def _serve(self, root: Element, name: str) -> None:
        """Start its dnsmasq. One that a killed daemon has left listens where it would."""
        ip = next((ip for ip in root.findall("ip") if ip.get("family", "ipv4") == "ipv4"), None)
        if ip is None:
            return
        command = _SERVER.format(name)
        if any(one.command == command for one in self._running.processes):
            why = f"failed to create listening socket for {ip.get('address')}: Address already in use"
            child = f"Child process (VIR_BRIDGE_NAME={_bridge(root)} {command})"
            raise Refused(f"{child} unexpected exit status 2: \ndnsmasq: {why}\n", INTERNAL)
        self._running.processes.append(Process(self._running.next_pid, command=command))

    def _start(self, effect: StartNetwork) -> Outcome:
        self.start(effect.name)
        return DONE

    def _stop(self, effect: StopNetwork) -> Outcome:
        """Whoever is plugged into it goes on without it."""
        name = effect.name
        gone = self.active.pop(name, None)
        if gone is None:
            return DONE
        for tap in self._taps.values():
            if tap.bridge == gone.bridge:
                tap.bridge, tap.isolated = "", False
        self._firewall.remove(document(gone.xml, "network"))
        processes = self._running.processes
        processes[:] = [one for one in processes if one.command != _SERVER.format(name)]
        self._step(f"network stopped: {name}")
        return DONE

    def _autostart(self, effect: AutostartNetwork) -> Outcome:
        if self._defined.get(effect.name) is None:
            raise Refused("cannot set autostart for transient network", INVALID)
        self._defined.set_autostart(effect.name, on=effect.on)
        self._step(f"network autostart: {effect.name}")
        return DONE

    def _undefine(self, effect: UndefineNetwork) -> Outcome:
        name = effect.name
        if name in self.active:
            raise Refused("it is active: undefined, it would be gone for good as soon as it is stopped")
        self._defined.drop(name)
        self._step(f"network undefined: {name}")
        return DONE

    def _define(self, effect: DefineNetwork) -> Outcome:
        seen = self._defined.get(effect.name)
        if (None if seen is None else sha256(seen.encode()).hexdigest()) != effect.expected:
            return STALE
        root = document(effect.xml, "network")
        if root.find("uuid") is None and self._exists(effect.name):
            there = document(self.definition(effect.name) or "", "network")
            under(root, "uuid").text = there.findtext("uuid")
        name = self._complete(root)
        self._defined.put(name, written(root))
        self._step(f"network defined: {name}")
        return DONE

    def _update(self, effect: UpdateNetwork) -> Outcome:
        """Both definitions, or none of them."""
        name, live, inactive = effect.name, self.active.get(effect.name), self._defined.get(effect.name)
        if not (effect.live or effect.config):
            raise Refused("neither the live nor the persistent definition was named")
        if effect.live and live is None:
            raise Refused("network is not running", INVALID)
        if effect.config and inactive is None:
            raise Refused("cannot change persistent config of a transient network", INVALID)
        new_live = _updated(live.xml, effect) if effect.live and live is not None else None
        new_inactive = _updated(inactive, effect) if effect.config and inactive is not None else None
        if new_inactive is not None:
            self._defined.put(name, new_inactive)
            self._step(f"network updated, on the disk: {name}")
        if new_live is not None and live is not None:
            live.xml = new_live
            self._step(f"network updated, live: {name}")
            self._hook("updated")
        return DONE

    def _live(self, name: str) -> str:
        """The active XML counts who is plugged in."""
        active = self.active[name]
        root = document(active.xml, "network")
        if active.ports:
            root.set("connections", str(len(active.ports)))
            reordered(root, "connections")
        return written(root)

    def _exists(self, name: str) -> bool:
        return name in self.active or self._defined.get(name) is not None

    def _complete(self, root: Element) -> str:
        """What libvirt adds to a definition, and refuses in one."""
        name = root.findtext("name") or ""
        if not name:
            raise Refused("missing name information")
        if "/" in name:
            raise Refused(f"name {name} cannot contain '/'", XML)
        self._identify(root, name)
        forward = root.find("forward")
        if (
            forward is not None and forward.get("mode") == "none"
        ):  # written out as none (virNetworkDefFormatBuf)
            root.remove(forward)
            forward = None
        mode = None if forward is None else forward.get("mode", "nat")
        if forward is not None and mode is not None:
            forward.set("mode", mode)
            if forward.find("nat") is not None and not len(under(forward, "nat")):
                forward.remove(under(forward, "nat"))
        if mode in _NEEDS_ADDRESS and root.find("ip") is None:
            why = f"{mode} forwarding requested, but no IP address provided for network '{name}'"
            raise Refused(why, XML)
        for gateway in network_xml.unreachable(written(root)):
            why = f"unreachable static route gateway '{gateway}' specified for network '{name}'"
            raise Refused(why, UNSUPPORTED)
        for ip in root.findall("ip"):
            dhcp.check(name, ip)
        if mode in _OWN_BRIDGE:
            self._complete_bridge(root, name)
        return name

    def _identify(self, root: Element, name: str) -> None:
        known = self._defined.uuids() | {
            other: document(one.xml, "network").findtext("uuid") or "" for other, one in self.active.items()
        }
        uuid = root.findtext("uuid")
        owner = next((other for other, its in known.items() if its == uuid), None)
        if owner not in (None, name):
            raise Refused(f"network '{owner}' is already defined with uuid {uuid}", FAILED)
        if owner is None and name in known:
            raise Refused(f"network '{name}' already exists with uuid {known[name]}", FAILED)
        under(root, "uuid").text = uuid or drawn_uuid("network", name, frozenset(known.values()))

    def _complete_bridge(self, root: Element, name: str) -> None:
        every = {one: self._defined.get(one) or "" for one in self._defined.names()}
        every |= {one: active.xml for one, active in self.active.items()}
        others = {_bridge(document(xml, "network")) for one, xml in every.items() if one != name}
        bridge = under(root, "bridge")
        if bridge.get("name") in others:
            raise Refused(f"bridge name '{bridge.get('name')}' already in use.", INTERNAL)
        if bridge.get("name") is None:
            free = (f"virbr{number}" for number in range(len(others) + 1))
            bridge.set("name", next(one for one in free if one not in others))
        bridge.set("stp", bridge.get("stp", "on"))
        bridge.set("delay", bridge.get("delay", "0"))
        reordered(bridge, "name", "zone", "stp", "delay")
        if root.find("mac") is None:
            add(root, "mac", {"address": drawn_mac(f"network {name}")})

    PERFORMERS: ClassVar[dict[type[Effect], Callable[[Networks, Any], Outcome]]] = {
        DefineNetwork: _define,
        UpdateNetwork: _update,
        StartNetwork: _start,
        StopNetwork: _stop,
        AutostartNetwork: _autostart,
        UndefineNetwork: _undefine,
    }


def _bridge(root: Element) -> str | None:
    one = root.find("bridge")
    return None if one is None else one.get("name")


def _updated(text: str, effect: UpdateNetwork) -> str:
    root = document(text, "network")
    dhcp.update(root, effect)
    return written(root)
