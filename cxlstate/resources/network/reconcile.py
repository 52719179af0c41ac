"""The kind `network`: what differs, and what is done about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cxlstate.core.action import Action
from cxlstate.core.address import AllOf
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import Given
from cxlstate.core.machine import ROOT_ONLY
from cxlstate.core.observation import Observation
from cxlstate.core.read import Answers, Read
from cxlstate.core.reconciler import How, Need, Place, Reconciler, Resource, Shape
from cxlstate.resources.network import probe, steps
from cxlstate.resources.network.check import diagnose
from cxlstate.resources.network.goal import ADDRESS, DHCP, Goal, changes, said
from cxlstate.resources.network.probe import Live
from cxlstate.resources.network.spec import NetworkName, NetworkSpec


class Network(Reconciler[NetworkSpec, Live]):
    """A network by its name.

    Reservations are changed in the running and in the persistent definition, without taking the network
    down. Entries that nobody declared stay. Those that were declared before, and are no more, are known by
    our list, and go.

    A network that is not declared any more at all is left as it is, and so is our list of it: what
    libvirt says of a network is asked for by its name, and nobody says that name any more.
    """

    kind: ClassVar[str] = "network"
    place: ClassVar[Place] = Place("networks", Shape.MAP, ROOT_ONLY)
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

    def describe(self, me: Resource[NetworkSpec], live: Live | None) -> Sequence[tuple[str, str]]:
        """Of the definition in force."""
        definition = live.definition if live else None
        if live is None or definition is None:
            return (("network", "not there"),)
        return (
            ("active", "no" if live.active is None else "yes"),
            ("autostart", "yes" if live.autostart else "no"),
            ("address", said(definition, ADDRESS) or "none"),
            ("dhcp", said(definition, DHCP) or "none"),
            ("reservations", str(len(definition.hosts))),
            ("guests", steps.plugged_in(live) or "none"),
        )

    def check(self, me: Resource[NetworkSpec], live: Live | None, given: Given) -> Sequence[Diagnostic]:
        """What libvirt would take without a word, and what it could not do."""
        return tuple(diagnose(_goal(me, live)))

    def diff(self, me: Resource[NetworkSpec], live: Live | None, given: Given) -> Sequence[Change]:
        """In the persistent definition or in the running one."""
        return tuple(changes(_goal(me, live)))

    def actions(
        self, me: Resource[NetworkSpec], live: Live | None, changes: Sequence[Change], given: Given
    ) -> Sequence[Action]:
        """Live wherever libvirt can do it so."""
        return tuple(steps.actions(_goal(me, live)))


def _goal(me: Resource[NetworkSpec], live: Live | None) -> Goal:
    return Goal(me.name, me.spec, live or Live())
