"""The kind `vm`: differences and actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import ClassVar, Final

from cxlstate.core.action import Action
from cxlstate.core.address import Address, AllOf
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.domain import Domain
from cxlstate.core.exports import Given
from cxlstate.core.machine import ROOT_ONLY
from cxlstate.core.observation import Observation
from cxlstate.core.path import Path
from cxlstate.core.read import Answers, LibvirtAddresses, Read
from cxlstate.core.reconciler import How, Need, Place, Reconciler, Resource, Shape
from cxlstate.core.units import format_cpus, format_size
from cxlstate.formats import domain_xml
from cxlstate.resources.vm import probe, steps
from cxlstate.resources.vm.check import diagnose
from cxlstate.resources.vm.compare import EMPTY, PINS, Compared, compare
from cxlstate.resources.vm.probe import Host, Live, Seen
from cxlstate.resources.vm.spec import VmName, VmSpec
from cxlstate.resources.vm.wish import wish

STATE: Final = ("state",)
AUTOSTART: Final = ("autostart",)


class VmReconciler(Reconciler[VmSpec, Seen]):
    """Edited, never replaced: its UUID, NVRAM, snapshots and all that the spec has no word for stay."""

    kind: ClassVar[str] = "vm"
    place: ClassVar[Place] = Place("vms", Shape.MAP, ROOT_ONLY)
    model: ClassVar[type[VmSpec]] = VmSpec
    key: ClassVar[object] = VmName

    def needs(self, me: Resource[VmSpec]) -> Sequence[Need]:
        """What it opens and is plugged into, ready; libvirt first."""
        spec = me.spec
        after = [Need(AllOf(kind), How.AFTER) for kind in ("package", "service")]
        if spec.state == "absent":
            return after
        told = [Address.parse(one.dax) for one in spec.nvdimm or () if one.dax and one.state == "present"]
        told += [Address.parse(one.image) for one in spec.disks or () if one.image]
        told += [Address("network", one.network) for one in spec.interfaces or () if one.network]
        return (*after, *(Need(address, How.REQUIRES) for address in dict.fromkeys(told)))

    def reads(self, me: Resource[VmSpec]) -> Sequence[Read]:
        """The domain, and the host around it."""
        return probe.reads(me.name, me.spec)

    def inspections(self, me: Resource[VmSpec]) -> Sequence[Read]:
        """The addresses that it has."""
        return (LibvirtAddresses(me.name),)

    def observe(self, me: Resource[VmSpec], answers: Answers) -> Observation[Seen]:
        """What libvirt says of it."""
        return probe.observe(me.name, me.spec, answers)

    def describe(self, me: Resource[VmSpec], live: Seen | None) -> Sequence[tuple[str, str]]:
        """How it stands, where it runs, and what it holds."""
        if not isinstance(live, Live):
            return (("domain", "not defined"),)
        now = live.active or live.inactive
        facts = [("state", live.state), ("autostart", "yes" if live.autostart else "no")]
        facts += [("address", ", ".join(live.addresses))] if live.addresses else []
        if now and now.memory:
            facts.append(("memory", format_size(now.memory)))
        if now and now.vcpu:
            most = f" of {now.max_vcpu}" if now.max_vcpu else ""
            facts.append(("vcpu", f"{now.vcpu}{most}{_where(now.vcpupin, live.host)}"))
        for nvdimm in (now.nvdimm if now else None) or ():
            facts.append(("nvdimm", f"{format_size(nvdimm.size or 0)} from {nvdimm.path}"))
        if live.inactive and live.active:
            later = domain_xml.differences(live.inactive, live.active, running=True)
            facts += [("from its next start", "; ".join(_said(one) for one in later))] if later else []
        return facts

    def check(self, me: Resource[VmSpec], live: Seen | None, given: Given) -> Sequence[Diagnostic]:
        """What cannot be right, before libvirt or QEMU would find it out half way."""
        return () if live is None else tuple(diagnose(me, live, given))

    def diff(self, me: Resource[VmSpec], live: Seen | None, given: Given) -> Sequence[Change]:
        """In the definition, in what runs where a restart is needed for it, and in how it stands."""
        spec = me.spec
        if spec.state == "absent":
            return (Change(STATE, live.state, None),) if isinstance(live, Live) else ()
        wished = wish(spec, given)
        if not isinstance(live, Live):
            return (*_made(wished), *_standing(spec, "shut-off", autostart=False))
        found = compare(wished, live, runs_on=spec.state != "shut-off")
        return (*found.changes, *_standing(spec, live.state, autostart=live.autostart))

    def actions(
        self, me: Resource[VmSpec], live: Seen | None, changes: Sequence[Change], given: Given
    ) -> Sequence[Action]:
        """The definition first; then what can be changed while it runs; then what takes a restart."""
        spec, wished = me.spec, wish(me.spec, given)
        if spec.state == "absent":
            return steps.forget(me, live) if isinstance(live, Live) else ()
        stands = {change.path: change.new for change in changes if change.path in (STATE, AUTOSTART)}
        if isinstance(live, Live):
            found = compare(wished, live, runs_on=spec.state != "shut-off")
            done = steps.edits(me, wished, live, found)
        else:
            found = Compared()
            try:
                xml = domain_xml.new(me.name, wished, spec.xml.text if spec.xml else None)
            except ValueError:
                if live is not None:
                    raise
                return ()  # planned before libvirt can be asked: what is wrong is told once it can
            done = (steps.define(me, xml),)
        autostart = (steps.autostart(me),) if AUTOSTART in stands else ()
        moves: tuple[Action, ...] = ()
        if STATE in stands:
            moves = (
                steps.start(me, given) if stands[STATE] == "running" else steps.stop(me, stays_off=True),
            )
        restarts = steps.restart(me, given) if found.needs_restart and not moves else ()
        return (*done, *autostart, *moves, *restarts)


def _made(wished: Domain) -> Iterator[Change]:
    """All of a VM that is not there; its many pins in a line."""
    yield Change(("domain",), None, "defined")
    for path, several in groupby(domain_xml.differences(wished, EMPTY), _of_one_line):
        yield Change(path, None, " ".join(str(one.new) for one in several))


def _of_one_line(one: domain_xml.Difference) -> Path:
    return one.path[:1] if one.path[0] in PINS else one.path


def _standing(spec: VmSpec, state: str, *, autostart: bool) -> tuple[Change, ...]:
    changes = []
    if spec.autostart is not None and spec.autostart != autostart:
        changes.append(Change(AUTOSTART, autostart, spec.autostart))
    if spec.state is not None and (state in probe.RUNS) != (spec.state == "running"):
        changes.append(Change(STATE, state, spec.state))
    return tuple(changes)


def _where(pins: Sequence[tuple[int, frozenset[int]]] | None, host: Host) -> str:
    """` on CPUs 1,3 of node 1`, for as many as are pinned."""
    if not pins:
        return ""
    cpus = frozenset[int]().union(*(cpus for _, cpus in pins))
    nodes = frozenset(node for node, of in host.nodes.items() if of & cpus)
    return (
        f" on CPUs {format_cpus(cpus)} of node {format_cpus(nodes)}"
        if nodes
        else f" on CPUs {format_cpus(cpus)}"
    )


def _said(one: domain_xml.Difference) -> str:
    name = ".".join(one.entry or str(step) if isinstance(step, int) else step for step in one.path)
    return f"{name} {one.old} → {one.new}"
