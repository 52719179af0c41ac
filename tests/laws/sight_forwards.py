"""Laws 6 and 7 for port forwards: what can be undone, and what a leaf is changed to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cxlstate.formats import forward_keeping
from cxlstate.resources.forward import keepers
from cxlstate.simulator.netfilter import IptChain, NftTable
from cxlstate.simulator.world import World
from tests.laws.bench import Bench

Undo = Callable[[Bench], None]
Leaf = tuple[str | int, ...]

WORDS: dict[str, Any] = {
    "forwards": {
        "web": {
            "listen": {"port": 8080, "protocol": "tcp", "address": "192.0.2.1"},
            "to": {"vm": "direct", "port": 80},
            "from": ["outside", "host"],
        },
        "many": {
            "listen": {"ports": "9000-9001", "protocol": "udp", "interface": "eno1"},
            "to": {"address": "192.168.122.111"},
        },
        "gone": {"listen": {"port": 1}, "to": {"address": "192.168.122.111"}, "state": "absent"},
    }
}
_REJECT = "-p tcp -j REJECT --reject-with icmp-port-unreachable"
_SCRIPT, _TABLE, _HOOK, _UNIT = (
    path.lstrip("/")
    for path in (
        forward_keeping.SCRIPT,
        forward_keeping.TABLE,
        forward_keeping.HOOK,
        keepers.UNIT_FILE,
    )
)


def _world(change: Callable[[World], object]) -> Undo:
    def undo(bench: Bench) -> None:
        with bench.world() as world:
            change(world)

    return undo


def _table(change: Callable[[NftTable], object]) -> Undo:
    return _world(lambda world: change(world.running.nftables["inet cxlstate"]))


def _filter(change: Callable[[list[str]], object]) -> Undo:
    return _world(lambda world: change(_forward(world).rules))


def _forward(world: World) -> IptChain:
    return world.running.iptables["nft"]["filter"]["FORWARD"]


def _not_forwarding(world: World) -> None:
    world.running.ip_forward = False


def _remove(path: str) -> Undo:
    return lambda bench: bench.path(path).unlink()


def _edit(path: str, old: str, new: str) -> Undo:
    return lambda bench: bench.edit(path, old, new)


UNDONE: dict[str, tuple[str, Undo]] = {
    name: ("forward", undo)
    for name, undo in {
        "all rules are flushed": _world(lambda world: world.running.nftables.clear()),
        "a forward is gone": _table(lambda one: one.sets["outside_interface_same"].elements.clear()),
        "a forward is gone for one origin": _table(lambda one: one.sets.pop("host_address_moved")),
        "a forward leads elsewhere": _table(
            lambda one: one.sets["outside_address_moved"].elements.__setitem__(
                0, '192.0.2.1 . tcp . 8080 comment "web" : 192.168.122.9 . 80'
            )
        ),
        "somebody's forward is in our table": _table(
            lambda one: one.sets["outside_interface_same"].elements.append(
                '"eno1" . tcp . 22 comment "ssh" : 192.168.122.9'
            )
        ),
        "a rule of our table is gone": _table(lambda one: one.chains["tag"].rules.pop()),
        "a rule is ahead in our table": _table(lambda one: one.chains["output"].rules.insert(0, "accept")),
        "what is let through is another": _table(lambda one: one.sets["targets"].elements.pop()),
        "the gate is gone": _filter(lambda rules: rules.pop(0)),
        "the gate is behind what rejects": _filter(lambda rules: rules.insert(0, _REJECT)),
        "the gate is behind libvirt's chains": _filter(lambda rules: rules.append(rules.pop(0))),
        "the gate is there twice": _filter(lambda rules: rules.append(rules[0])),
        "packets are not forwarded": _world(_not_forwarding),
        "the script of forwards is removed": _remove(_SCRIPT),
        "the script of forwards is edited": _edit(_SCRIPT, "timeout -k 5 30", "timeout -k 5 3"),
        "the text of the table is removed": _remove(_TABLE),
        "the text of the table is edited": _edit(_TABLE, "192.168.122.112", "192.168.122.9"),
        "the hook is removed": _remove(_HOOK),
        "the hook is edited": _edit(_HOOK, "exit 0", "exit 1"),
        "the hook cannot be run": lambda bench: bench.path(_HOOK).chmod(0o644),
        "the hook is not known to libvirt": _world(
            lambda world: world.running.since.update({"libvirtd.service": 86400})
        ),
        "the unit of forwards is edited": _edit(_UNIT, "TimeoutStartSec=", "TimeoutStartSec=1"),
        "the unit of forwards is removed": _remove(_UNIT),
        "the unit of forwards is disabled": lambda bench: bench.run("systemctl", "disable", keepers.UNIT),
        "the unit of forwards was read before it was written": _world(
            lambda world: world.running.known_units.update({keepers.UNIT: "another"})
        ),
    }.items()
}

_WEB, _MANY = ("forwards", "web"), ("forwards", "many")

CHANGED: tuple[tuple[Leaf, Any, str], ...] = tuple(
    (path, value, "forward")
    for path, value in (
        ((*_WEB, "listen", "port"), 8081),
        ((*_WEB, "listen", "protocol"), "udp"),
        ((*_WEB, "listen", "address"), "192.0.2.2"),
        ((*_WEB, "to"), {"address": "192.168.122.9", "port": 80}),
        ((*_WEB, "to", "port"), 81),
        ((*_WEB, "from"), ["outside"]),
        ((*_MANY, "listen", "ports"), "9000-9002"),
        ((*_MANY, "listen", "protocol"), "tcp"),
        ((*_MANY, "listen", "interface"), "eno2"),
        ((*_MANY, "to", "address"), "192.168.122.9"),
        (("forwards", "gone"), {"listen": {"port": 2}, "to": {"address": "192.168.122.9"}}),
    )
)
