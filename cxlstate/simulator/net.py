"""Network devices: the host's own, bridges, and the taps of guests. ip-link(8), bridge(8).

Sources: Linux 6.12 Documentation/ABI/testing/sysfs-class-net, net/bridge/br_sysfs_if.c; texts of
iproute2 6.15.
"""

from __future__ import annotations

from collections.abc import Iterator

from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.world import World

_OWN = ("enp1s0", "lo")
_WRONG = 255


class Devices:
    """The network devices of one machine."""

    def __init__(self, world: World) -> None:
        self._taps = world.running.taps
        self._strays = world.running.strays
        active = (one.bridge for one in world.running.networks.values())
        self.bridges = {*world.bridges, *self._strays, *active} - {""}

    def ip(self, words: list[str]) -> Ended:
        """`ip link set dev NAME master BRIDGE up`, `ip link delete dev NAME type bridge`."""
        match words:
            case ["link", "delete", "dev", name, "type", "bridge"]:
                if name not in self._strays:
                    return Ended(1, stderr=f'Cannot find device "{name}"\n')
                del self._strays[name]
                return Ended()
            case ["link", "set", "dev", name, "master", bridge, "up"]:
                if name not in self._taps:
                    return Ended(1, stderr=f'Cannot find device "{name}"\n')
                if bridge not in self.bridges:
                    why = f'Error: argument "{bridge}" is wrong: Device does not exist\n'
                    return Ended(_WRONG, stderr=why)
                self._taps[name].bridge = bridge
                return Ended()
        return unknown(("ip", *words))

    def bridge(self, words: list[str]) -> Ended:
        """`bridge link set dev NAME isolated on|off`."""
        match words:
            case ["link", "set", "dev", name, "isolated", "on" | "off" as wanted]:
                if name not in self._taps:
                    return Ended(_WRONG, stderr=f'Cannot find bridge device "{name}"\n')
                if not self._taps[name].bridge:
                    return Ended(_WRONG, stderr="RTNETLINK answers: Operation not supported\n")
                self._taps[name].isolated = wanted == "on"
                return Ended()
        return unknown(("bridge", *words))

    def files(self) -> Iterator[tuple[str, str]]:
        """What sysfs has of them."""
        for name in (*_OWN, *sorted(self.bridges), *self._taps):
            yield f"/sys/class/net/{name}/type", "772\n" if name == "lo" else "1\n"
        for name, mac in self._strays.items():
            yield f"/sys/class/net/{name}/address", f"{mac}\n"
        for name, tap in self._taps.items():
            if tap.bridge:
                yield f"/sys/class/net/{name}/brport/isolated", f"{int(tap.isolated)}\n"

    def links(self) -> Iterator[tuple[str, str]]:
        """What is plugged into which bridge."""
        for name, tap in self._taps.items():
            if tap.bridge:
                yield f"/sys/class/net/{tap.bridge}/brif/{name}", f"../../{name}/brport"
