"""The kind `vm`: differences and actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import ClassVar, Final

from cxlstate.core.action import Action
from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.domain import Domain
from cxlstate.core.exports import DiskImage, Export, GrownDisk, GuestToBe, Inputs, MacAddresses, Reservations
from cxlstate.core.guest import GuestAccess
from cxlstate.core.observation import Observation, Present, Unknown
from cxlstate.core.path import Path
from cxlstate.core.read import LibvirtAddresses, Read
from cxlstate.core.reconciler import How, Need, Reconciler, Resource
from cxlstate.core.units import format_cpus, format_size
from cxlstate.formats import cloud_init, domain_xml
from cxlstate.resources.vm import VmKind, access, guest_memory, probe, steps
from cxlstate.resources.vm.check import before_it_is_seen, diagnose, later
from cxlstate.resources.vm.compare import EMPTY, PINS, compare
from cxlstate.resources.vm.probe import Host, Live, Seen
from cxlstate.resources.vm.spec import VmName, VmSpec
from cxlstate.resources.vm.states import RUNS
from cxlstate.resources.vm.to_be import guest_to_be
from cxlstate.resources.vm.wish import wish

STATE: Final = ("state",)
AUTOSTART: Final = ("autostart",)


class VmReconciler(VmKind, Reconciler[VmSpec, Seen]):
    """Edited, never replaced: its UUID, NVRAM, snapshots and all that the spec has no word for stay."""

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
        seed = [Need(Address("provision", me.name), How.AWAITS)] if probe.is_provisioned(me) else []
        return (*after, *seed, *(Need(address, How.REQUIRES) for address in dict.fromkeys(told)))

    def reads(self, me: Resource[VmSpec]) -> Sequence[Read]:
        """The domain, and the host around it."""
        return probe.reads(me)

    def inspections(self, me: Resource[VmSpec]) -> Sequence[Read]:
        """The addresses that it has."""
        return (LibvirtAddresses(me.name),)

    def observe(self, me: Resource[VmSpec], answers: Answers) -> Observation[Seen]:
        """What libvirt says of it."""
        return probe.observe(me, answers)

    def assess(self, resource: Resource[VmSpec], seen: Observation[Seen], inputs: Inputs) -> Assessment:
        """In the definition, in what runs where a restart is needed for it, and in how it stands."""
        live = seen.live if isinstance(seen, Present) else None
        memory = guest_memory.exported(resource, live, inputs)
        known: tuple[Export, ...] = (*_interfaces(resource.spec), *memory, *_grown(resource, inputs))
        waits = tuple(later(resource.spec, inputs, seen))
        derived = guest_memory.derived(resource.spec, inputs)
        if isinstance(seen, Unknown):
            host = seen.partly if isinstance(seen.partly, Host) else None
            told = before_it_is_seen(resource, host, inputs) if host else ()
            to_be = _to_be(resource, host, None, inputs)
            return Assessment((*to_be, *known), tuple(told), later=waits, derived=derived)
        wished = wish(resource.spec, inputs, live.host.links if live else {})
        problems = tuple(diagnose(resource, live, wished, inputs)) if live else ()
        to_be = _to_be(resource, live.host if live else None, live, inputs)
        exports: tuple[Export, ...] = (*_way(resource, live, inputs), *to_be, *known)
        found = Assessment(exports, problems, facts=tuple(_facts(live)), later=waits, derived=derived)
        if found.refused:
            return found
        if resource.spec.state == "absent":
            return _forgotten(resource, live, found)
        if not isinstance(live, Live):
            return _defined(resource, wished, inputs, found, known=live is not None)
        return _edited(resource, wished, live, inputs, found)


reconciler = VmReconciler()


def _interfaces(spec: VmSpec) -> tuple[MacAddresses, ...]:
    macs = tuple(one.mac for one in spec.interfaces or () if one.state == "present")
    return (MacAddresses(macs),) if macs and spec.state != "absent" else ()


def _grown(me: Resource[VmSpec], inputs: Inputs) -> tuple[GrownDisk, ...]:
    """The disks that its guest will see larger."""
    images = dict(inputs.all(DiskImage))
    disks = (one for one in me.spec.disks or () if one.image and one.state != "absent")
    used = [images.get(Address.parse(one.image)) for one in disks if one.image]
    return tuple(
        GrownDisk(one.grows_from, one.size) for one in used if one and one.size and one.grows_from is not None
    )


def _way(me: Resource[VmSpec], live: Seen | None, inputs: Inputs) -> tuple[GuestAccess, ...]:
    """Into the guest, if the spec describes one. A VM that is not there does not run."""
    if not me.has_guest:
        return ()
    if live is None or live.way is None:
        return (GuestAccess(running=False, defined=False),)
    now = live.active or live.inactive if isinstance(live, Live) else None
    macs = [one.mac for one in (now and now.interfaces) or ()]
    reserved = [pair for _, one in inputs.all(Reservations) for pair in one.pairs]
    return (access.with_reserved(live.way, macs, reserved),)


def _to_be(
    me: Resource[VmSpec], host: Host | None, live: Seen | None, inputs: Inputs
) -> tuple[GuestToBe, ...]:
    found = guest_to_be(me, host, live, inputs)
    return (found,) if found else ()


def _forgotten(me: Resource[VmSpec], live: Seen | None, found: Assessment) -> Assessment:
    if not isinstance(live, Live):
        return found
    return replace(found, changes=(Change(STATE, live.state, None),), actions=steps.forget(me, live))


def _defined(
    me: Resource[VmSpec], wished: Domain, inputs: Inputs, found: Assessment, *, known: bool
) -> Assessment:
    """One that is not there. Before libvirt can be asked, what is wrong with it is told once it can."""
    standing = _standing(me.spec, "shut-off", autostart=False)
    new = any(isinstance(one, GuestToBe) and one.new for one in found.exports)
    seed = cloud_init.seed(me.name) if new and probe.has_seed(me) else None
    given = (Change(("seed",), None, seed),) if seed else ()
    found = replace(found, changes=(*_made(wished), *given, *standing))
    try:
        xml = domain_xml.new(me.name, wished, me.spec.xml.text if me.spec.xml else None, seed)
    except ValueError:
        if known:
            raise
        return found
    return replace(found, actions=(steps.define(me, xml), *_stood(me, standing, inputs)))


def _edited(
    me: Resource[VmSpec], wished: Domain, live: Live, inputs: Inputs, found: Assessment
) -> Assessment:
    """The definition first; then what can be changed while it runs; then what takes a restart."""
    differs = compare(wished, live, runs_on=me.spec.state != "shut-off")
    standing = _standing(me.spec, live.state, autostart=live.autostart)
    moves = any(change.path == STATE for change in standing)
    restarts = steps.restart(me, inputs) if differs.needs_restart and not moves else ()
    actions = (*steps.edits(me, wished, live, differs), *_stood(me, standing, inputs), *restarts)
    return replace(found, changes=(*differs.changes, *standing), actions=actions)


def _stood(me: Resource[VmSpec], standing: Sequence[Change], inputs: Inputs) -> Iterator[Action]:
    """With the host or not, and on or off."""
    for change in standing:
        if change.path == AUTOSTART:
            yield steps.autostart(me)
        else:
            on = change.new == "running"
            yield steps.start(me, inputs) if on else steps.stop(me, stays_off=True)


def _facts(live: Seen | None) -> Iterator[tuple[str, str]]:
    """How it stands, where it runs, and what it holds."""
    if not isinstance(live, Live):
        yield ("domain", "not defined")
        return
    now = live.active or live.inactive
    yield ("state", live.state)
    yield ("autostart", "yes" if live.autostart else "no")
    if live.addresses:
        yield ("address", ", ".join(live.addresses))
    if now and now.memory:
        yield ("memory", format_size(now.memory))
    if now and now.vcpu:
        most = f" of {now.max_vcpu}" if now.max_vcpu else ""
        yield ("vcpu", f"{now.vcpu}{most}{_where(now.vcpupin, live.host)}")
    for nvdimm in (now.nvdimm if now else None) or ():
        yield ("nvdimm", f"{format_size(nvdimm.size or 0)} from {nvdimm.path}")
    if live.inactive and live.active:
        coming = domain_xml.differences(live.inactive, live.active, running=True)
        if coming:
            yield ("from its next start", "; ".join(_said(one) for one in coming))


def _made(wished: Domain) -> Iterator[Change]:
    """All of a VM that is not there; its many pins in a line."""
    yield Change(("domain",), None, "defined")
    for path, several in groupby(domain_xml.differences(wished, EMPTY), _of_one_line):
        words = [one.new for one in several]
        yield Change(path, None, words[0] if isinstance(words[0], bool) else " ".join(map(str, words)))


def _of_one_line(one: domain_xml.Difference) -> Path:
    return one.path[:1] if one.path[0] in PINS else one.path


def _standing(spec: VmSpec, state: str, *, autostart: bool) -> tuple[Change, ...]:
    changes = []
    if spec.autostart is not None and spec.autostart != autostart:
        changes.append(Change(AUTOSTART, autostart, spec.autostart))
    if spec.state is not None and (state in RUNS) != (spec.state == "running"):
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
