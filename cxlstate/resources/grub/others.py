"""Our arguments beside those of others: which of both the kernel will not keep, and what cures it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.path import Path
from cxlstate.formats import hugetlb, kernel_cmdline, kernel_forced, kernel_rules, memmap
from cxlstate.formats.kernel_cmdline import Argument
from cxlstate.formats.kernel_rules import InForce
from cxlstate.resources.grub.goal import Goal, Unit

Standing = Callable[[Argument], str | None]
"""`file:line` of the assignment that brings in an argument."""

Line = tuple[Argument, ...]


def beside_others(goal: Goal, standing: Standing) -> Iterator[Diagnostic]:
    """Each argument once, by the first boot entry that shows it."""
    lines = [goal.line(one) for one in goal.forecasts]
    for unit in goal.wanted:
        yield from _useless(unit)
        yield from _stronger_ranges(unit, goal, lines, standing)
        if any(kernel_rules.lacking(line, unit.arguments) for line in lines):
            yield from _without_effect(unit, goal, lines, standing)
        else:
            yield from _not_known(unit, goal, lines)
    yield from _lost(goal, lines)


def _useless(unit: Unit) -> Iterator[Diagnostic]:
    """An argument of which nothing is left beside the others of its own unit."""
    kept = {one.by for one in kernel_rules.in_force(unit.arguments)}
    for index, mine in enumerate(unit.arguments):
        if index not in kept and kernel_rules.in_force([mine]):
            yield Diagnostic(
                "CXG341",
                f"{mine} has no effect beside the others",
                severity=Severity.WARNING,
                path=_path(unit, index),
                found=str(unit),
                expected=_rule_in_words(mine),
                hint=f"remove {mine} from {_section(unit)}",
            )


def _stronger_ranges(
    unit: Unit, goal: Goal, lines: Sequence[Line], standing: Standing
) -> Iterator[Diagnostic]:
    """Ranges of `memmap` that another one takes, which comes with grub.cfg; `memmap` tells those in it."""
    there = {argument for one in goal.forecasts for argument in one.entry.arguments}
    coming = [one for one in dict.fromkeys(one for line in lines for one in line) if one not in there]
    for index, mine in enumerate(unit.arguments):
        regions = [item for item in memmap.items((mine,)) if isinstance(item, memmap.Region)]
        other = next((one for one in coming if any(memmap.is_stronger(one, each) for each in regions)), None)
        if other:
            yield Diagnostic(
                "CXG310",
                f"{other} overrides {mine}",
                path=_path(unit, index),
                found=f"{other} in {standing(other) or 'a script of /etc/grub.d'}",
                expected="no other argument about the same memory",
                hint=f"remove {other} there: of two types the kernel takes the larger one",
            )


def _without_effect(
    unit: Unit, goal: Goal, lines: Sequence[Line], standing: Standing
) -> Iterator[Diagnostic]:
    told: set[int] = set()
    for line in lines:
        for setting in kernel_rules.lacking(line, unit.arguments):
            if setting.by in told:
                continue
            told.add(setting.by)
            mine = unit.arguments[setting.by]
            rival = _rival(setting, line, mine)
            owner = next((one for one in goal.wanted if one is not unit and rival in one.arguments), None)
            if rival and owner:
                cure: str | None = f"remove one of them: {rival} is from {_section(owner)}"
            else:
                cure = _cure(mine, rival, goal, lines, standing) if rival else None
            yield Diagnostic(
                "CXG310",
                f"{rival or 'another argument'} overrides {mine}",
                path=_path(unit, setting.by),
                found=_instead(setting, rival, line),
                expected=_beside(mine, rival, setting),
                hint=cure,
            )


def _rival(setting: InForce, line: Line, mine: Argument) -> Argument | None:
    """Who has the setting in place of ours, or, of huge pages, who keeps ours from being read."""
    there = kernel_rules.in_force(line)
    same = [line[one.by] for one in there if one.slot == setting.slot]
    if not same:
        stronger = kernel_forced.stronger(setting.slot)
        same = [line[one.by] for one in there if one.slot in stronger]
    if not same and mine.name in hugetlb.NAMES:
        same = [one for one in line if one.name in hugetlb.NAMES and one != mine]
    return same[-1] if same else None


def _cure(
    mine: Argument, rival: Argument, goal: Goal, lines: Sequence[Line], standing: Standing
) -> str | None:
    """What was tried and helps: to filter the other out, else to edit where it stands."""

    def lacking(tried: Sequence[Line]) -> set[Argument]:
        units = [(line, one.arguments) for line in tried for one in goal.wanted]
        return {unit[one.by] for line, unit in units for one in kernel_rules.lacking(line, unit)}

    if word := goal.source(rival):
        return f"take {rival} out of what sets {word} in /boot/grub/grub.cfg"
    place = standing(rival)
    ours, theirs = (
        {setting.slot for setting in kernel_rules.in_force([one]) if not setting.implied}
        for one in (mine, rival)
    )
    if place and ours & theirs and theirs - ours and rival.name not in hugetlb.NAMES:
        return f"edit {place}: take what {mine} sets out of {rival}, and leave its other words"
    without = lacking([tuple(one for one in line if one != rival) for line in lines])
    if mine not in without and without < lacking(lines):
        return f"add {rival} to grub.absent"
    if place is None:
        return None
    replaced = [tuple(mine if one == rival else one for one in _others(goal, line)) for line in lines]
    if rival.name == mine.name and not lacking(replaced):
        return f"edit {place}: write {mine} in place of {rival}"
    return f"edit {place}: remove {rival} and what belongs to it"


def _instead(setting: InForce, rival: Argument | None, line: Line) -> str:
    """What is in force in place of ours: of huge pages the number that their size gets."""
    if rival is None or rival.name not in hugetlb.NAMES:
        return str(rival or "no effect")
    values = [one.value for one in kernel_rules.in_force(line) if one.slot == setting.slot]
    return f"{rival}: {setting.slot} is {values[0] if values else 'not set'}"


def _not_known(unit: Unit, goal: Goal, lines: Sequence[Line]) -> Iterator[Diagnostic]:
    """Another value behind ours, of an argument of which it is not known which one is kept."""
    ours = {argument for one in goal.wanted for argument in one.arguments}
    # Of each line where an argument first stands, and where the last of others with a name does.
    first = [{one: at for at, one in reversed(tuple(enumerate(line)))} for line in lines]
    last = [{one.name: at for at, one in enumerate(line) if one not in ours} for line in lines]
    for index, mine in enumerate(unit.arguments):
        if mine.value is None or kernel_rules.rule(mine.name) or mine.name in kernel_rules.REPEATED:
            continue
        rivals = (
            line[theirs[mine.name]]
            for line, places, theirs in zip(lines, first, last, strict=True)
            if places.get(mine, len(line)) < theirs.get(mine.name, -1)
        )
        if other := next(rivals, None):
            yield Diagnostic(
                "CXG342",
                f"{other} may override {mine}",
                severity=Severity.WARNING,
                path=_path(unit, index),
                found=f"{other} after {mine}",
                expected=f"one value of {mine.text.partition('=')[0]}, unless its program takes several",
                hint=f"if the program takes the last value only: add {other} to grub.absent",
            )


def _lost(goal: Goal, lines: Sequence[Line]) -> Iterator[Diagnostic]:
    """What others ask for, which the kernel keeps without our arguments and not with them.

    A setting that is ours by name was to be changed, and is not told. `quiet` sets another log level for the
    console, as everybody knows who writes it: a warning.
    """
    asked = {one.slot for unit in goal.wanted for one in _asked(unit)}
    told: set[Argument] = set()
    for line in lines:
        start = _place_of(goal.drop_in.add, line)
        if start is None:
            continue
        end = start + len(goal.drop_in.add)
        others = _others(goal, line)
        after = {one.effect for one in kernel_rules.in_force(line)}
        for one in kernel_rules.in_force(others):
            theirs = others[one.by]
            if one.effect in after or one.slot in asked or theirs in told:
                continue
            told.add(theirs)
            yield Diagnostic(
                "CXG340",
                f"{theirs} would lose its effect",
                severity=Severity.WARNING if one.slot == kernel_rules.LOGLEVEL else Severity.ERROR,
                path=("args",) if any(unit.owner == "grub" for unit in goal.wanted) else (),
                found=f"{' '.join(goal.drop_in.add)} before {theirs}"
                if one.by >= start
                else f"{' '.join(goal.drop_in.add)} after {theirs}",
                expected=_beside(theirs, _rival(one, line, theirs), one),
                hint=_keep(theirs, line[:end], line[end:], one),
            )


def _keep(theirs: Argument, before: Line, behind: Line, lost: InForce) -> str:
    """To give it up always helps; huge pages keep their size if ours end with it, which is tried."""
    give_up = f"to give it up, add {theirs} to grub.absent"
    if theirs.name == "hugepages":
        closing = kernel_cmdline.read(f"hugepagesz={hugetlb.size_text(hugetlb.DEFAULT)}")
        after = kernel_rules.in_force((*before, closing, *behind))
        if any(one.effect == lost.effect for one in after):
            return f"end grub.args with {closing}, the size that {theirs} is for; {give_up}"
    return give_up


def _asked(unit: Unit) -> Iterator[InForce]:
    return (one for one in kernel_rules.in_force(unit.arguments) if not one.implied)


def _place_of(texts: tuple[str, ...], line: Line) -> int | None:
    """Where our words stand on a line; they are written as one."""
    ours = tuple(map(kernel_cmdline.read, texts))
    starts = range(len(line) - len(ours) + 1) if ours else ()
    return next((at for at in starts if line[at : at + len(ours)] == ours), None)


def _others(goal: Goal, line: Line) -> Line:
    """A line without our words."""
    start = _place_of(goal.drop_in.add, line)
    return line if start is None else (*line[:start], *line[start + len(goal.drop_in.add) :])


def _path(unit: Unit, index: int) -> Path:
    return ("args", index) if unit.owner == "grub" else ()


def _section(unit: Unit) -> str:
    return "grub.args" if unit.owner == "grub" else unit.owner


def _beside(argument: Argument, rival: Argument | None, setting: InForce) -> str:
    """What would keep a setting that another argument beats, under whatever name."""
    forced = kernel_forced.stronger(setting.slot) - kernel_forced.OVERRULED.keys()
    if rival and forced and rival.name != argument.name:
        return f"{argument} without {rival}: the kernel does not look at both"
    return _rule_in_words(argument)


def _rule_in_words(argument: Argument) -> str:
    name = argument.text.partition("=")[0]
    if argument.name in hugetlb.NAMES:
        return "each hugepagesz= once, each followed by one hugepages=, as mm/hugetlb.c reads them"
    if argument.name == "crashkernel":
        return "crashkernel=SIZE, or crashkernel=SIZE,high with crashkernel=SIZE,low: not both forms"
    if argument.name == "console":
        return "console=DEVICE with the same options each time: the kernel keeps those that it reads first"
    if argument.name in ("kernelcore", "movablecore"):
        return f"{name}= once, without movable_node or kernelcore=mirror: the kernel looks at these first"
    return f"one value of {name}: the kernel keeps {kernel_rules.kept_in_words(argument)}"
