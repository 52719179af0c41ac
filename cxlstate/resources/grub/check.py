"""What cannot be made right, whatever is written: told before anything is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from cxlstate.core.change import Change
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.formats import grub_script, kernel_cmdline
from cxlstate.formats.grub_defaults import Assignment
from cxlstate.formats.kernel_cmdline import Argument
from cxlstate.resources.grub import danger
from cxlstate.resources.grub.goal import Goal, arguments, visible
from cxlstate.resources.grub.others import beside_others
from cxlstate.resources.grub.probe import Live
from cxlstate.resources.grub.stages import GRUB_CFG, stages


def diagnose(goal: Goal, live: Live) -> Iterator[Diagnostic]:
    """Every problem there is; `path` is relative to `host.grub`."""
    yield from live.refusals
    if _refused(live):
        return
    changes = stages(goal, live)
    if changes and live.doubt is not None:
        yield live.doubt
    if live.astray is not None:
        yield live.astray if changes else replace(live.astray, severity=Severity.WARNING)
    yield from _dangers(goal, live, generates=_generates(changes))
    yield from _contradictions(goal)
    yield from _beyond_our_filter(goal, live)
    yield from _too_long(goal)
    yield from beside_others(goal, partial(standing, live=live))


def lost_by_reboot(goal: Goal, live: Live) -> Diagnostic | None:
    """The first error that a reboot would meet, in the entry that boots or in one that stays as it is."""
    if live.lost is not None:
        return live.lost
    coming = [one for one in danger.then(goal, live) if one.severity is Severity.ERROR]
    if _generates(stages(goal, live)) and not coming and not _refused(live):
        return None
    return next((one for one in danger.now(goal, live) if one.severity is Severity.ERROR), None)


def _dangers(goal: Goal, live: Live, *, generates: bool) -> Iterator[Diagnostic]:
    """Those of the entries to come, and of those that are there where they stay."""
    found = [*danger.then(goal, live), *(() if generates else danger.now(goal, live))]
    first: dict[tuple[str, str], Diagnostic] = {}
    for one in found:
        first.setdefault((one.code, one.message), one)
    yield from first.values()


def _generates(changes: Iterable[Change]) -> bool:
    return any(change.path[0] == GRUB_CFG for change in changes)


def _refused(live: Live) -> bool:
    return any(one.severity is Severity.ERROR for one in live.refusals)


def standing(pattern: Argument, live: Live) -> str | None:
    """`file:line` of the assignment that brings in an argument; None where no file does."""
    found: Assignment | None = None
    previous: dict[str, bool] = {}
    for assignment in live.assignments:
        words = grub_script.split(assignment.value)
        here = visible(pattern, (kernel_cmdline.read(grub_script.expand(word)) for word in words))
        if here and not previous.get(assignment.name, False):
            found = assignment
        previous[assignment.name] = here
    return found.place if found and any(previous.values()) else None


def _contradictions(goal: Goal) -> Iterator[Diagnostic]:
    for index, pattern in enumerate(goal.absent):
        for unit in goal.wanted:
            if any(kernel_cmdline.names(pattern, argument) for argument in unit.arguments):
                yield Diagnostic(
                    "CXG307",
                    f"`{pattern}` is in `absent`, and {unit.owner} needs {unit}",
                    path=("absent", index),
                    found=str(pattern),
                    expected="an argument that no other entry of the specification brings in",
                    hint=f"remove {pattern} from host.grub.absent, or change {unit.owner}",
                )


def _beyond_our_filter(goal: Goal, live: Live) -> Iterator[Diagnostic]:
    for index, pattern in enumerate(goal.absent):
        if any(names(pattern, unit.arguments) for unit in goal.wanted):
            continue
        if any(visible(pattern, arguments(one), one.own) for one in goal.forecasts):
            place = standing(pattern, live)
            yield Diagnostic(
                "CXG308",
                f"cannot remove {pattern} from the boot entries",
                path=("absent", index),
                found=f"{place or 'a script of /etc/grub.d'} brings it in"
                + (" in a quoted form" if place else ""),
                expected="the plain word in /etc/default/grub or a drop-in",
                hint=f"edit {place}" if place else "look for it in /etc/grub.d/10_linux",
            )


def names(pattern: Argument, found: tuple[Argument, ...]) -> bool:
    """Whether a pattern means one of them."""
    return any(kernel_cmdline.names(pattern, argument) for argument in found)


def _too_long(goal: Goal) -> Iterator[Diagnostic]:
    longest = max((one.entry.length(one.words) for one in goal.forecasts), default=0)
    if longest > kernel_cmdline.MAX_LENGTH:
        yield Diagnostic(
            "CXG309",
            "kernel command line is too long",
            found=f"{longest} bytes",
            expected=f"at most {kernel_cmdline.MAX_LENGTH}",
            hint="remove arguments, or join values of one name to a comma list: the kernel cuts off the rest",
        )
