"""The kind `namespace`: differences and actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from cxlstate.core.action import Action, Risk, Run, undoing
from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment, Derived, Later
from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Inputs, NvdimmOfVm
from cxlstate.core.measure import Measurable
from cxlstate.core.observation import Observation, Present, Unknown
from cxlstate.core.read import Read
from cxlstate.core.reconciler import How, Need, Reconciler, Resource
from cxlstate.core.units import format_address, format_size
from cxlstate.formats import dax, dax_verbs, restore
from cxlstate.formats.ndctl import Namespace, Region
from cxlstate.resources.namespace import NamespaceKind, check, probe
from cxlstate.resources.namespace.probe import MODULES, Live
from cxlstate.resources.namespace.spec import PAGED, NamespaceName, NamespaceSpec

NAMESPACE: Final = ("namespace",)

Me = Resource[NamespaceSpec]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of one region. `map` and `align` are None where it stays as it is."""

    spec: NamespaceSpec
    given: NvdimmOfVm | None

    @property
    def map(self) -> str | None:
        """Where page structures are."""
        return self.spec.map

    @property
    def align(self) -> int | None:
        """As written, else as the memory behind the NVDIMM is to be aligned."""
        if self.spec.mode not in PAGED:
            return None
        return self.spec.align or (self.given.align if self.given else None)

    @property
    def derived(self) -> tuple[Derived, ...]:
        """What the VM's wish gives, and the user did not write."""
        if self.spec.align or not self.align or self.given is None or self.given.align_of is None:
            return ()
        return (Derived(("align",), format_size(self.align), self.given.align_of),)


class NamespaceReconciler(NamespaceKind, Reconciler[NamespaceSpec, Live]):
    """Found by its NVDIMM or address. Whatever makes one anew destroys what is in it."""

    model: ClassVar[type[NamespaceSpec]] = NamespaceSpec
    key: ClassVar[object] = NamespaceName

    def needs(self, me: Resource[NamespaceSpec]) -> Sequence[Need]:
        """Tools and drivers first; in a guest the VM in force, which tells of its NVDIMMs."""
        modules = (Need(Address("module", name), How.AFTER) for name in MODULES)
        vm = (Need(me.at_vm, How.REQUIRES, on_parent=True),) if me.at_vm else ()
        return (Need(AllOf("package"), How.AFTER), *modules, *vm)

    def reads(self, me: Resource[NamespaceSpec]) -> Sequence[Read]:
        """Ndctl's list, the nd and dax buses, and who uses what is there."""
        return probe.reads(me.spec)

    def observe(self, me: Resource[NamespaceSpec], answers: Answers) -> Observation[Live]:
        """All regions: which one is meant may hang on the VM."""
        return probe.observe(me.spec, answers)

    def assess(
        self, resource: Resource[NamespaceSpec], seen: Observation[Live], inputs: Inputs
    ) -> Assessment:
        """The region that is meant, and what differs in it."""
        spec = resource.spec
        given, unknown_nvdimm = _given(resource, inputs)
        wish = Wish(spec, given)
        before = (*unknown_nvdimm, *check.beforehand(spec, given))
        later = (Later("region, and what is in it", (resource.at_vm,) if resource.at_vm else ()),)
        if isinstance(seen, Unknown):
            return Assessment(problems=before, later=later, derived=wish.derived)
        if not isinstance(seen, Present) or (spec.wanted and given and not given.runs):
            return Assessment(
                problems=before,
                changes=_to_come(wish, resource.at_vm),
                actions=_blind(wish),
                later=later,
                derived=wish.derived,
            )
        live = seen.live
        found = probe.meant(spec, given, live)
        problems = (*before, *check.located(spec, found, live)) if found or spec.wanted else ()
        if any(one.severity is Severity.ERROR for one in problems) or not found:
            return Assessment(problems=problems, facts=_regions(live), derived=wish.derived)
        return _compared(wish, found[0], live, problems)


reconciler = NamespaceReconciler()


def _given(me: Me, inputs: Inputs) -> tuple[NvdimmOfVm | None, tuple[Diagnostic, ...]]:
    """The VM's NVDIMM that is meant, in a guest; and that the VM has none such."""
    spec, every = me.spec, [one for _, one in inputs.all(NvdimmOfVm)]
    if me.at_vm is None or spec.region is not None:
        return None, ()
    if spec.nvdimm is not None:
        found = [one for one in every if one.number == spec.nvdimm]
    elif spec.handle is not None:  # it may be of an NVDIMM that the spec does not name
        found = [one for one in every if one.handle == spec.handle]
    else:
        found = every if len(every) == 1 else []
    if found or spec.nvdimm is None:
        return next(iter(found), None), ()
    return None, (
        Diagnostic(
            "CXA313",
            "the VM has no such NVDIMM",
            path=("nvdimm",),
            found=str(spec.nvdimm),
            expected=", ".join(map(_said, every)) or f"an entry of `nvdimm` at {me.at_vm}",
        ),
    )


def _said(one: NvdimmOfVm) -> str:
    return f"nvdimm {one.number}" + (f" (handle {one.handle})" if one.handle else "")


def _compared(wish: Wish, region: Region, live: Live, problems: tuple[Diagnostic, ...]) -> Assessment:
    """What differs in one region with one namespace at most."""
    there = next(iter(region.namespaces), None)
    spec = wish.spec
    anew = tuple(_differences(wish, region, there))
    changes: tuple[Change, ...] = anew
    actions: tuple[Action, ...] = ()
    problems += tuple(check.drivers(spec, region, live))
    if anew:
        problems += tuple(check.made(spec, wish.align, region)) if spec.wanted else ()
        problems += tuple(check.shared(spec, region, live))
        problems += tuple(filter(None, (check.in_the_way(there, live) if there else None,)))
        actions = _made(wish, region, there, live) if spec.wanted else _destroyed(there, live)
    elif there and spec.wanted:
        changes, actions = _driven(there, live)
        problems += tuple(check.working(there, live))
    return Assessment(
        problems=problems,
        changes=changes,
        actions=actions,
        facts=_facts(region, there, live),
        derived=wish.derived,
        measurable=_measurable(region, there, live),
    )


def _measurable(region: Region, there: Namespace | None, live: Live) -> Measurable | str:
    """Its dax device. Whether that is cached, the host says whose memory it is, and nobody here."""
    if there is None:
        return f"{region.name} has no namespace"
    device = live.device(there) if there.mode == "devdax" else None
    if device is None:
        return f"{there.name} is {there.mode}: only devdax is mapped past the page cache"
    if device.driver != dax.DEVDAX:
        return f"{device.name} has {device.driver or 'no driver'}: nothing to map"
    return Measurable(device.name)


def _differences(wish: Wish, region: Region, there: Namespace | None) -> Iterator[Change]:
    """What only a new namespace closes."""
    spec = wish.spec
    if not spec.wanted:
        if there and (region.labelled or not there.bare):
            yield Change(NAMESPACE, f"{there.name} ({check.said(there)})", None)
        return
    if there is None:
        yield Change(NAMESPACE, None, _text(wish))
        return
    if there.mode != spec.mode and not (spec.mode == "raw" and there.bare):
        yield Change(("mode",), there.mode, spec.mode)
    if spec.mode in PAGED and there.mode == spec.mode:
        if wish.map and wish.map != there.map:
            yield Change(("map",), there.map, wish.map)
        if wish.align and wish.align != there.align:
            yield Change(("align",), _size(there.align), format_size(wish.align))
    if _is_partial(region, there):
        yield Change(("size",), _size(there.raw_size), f"{format_size(region.size)}, all of {region.name}")


def _is_partial(region: Region, there: Namespace) -> bool:
    """Whether it leaves some of its region. Without labels it cannot."""
    return region.labelled and there.raw_size is not None and there.raw_size < region.size


def _driven(there: Namespace, live: Live) -> tuple[tuple[Change, ...], tuple[Action, ...]]:
    """As ndctl has it, all is well: whether its dax device has its driver, and so can be mapped."""
    device = live.device(there) if there.mode == "devdax" else None
    if device is None or device.driver is not None:
        return (), ()
    selected = restore.selector(name=device.name)
    bind = dax_verbs.bind(device.name, selected, None)
    undo = undoing(dax_verbs.unbind(device.name, selected))
    action = Action(f"bind {device.name} to {dax.DEVDAX}", bind, undo=undo)
    return (Change(("driver",), None, dax.DEVDAX),), (action, _check(device.name))


def _made(wish: Wish, region: Region, there: Namespace | None, live: Live) -> tuple[Action, ...]:
    """Made anew, or in what nobody has of the region; then mapped at its alignment, and read.

    ndctl checks its options before it destroys anything. `--size` is fatal where there are no labels
    (`validate_namespace_options`); with labels, the old size is kept unless it is given.
    """
    spec, name = wish.spec, there.name if there else region.seed
    options: list[str] = [f"--mode={spec.mode}"]
    same = there if there and there.mode == spec.mode else None
    location = wish.map or (same.map if same else None)
    align = wish.align or (same.align if same else None)
    options += [f"--map={location}"] if location and spec.mode in PAGED else []
    options += [f"--align={align}"] if align and spec.mode in PAGED else []
    if there:
        options += [f"--size={region.size}"] if _is_partial(region, there) else []
        command = ("ndctl", "create-namespace", "--force", f"--reconfig={there.name}", *options)
        why = f"its content is lost ({check.said(there, live.use(there))})"
        action = Action(f"make {there.name} anew", Run(command), Risk.DESTROY_DATA, why)
    else:
        command = ("ndctl", "create-namespace", f"--region={region.name}", *options)
        action = Action(f"make a namespace in {region.name}: {spec.mode}", Run(command))
    if spec.mode != "devdax" or not name:
        return (action,)
    return (action, _check("dax" + name.removeprefix("namespace")))


def _destroyed(there: Namespace | None, live: Live) -> tuple[Action, ...]:
    if there is None:
        return ()
    why = f"its content is lost ({check.said(there, live.use(there))})"
    command = Run(("ndctl", "destroy-namespace", "--force", there.name))
    return (Action(f"destroy {there.name}", command, Risk.DESTROY_DATA, why),)


def _blind(wish: Wish) -> tuple[Action, ...]:
    """Before the region can be seen. What it destroys is told once it can, and consent is asked for now."""
    if not wish.spec.wanted:
        return ()
    words = ["ndctl", "create-namespace", "--force", "--reconfig=NAMESPACE", f"--mode={wish.spec.mode}"]
    words += [f"--map={wish.map}"] if wish.map else []
    words += [f"--align={wish.align}"] if wish.align else []
    why = "what is in the memory then is lost"
    return (Action("make the namespace", Run(tuple(words)), Risk.DESTROY_DATA, why),)


def _check(name: str) -> Action:
    return Action(f"map {name} and read it", dax_verbs.check(name, restore.selector(name=name)))


def _to_come(wish: Wish, vm: Address | None) -> tuple[Change, ...]:
    if not wish.spec.wanted:
        return ()
    region = (Change(("region",), None, f"known after {vm}"),) if vm else ()
    return (Change(NAMESPACE, None, _text(wish)), *region)


def _text(wish: Wish) -> str:
    """`devdax, map mem, align 2MiB, 98286MiB`: the size where all that it hangs on is known."""
    words: list[str] = [wish.spec.mode]
    words += [f"map {wish.map}"] if wish.map else []
    words += [f"align {format_size(wish.align)}"] if wish.align else []
    if wish.given and wish.given.usable:
        words.append(f"{format_size(wish.given.usable)} less metadata")
    return ", ".join(words)


def _facts(region: Region, there: Namespace | None, live: Live) -> tuple[tuple[str, str], ...]:
    """The region, the namespace of today, its device, and what is in it."""
    at = f" at {format_address(region.start)}" if region.start is not None else ""
    labels = "labels" if region.labelled else "no labels"
    facts = [("region", f"{region.name} ({format_size(region.size)}{at}, {labels})")]
    if there is None:
        return (*facts, ("namespace", "none"))
    use = live.use(there)
    facts.append(("namespace", f"{there.name} ({check.said(there)})"))
    if there.map:
        facts.append(("map", there.map))
    if there.align:
        facts.append(("align", format_size(there.align)))
    if there.device:
        facts.append(("device", there.device))
    facts += [("holds", use.signature)] if use.signature else []
    facts += [("mounted on", ", ".join(use.mounts))] if use.mounts else []
    facts += [("part of", ", ".join(use.made_of))] if use.made_of else []
    facts += [("held by", ", ".join(dict.fromkeys(map(str, use.holders))))] if use.holders else []
    return tuple(facts)


def _regions(live: Live) -> tuple[tuple[str, str], ...]:
    return (("regions", ", ".join(one.name for one in live.regions) or "none"),)


def _size(size: int | None) -> str | None:
    return None if size is None else format_size(size)
