"""The kind `dax`: differences and actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from cxlstate.core.action import Action, Span
from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment, Hold
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import DaxDevice, Export, Inputs, ModuleKeptOut
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import Asked, Exists, File, MapAndRead, Question, Read
from cxlstate.core.reconciler import How, Leftover, Need, Reconciler, Resource
from cxlstate.core.units import format_address, format_size
from cxlstate.formats import dax, modprobe, restore
from cxlstate.formats.iomem import Range
from cxlstate.resources.dax import DaxKind, measured, probe, steps, verbs
from cxlstate.resources.dax.check import diagnose, in_the_way, missing, will_be_given_back, write_back
from cxlstate.resources.dax.probe import Live, Missing, linked
from cxlstate.resources.dax.spec import DaxName, DaxSpec

DRIVER: Final = ("driver",)
ALIGN: Final = ("align",)
TYPE: Final = ("memory type",)
LINK: Final = ("link",)
SCRIPT: Final = File(restore.SCRIPT)
LISTED: Final = Exists(restore.SCRIPT)
_UNCACHED: Final = "uncached-minus"


Seen = Live | Missing


class Dax(DaxKind, Reconciler[DaxSpec, Seen]):
    """Found by where it is. Nothing here touches what is in the memory: binding and aligning keep it."""

    model: ClassVar[type[DaxSpec]] = DaxSpec
    key: ClassVar[object] = DaxName

    def needs(self, me: Resource[DaxSpec]) -> Sequence[Need]:
        """Kmem out of the way, and the types of memory first: a mapping keeps the type it began with."""
        told = (Address("grub"), Address("module", "kmem"))
        return (
            *(Need(address, How.KNOWS) for address in told),
            *(Need(address, How.AFTER) for address in told),
            *((Need(AllOf("mtrr"), How.AWAITS),) if me.spec.wanted else ()),
        )

    def reads(self, me: Resource[DaxSpec]) -> Sequence[Read]:
        """sysfs, the memory map, types, links, and who holds it."""
        return probe.READS

    def inspections(self, me: Resource[DaxSpec]) -> Sequence[Read]:
        """Whether it can be mapped."""
        return (MapAndRead(me.spec.memory[0].start),) if me.spec.memory else ()

    def observe(self, me: Resource[DaxSpec], answers: Answers) -> Observation[Seen]:
        """The device, by what the spec says of it."""
        return probe.observe(me.spec, me.name, answers)

    def assess(self, resource: Resource[DaxSpec], seen: Observation[Seen], inputs: Inputs) -> Assessment:
        """What differs; of a device that is not there, that it is not.

        An error forgets its line of the boot script: nothing of it is made again then.
        """
        live = seen.live if isinstance(seen, Present) else None
        problems = tuple(_problems(resource, live, inputs)) if live else ()
        refused = any(one.severity is Severity.ERROR for one in problems)
        devices = _devices(resource, live)
        exports = devices if refused else (*devices, *_at_boot(resource, live, inputs))
        hold = _hold(resource, seen, devices, refused=refused)
        memory = measured.memory(resource.spec, seen)
        if isinstance(seen, Unknown):
            return Assessment(exports, hold=hold, measurable=memory)
        changes = () if refused else tuple(_changes(resource.spec, live))
        actions = _actions(resource, live) if live and changes else ()
        facts = _facts(resource, live)
        return Assessment(exports, problems, changes, actions, facts, hold=hold, measurable=memory)

    def leftover_reads(self) -> Sequence[Question]:
        """Our list on the machine and, where there is one, what its lines may be about."""
        return tuple(Asked(read, only_if=LISTED) for read in (SCRIPT, *probe.READS))

    def leftovers(self, answers: Answers, declared: frozenset[str]) -> Sequence[Leftover]:
        """Links, and devices that nobody holds, of names that are listed and not declared any more."""
        if not answers.exists(LISTED):
            return ()
        lines = restore.table(answers.text_or_none(SCRIPT) or "") or ()
        names = {words[1]: words[2] for words in lines if words[0] == "dax" and len(words) > 2}  # noqa: PLR2004  # name and selector
        if not set(names) - declared:
            return ()
        found = (
            steps.leftover(name, selected, answers)
            for name, selected in names.items()
            if name not in declared
        )
        return tuple(one for one in found if one.changes)


reconciler = Dax()


def _devices(resource: Resource[DaxSpec], live: Seen | None) -> tuple[DaxDevice, ...]:
    """One that is not there, not wanted and of no known place holds no memory that anybody could touch."""
    spec, link = resource.spec, f"{restore.LINKS}/{resource.name}"
    if not isinstance(live, Live) or live.others:
        if spec.memory:
            return (DaxDevice(link, _spans(spec.memory), spec.align, spec.align),)
        unknown = DaxDevice(link, desired_align=spec.align)
        return () if isinstance(live, Missing) and not spec.wanted else (unknown,)
    one = live.device
    align = spec.align or one.align
    return (DaxDevice(link, _spans(one.ranges), align, spec.align, one.region_align, one.target_node),)


def _at_boot(resource: Resource[DaxSpec], live: Seen | None, inputs: Inputs) -> tuple[Export, ...]:
    """What makes it ready again after a boot."""
    there = live if isinstance(live, Live) else None
    if not resource.spec.wanted or (there and there.doomed):
        return ()
    step = verbs.at_boot(resource.name, steps.selector(resource.spec), resource.spec.align)
    no_ram = there and will_be_given_back(there, inputs)
    return (*((ModuleKeptOut(modprobe.KMEM),) if no_ram else ()), step)


def _facts(resource: Resource[DaxSpec], live: Seen | None) -> tuple[tuple[str, str], ...]:
    """The device of today, its driver, alignment, type, and who holds it."""
    if not isinstance(live, Live):
        return (("device", "not there"),)
    device = live.device
    region = f", region {format_size(device.region_align)}" if device.region_align else ""
    facts = [
        ("device", f"{device.name} ({device.owner or device.region})"),
        ("memory", device.memory),
        ("node", "none" if device.target_node is None else str(device.target_node)),
        ("driver", device.driver or "none"),
        ("align", f"{format_size(device.align)}{region}"),
        ("link", f"{restore.LINKS}/{resource.name}" if linked(live) else "none"),
    ]
    if live.bound:
        facts.append(("type", _types(live)))
    if live.holders:
        facts.append(("held by", ", ".join(dict.fromkeys(map(str, live.holders)))))
    if live.inspected:
        facts.append(("access", live.inspected))
    return tuple(facts)


def _problems(resource: Resource[DaxSpec], live: Seen, inputs: Inputs) -> tuple[Diagnostic, ...]:
    """What cannot be right, and who is in the way of what is to be done."""
    if isinstance(live, Missing):
        return (missing(live),) if resource.spec.wanted else ()
    problems = tuple(diagnose(resource, live, inputs))
    if any(one.severity is Severity.ERROR for one in problems) or not _must_unbind(resource.spec, live):
        return problems
    held = in_the_way(live.holders, resource.name)
    return (*problems, held) if held else problems


def _changes(spec: DaxSpec, live: Seen | None) -> Sequence[Change]:
    if live is None:
        return (Change(("device",), None, _said(spec)),) if spec.wanted else ()
    if isinstance(live, Missing):
        return (Change(LINK, live.link, None),) if live.link else ()
    if not spec.wanted:
        bound = (Change(DRIVER, live.device.driver, None),) if live.bound else ()
        return (*bound, *((Change(LINK, live.link, None),) if live.link else ()))
    if live.doomed:
        return (Change(LINK, live.link, None),) if live.link else ()
    return _to_enable(spec, live)


def _actions(me: Resource[DaxSpec], live: Seen) -> tuple[Action, ...]:
    """Out of use where it must be, bound again, mapped and read, and only then linked."""
    if isinstance(live, Missing):
        return (steps.unlink(me, live),)
    if not me.spec.wanted:
        return tuple(steps.given_up(me, live))
    if live.doomed:
        return (steps.unlink(me, live),)
    if live.stays_ram:
        return (steps.reboot(live),) if live.kmem.kept_out_by else ()
    if live.bound and not _must_unbind(me.spec, live):
        return (steps.link(me, live),)
    took = (steps.reclaim(me, live),) if live.device.driver == dax.KMEM else ()
    stops, unbinds = steps.out_of_use(me, live)
    unlinks = (steps.unlink(me, live),) if live.link else ()
    binds, starts = steps.back(me, live, me.spec.align or live.device.align)
    return (*stops, *unlinks, *unbinds, *took, *binds, steps.link(me, live), *starts)


def _hold(
    me: Resource[DaxSpec], seen: Observation[Seen], devices: Sequence[DaxDevice], *, refused: bool
) -> Hold | None:
    """Guests that hold it are shut down, and its driver lets go of it; behind that all is as it was.

    Its link stays. What kmem has is RAM no more, and stays so.
    """
    if not devices or isinstance(seen, Absent):
        return None
    spans = tuple(span for one in devices for span in one.ranges)
    if isinstance(seen, Unknown) or not spans:
        return Hold(spans, unknown=True)
    live = seen.live
    if isinstance(live, Live) and live.given_back and me.spec.wanted:
        return Hold(spans, (steps.reclaim(me, live),))
    if not isinstance(live, Live) or not live.bound:
        return None
    if live.forced and not live.uncachable:
        return Hold(spans, stuck=write_back(live))
    if held := in_the_way(live.holders, me.name):
        return Hold(spans, stuck=held)
    stops, unbinds = steps.out_of_use(me, live)
    align = None if refused else me.spec.align
    binds, starts = steps.back(me, live, align or live.device.align)
    return Hold(spans, (*stops, *unbinds), (*binds, *starts))


def _spans(ranges: Sequence[Range]) -> tuple[Span, ...]:
    return tuple(Span(one.start, one.end) for one in ranges)


def _to_enable(spec: DaxSpec, live: Live) -> Sequence[Change]:
    changes = []
    if not live.bound:
        old = live.device.driver or "none"
        if live.stays_ram:
            old += " (system RAM, in use by the kernel)"
        changes.append(Change(DRIVER, old, dax.DEVDAX))
    if spec.align and spec.align != live.device.align:
        changes.append(Change(ALIGN, format_size(live.device.align), format_size(spec.align)))
    if live.cached:
        changes.append(Change(TYPE, ", ".join(live.types or ()), _UNCACHED))
    if not linked(live):
        changes.append(Change(LINK, live.link, f"../{live.device.name}"))
    if live.stays_ram and live.kmem.kept_out_by:  # one reboot does all of it
        return tuple(Change(one.path, one.old, one.new, pending=True) for one in changes)
    return changes


def _said(spec: DaxSpec) -> str:
    if spec.memory:
        said = (f"{format_size(one.size)} at {format_address(one.start)}" for one in spec.memory)
        return f"a dax device of {' and '.join(said)}"
    return f"the dax device {spec.device}" if spec.device else f"a dax device of node {spec.target_node}"


def _must_unbind(spec: DaxSpec, live: Live) -> bool:
    """Whether what differs can be mended only while nobody uses it."""
    if not live.bound:
        return False
    if not spec.wanted:
        return True
    return live.cached or (spec.align is not None and spec.align != live.device.align)


def _types(live: Live) -> str:
    if live.types is None:
        return "cannot be read"
    return ", ".join(live.types) or "no record"
