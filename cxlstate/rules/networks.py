"""Rules between networks: what libvirt lets only one of them have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Final

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.resources.network.spec import NetworkSpec
from cxlstate.rules.words import Resources, Rule, TreeRule, of


def a_bridge_and_a_subnet_are_of_one_network(resources: Resources) -> Iterator[Diagnostic]:
    """CXR212: "bridge name 'virbr7' already in use", and "Network is already in use by interface virbr7"."""
    networks = [me for me in of(resources, NetworkSpec) if me.spec.state == "present"]
    for first, me in combinations(networks, 2):
        bridge, address, other = me.spec.bridge, me.spec.address, first.spec.address
        if bridge and bridge == first.spec.bridge:
            yield Diagnostic(
                "CXR212",
                "two networks have the same bridge",
                path=(*me.path, "bridge"),
                address=me.address,
                found=f"{bridge}, also of {first.address}",
                expected="a bridge of its own",
                hint="leave out bridge: libvirt chooses one that is free",
            )
        both_run = bool(me.spec.active and first.spec.active)
        if both_run and address and other and address.network.overlaps(other.network):
            yield Diagnostic(
                "CXR212",
                "two active networks have the same addresses",
                path=(*me.path, "address"),
                address=me.address,
                found=f"{address.network}, and {other.network} of {first.address}",
                expected="addresses of its own",
            )


RULES: Final[tuple[Rule, ...]] = (a_bridge_and_a_subnet_are_of_one_network,)
BETWEEN: Final[tuple[TreeRule, ...]] = ()
