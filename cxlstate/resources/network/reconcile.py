"""The kind `network`: what differs, and what is done about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from cxlstate.core.address import AllOf
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.exports import Inputs, Reservations
from cxlstate.core.observation import Observation, Present, Unknown
from cxlstate.core.read import Read
from cxlstate.core.reconciler import How, Need, Reconciler, Resource
from cxlstate.resources.network import NetworkKind, probe, steps
from cxlstate.resources.network.check import diagnose
from cxlstate.resources.network.goal import ADDRESS, DHCP, Goal, changes, said
from cxlstate.resources.network.probe import Live
from cxlstate.resources.network.spec import NetworkName, NetworkSpec


class Network(NetworkKind, Reconciler[NetworkSpec, Live]):
    """A network by its name.

    Reservations are changed in the running and in the persistent definition, without taking the network
    down. Entries that nobody declared stay. Those that were declared before, and are no more, are known by
    our list, and go.

    A network that is not declared any more at all is left as it is, and so is our list of it: what
    libvirt says of a network is asked for by its name, and nobody says that name any more.
    """

    model: ClassVar[type[NetworkSpec]] = NetworkSpec
    key: ClassVar[object] = NetworkName

    def needs(self, me: Resource[NetworkSpec]) -> Sequence[Need]:
        """libvirt, by whatever package and service it comes."""
        return (Need(AllOf("package"), How.AFTER), Need(AllOf("service"), How.AFTER))

    def reads(self, me: Resource[NetworkSpec]) -> Sequence[Read]:
        """What libvirt answers, our files, and what is plugged into the bridges."""
        return probe.reads(me.name)

    def observe(self, me: Resource[NetworkSpec], answers: Answers) -> Observation[Live]:
        """Unknown where libvirt does not answer."""
        return probe.observe(me.spec, me.name, answers)

    def assess(self, resource: Resource[NetworkSpec], seen: Observation[Live], inputs: Inputs) -> Assessment:
        """In the persistent definition or in the running one; live wherever libvirt can do it so."""
        if isinstance(seen, Unknown):
            return Assessment((_reservations(resource.spec, Live()),))
        live = seen.live if isinstance(seen, Present) else Live()
        aim = Goal(resource.name, resource.spec, live)
        found = Assessment(
            (_reservations(resource.spec, live),),
            tuple(diagnose(aim)),
            tuple(changes(aim)),
            facts=_facts(live),
        )
        if not found.changes or (found.refused and isinstance(seen, Present)):
            return found  # a network that is there, and in which something is in the way
        return replace(found, actions=tuple(steps.actions(aim)))


reconciler = Network()


def _reservations(spec: NetworkSpec, live: Live) -> Reservations:
    """Reserved is what the spec says; the network is known by its definition, too."""
    address = spec.address or (live.definition.address if live.definition else None)
    subnet = str(address.network) if address and spec.state == "present" else None
    present = (one for one in spec.reservations or () if one.state == "present")
    return Reservations(tuple((one.mac.lower(), str(one.ip)) for one in present if one.ip), subnet)


def _facts(live: Live) -> tuple[tuple[str, str], ...]:
    """Of the definition in force."""
    definition = live.definition
    if definition is None:
        return (("network", "not there"),)
    return (
        ("active", "no" if live.active is None else "yes"),
        ("autostart", "yes" if live.autostart else "no"),
        ("address", said(definition, ADDRESS) or "none"),
        ("dhcp", said(definition, DHCP) or "none"),
        ("reservations", str(len(definition.hosts))),
        ("guests", steps.plugged_in(live) or "none"),
    )
