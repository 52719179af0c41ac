"""What cannot be right: told before any register is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Inputs
from cxlstate.core.path import Path
from cxlstate.core.reconciler import Resource
from cxlstate.core.units import format_address, format_size
from cxlstate.formats import memmap
from cxlstate.formats.dax import Device
from cxlstate.formats.iomem import RAM, Range
from cxlstate.formats.mtrr import PAGE, WRITE_BACK, Register
from cxlstate.resources.mtrr import goal, under
from cxlstate.resources.mtrr.conflicts import conflicts
from cxlstate.resources.mtrr.goal import Goal
from cxlstate.resources.mtrr.probe import NOT_THERE, Content, Live
from cxlstate.resources.mtrr.room import Room, Wanted, room
from cxlstate.resources.mtrr.spec import MtrrSpec
from cxlstate.resources.mtrr.under import Others
from cxlstate.resources.mtrr.wider import wider

_MANY: Final = 3
_FOUR_GIB: Final = 4 << 30


@dataclass(frozen=True, slots=True)
class Judged:
    """What is judged: `gone` are registers that go, `come` are wanted and not in force, `left` stay."""

    name: str
    spec: MtrrSpec
    aim: Goal
    live: Live
    known: Others
    gone: tuple[Content, ...]
    come: tuple[Content, ...]
    left: tuple[Register, ...]

    def place(self, one: Content) -> Path:
        """Where in the spec a range comes from."""
        return _place(self.spec, self.aim, one)

    @property
    def asks(self) -> bool:
        """Whether it needs registers that are not written yet."""
        return self.spec.state == "present" and self.live.missing is None and bool(self.come)


def judged(resource: Resource[MtrrSpec], aim: Goal, live: Live, inputs: Inputs) -> Judged:
    """What goes and what comes, beside what else lies there."""
    gone = goal.surplus(resource, aim, live)
    come = goal.missing(aim, live.registers, gone)
    left = goal.remaining(live.registers.used, gone)
    known = under.others(inputs)
    known = replace(known, kmem_kept_out=known.kmem_kept_out or live.kmem_kept_out)
    return Judged(resource.name, resource.spec, aim, live, known, gone, come, left)


def diagnose(one: Judged) -> Iterator[Diagnostic]:
    """Every problem of it alone; `path` is relative to the resource."""
    if one.spec.state == "absent":
        yield from _whose(one.spec, one.aim, one.live)
    elif one.live.missing is not None:
        yield _no_registers(one.live.missing)
    elif not one.aim.misses:
        yield from _over_ram(one)
        yield from _too_high(one)
        yield from _once(_over_others(one))
        yield from _once(
            replace(problem, path=one.place(content))
            for content in one.come
            for problem in conflicts(content, one.left, one.live.registers)
        )
        yield from _forced(one)


def _once(problems: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """The ranges of a cover, which have one place in the spec, and one cause: told by the first of them."""
    alike: dict[tuple[object, ...], list[Diagnostic]] = {}
    for one in problems:
        alike.setdefault((one.code, one.path, one.found), []).append(one)
    for first, *more in alike.values():
        yield replace(first, message=f"{first.message}, and {len(more)} more") if more else first


def without_live(spec: MtrrSpec, aim: Goal) -> Iterator[Diagnostic]:
    """What can be told before any register is read."""
    if spec.state == "present" and aim.misses:
        yield _window_misses(spec, aim.device)


def overflows(one: Judged, wanted: Wanted) -> bool:
    """Whether registers run out, if the others want these."""
    return one.asks and one.live.count is not None and _room(one, wanted).most > one.live.count


def too_many(one: Judged, wanted: Wanted, *, whole: bool) -> Iterator[Diagnostic]:
    """What it comes to with all others together."""
    if one.asks:
        yield from _too_many(one, _room(one, wanted, whole=whole))


def _room(one: Judged, wanted: Wanted, *, whole: bool = True) -> Room:
    return room(one.name, one.aim, one.gone, one.live.registers, wanted, whole=whole)


def _no_registers(why: str) -> Diagnostic:
    if why == NOT_THERE:
        return Diagnostic(
            "CXT310",
            "this machine has no memory type range registers to set",
            found=why,
            expected="a /proc/mtrr",
            hint="the processor has none, or a hypervisor keeps them to itself; take host.mtrr out here",
        )
    return Diagnostic(
        "CXT311",
        "the memory type range registers of this machine are switched off",
        found=why,
        expected="a /proc/mtrr that can be opened",
        hint="look for them in the firmware's setup; `dmesg | grep -i mtrr` may say more",
    )


def _window_misses(spec: MtrrSpec, device: Sequence[Range]) -> Diagnostic:
    reach = goal.window(spec, device)
    return Diagnostic(
        "CXT309",
        f"the window does not hold {device[0].name}",
        path=("within",),
        found=f"{format_address(reach.start)} to {format_address(reach.end)}",
        expected=f"at least {format_address(device[0].start)} to {format_address(device[-1].end)}",
        hint="a window says how far the ranges may reach beyond the device on both sides",
    )


def _over_ram(judged: Judged) -> Iterator[Diagnostic]:
    """RAM without its cache makes a machine crawl. That it is write-back is as it should be.

    Told once for each place in the spec: a cover has one for all of its ranges.
    """
    if judged.spec.type == WRITE_BACK:
        return
    over: dict[Path, list[Content]] = {}
    for one in judged.aim.wanted:
        if under.ram([one.block], judged.live.iomem, judged.known):
            over.setdefault(judged.place(one), []).append(one)
    for place, (first, *more) in over.items():
        blocks = [one.block for one in (first, *more)]
        found = under.ram(blocks, judged.live.iomem, judged.known)
        yield Diagnostic(
            "CXT301",
            f"{first}{f' and {len(more)} more' if more else ''} would take the cache from System RAM",
            path=place,
            found=_named(found),
            expected="no System RAM but what memmap takes away",
            hint=_out_of_the_way(judged, found),
        )


def _too_high(judged: Judged) -> Iterator[Diagnostic]:
    """What the kernel refuses as `base or size exceeds the MTRR width`; once for each place in the spec."""
    top = judged.live.top
    above = [one for one in judged.come if top is not None and one.block.end > top]
    for place, one in {judged.place(one): one for one in reversed(above)}.items():
        yield Diagnostic(
            "CXT315",
            f"{one} ends above the highest physical address of this processor",
            path=place,
            found=f"an end of {format_address(one.block.end)}",
            expected=f"at most {format_address(top or 0)}, which is `address sizes` in /proc/cpuinfo",
            hint="choose ranges that end below it"
            if judged.spec.ranges
            else f"write `end: {format_address(top or 0)}` below `within`",
        )


def _forced(judged: Judged) -> Iterator[Diagnostic]:
    """Before anything is written: what the processor takes for write-back whatever the registers say."""
    top = judged.live.forced_to
    high = [one for one in judged.come if one.block.end > _FOUR_GIB and (top is None or one.block.base < top)]
    if not high or not (top or judged.live.forces) or judged.spec.type == WRITE_BACK:
        return
    reach = f"to {format_address(top)}" if top else "to its TOP_MEM2, which this kernel does not tell"
    yield Diagnostic(
        "CXT314",
        "the kernel may map the device write-back, whatever its MTRRs are",
        Severity.WARNING,
        path=judged.place(high[0]),
        found=f"the processor forces write-back from 4GiB {reach} (SYSCFG Tom2ForceMemTypeWB)",
        expected="memory that becomes uncached by its MTRRs",
        hint="run `cxlstate explain CXT314`: an apply looks at the mapping and links no cached device",
    )


def _out_of_the_way(judged: Judged, found: Sequence[Range]) -> str:
    """What takes RAM away. What kmem has made of another device than that which is covered may be meant."""
    live, device = judged.live, judged.aim.device
    kmem = [one for one in found if one.name == under.KMEM]
    if device and not all(any(map(one.overlaps, (*device, *judged.known.devices))) for one in kmem):
        return _narrower(judged, device)
    ram = [one for one in found if one.name != under.KMEM]
    if any(one.start < _FOUR_GIB for one in ram):
        return "choose ranges above 4GiB: the kernel cannot do without the RAM below it"
    taken = [memmap.Region("$", one.start, one.size) for one in ram]
    left = memmap.too_little_left(taken, [one for one in live.iomem if one.name == RAM])
    if left is not None:
        return f"choose ranges without it: of all RAM {format_size(left)} would be left for the host"
    ways = [f"add to host.memmap: {', '.join(map(_entry, ram))}"] if ram else []
    return "; ".join([*ways, *([_out_of_kmem(live)] if kmem else [])])


def _out_of_kmem(live: Live) -> str:
    """From one that is built in a declared device is taken back, if it is offline."""
    if not live.kmem_built_in:
        return "write `kmem: absent` below host.modules"
    back = "add the device to host.dax: it is taken back from kmem, which is built in"
    return back if live.added_offline else f"add to host.grub.args: memhp_default_state=offline; {back}"


def _over_others(judged: Judged) -> Iterator[Diagnostic]:
    """Only where something is to be written: what is in force does no more harm than before."""
    devices = judged.aim.device or judged.known.devices
    for one in judged.come:
        parts = under.overshoot([one.block], devices, judged.known)
        place = judged.place(one)
        if found := under.foreign(parts, judged.live.iomem):
            yield Diagnostic(
                "CXT302",
                f"{one} reaches over memory that is not the device's",
                path=place,
                found=_named(found),
                expected="nothing but the device, empty space, and RAM that memmap takes away",
                hint=_narrower(judged, devices),
            )
        if bound := under.of_devices(under.undeclared(parts, judged.known), judged.live.bound):
            yield Diagnostic(
                "CXT316",
                f"{one} reaches over {bound[0].name}, which is bound",
                path=place,
                found=_of(bound),
                expected="no device that is mapped already, but those of host.dax",
                hint=_narrower(judged, devices) if judged.aim.device else _declared(bound[0]),
            )
        elif found := under.memory_of_devices(parts, judged.live.iomem):
            others = under.of_devices(parts, judged.live.devices)
            yield Diagnostic(
                "CXT312",
                f"{one} also reaches over memory of another device",
                Severity.WARNING,
                path=place,
                found=_of(others) if others else _named(found),
                hint=f"that memory becomes {judged.spec.type}, too; {_narrower(judged, devices)}",
            )


def _narrower(judged: Judged, devices: Sequence[Range]) -> str:
    """Ranges without memory of others; of a device the widest window around it."""
    if not judged.aim.device:
        return "choose ranges without it"
    reach = goal.window(judged.spec, judged.aim.device)
    parts = under.overshoot([one.block for one in judged.aim.wanted], devices, judged.known)
    bound = (part for one in under.of_devices(parts, judged.live.devices) for part in one.ranges)
    named = (*under.foreign(parts, judged.live.iomem), *under.memory_of_devices(parts, judged.live.iomem))
    others = (*named, *bound)
    start, end = judged.aim.device[0].start, judged.aim.device[-1].end
    below = [one.end + -one.end % PAGE for one in others if one.start < start]
    above = [one.start - one.start % PAGE for one in others if one.end > end]
    low, high = min(max([reach.start, *below]), start), max(min([reach.end, *above]), end)
    return f"within: {{start: {format_address(low)}, end: {format_address(high)}}} leaves it out"


def _too_many(judged: Judged, asked: Room) -> Iterator[Diagnostic]:
    count, used = judged.live.count, asked.used
    if count is None:
        yield Diagnostic(
            "CXT304",
            "cannot tell how many MTRRs this machine has",
            Severity.WARNING,
            found="neither `MTRR map:` nor `MTRR variable ranges enabled:` in the kernel's log",
            expected=f"at least {asked.most}",
            hint="if they run out, cxlstate removes what it wrote until then",
        )
    elif asked.most > count:
        free = max(count - used, 0)
        others = asked.total - len(judged.come)
        yield Diagnostic(
            "CXT303",
            f"{asked.total} MTRRs are needed, and {free or 'none'} can be had",
            path=("ranges",) if judged.spec.ranges else judged.place(judged.come[0]),
            found=f"{used} of {count} MTRRs are in use" + (f"; {_shares(asked)}" if others else ""),
            expected=f"{_free(len(judged.come))} for {_listed(judged.come)}",
            hint=_without_target(asked.held) if asked.held else _fewer(judged, max(free - others, 0)),
        )


def _without_target(held: Sequence[str]) -> str:
    names = ", ".join(f"mtrr.{name}" for name in held)
    return f"run it without --target: registers of {names} stay in a run with one"


def _free(number: int) -> str:
    return f"{number} free MTRR{'s' * (number != 1)}"


def _shares(asked: Room) -> str:
    return ", ".join(f"mtrr.{name} needs {len(new)}" for name, new in asked.needs.items() if new)


def _fewer(judged: Judged, free: int) -> str:
    if not judged.aim.device:
        return "write fewer ranges: one that is twice as large takes the place of two"
    better = wider(judged.aim.device, judged.live, judged.known, free)
    if better is None:
        return "no wider window is free of RAM and of other devices; `cxlstate explain CXT303`"
    reach, needed = better
    edges = f"start: {format_address(reach.start)}, end: {format_address(reach.end)}"
    return f"within: {{{edges}}} needs {'one register' if needed == 1 else f'{needed} registers'}"


def _whose(spec: MtrrSpec, aim: Goal, live: Live) -> Iterator[Diagnostic]:
    """What is to be absent and is there, but not by our doing."""
    registers = live.registers
    for one in aim.blocks:
        if one not in registers.contents:
            continue
        if registers.before is None:
            yield Diagnostic(
                "CXT307",
                f"whose register {one} is cannot be told",
                path=_place(spec, aim, one),
                found="there, and since the machine started cxlstate has written none",
                expected="a register that cxlstate wrote",
                hint="if it was written by hand, a reboot takes it away",
            )
        elif one in registers.before:
            yield Diagnostic(
                "CXT308",
                f"{one} is not ours to take away",
                path=_place(spec, aim, one),
                found="there before cxlstate wrote its first register",
                expected="a register that cxlstate wrote",
                hint="registers that the firmware set are left as they are: take this out of the spec",
            )


def _place(spec: MtrrSpec, aim: Goal, one: Content) -> Path:
    """Where in the spec a range comes from."""
    if spec.ranges:
        return ("ranges", aim.blocks.index(one))
    return ("within",) if spec.within else ("cover",)


def _named(found: Sequence[Range]) -> str:
    names = [f"{one} {one.name}" for one in found[:_MANY]]
    return ", ".join(names) + (f" and {len(found) - _MANY} more" if len(found) > _MANY else "")


def _declared(device: Device) -> str:
    said = [f"{{start: {one.start:#x}, size: {format_size(one.size)}}}" for one in device.ranges]
    memory = f"range: {said[0]}" if len(said) == 1 else f"ranges: [{', '.join(said)}]"
    return f"add to host.dax: cxl0: {{{memory}}}, so that it is bound again behind the write"


def _of(found: Sequence[Device]) -> str:
    return ", ".join(f"{one.name}: {one.memory}" for one in found[:_MANY])


def _listed(wanted: Sequence[Content]) -> str:
    texts = [f"{one.block.base:#x}+{format_size(one.block.size)}" for one in wanted]
    return ", ".join(texts)


def _entry(part: Range) -> str:
    return f"- {{size: {format_size(part.size)}, start: {format_address(part.start)}, type: reserved}}"
