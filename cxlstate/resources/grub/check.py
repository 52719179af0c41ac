"""What cannot be made right, whatever is written: told before anything is."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

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


@dataclass(frozen=True)
class Outlook:
    """What is to come, beside what is there: what differs, and which boot entries would lose the host."""

    goal: Goal
    live: Live

    @cached_property
    def differences(self) -> tuple[Change, ...]:
        """Of all stages."""
        return stages(self.goal, self.live)

    @cached_property
    def coming(self) -> tuple[Diagnostic, ...]:
        """Dangers of the entries as they will be."""
        return tuple(danger.then(self.goal, self.live))

    @cached_property
    def staying(self) -> tuple[Diagnostic, ...]:
        """Dangers of the entries as they are."""
        return tuple(danger.now(self.goal, self.live))

    @property
    def refused(self) -> bool:
        """Whether nothing is written here at all."""
        return any(one.severity is Severity.ERROR for one in self.live.refusals)

    @property
    def generates(self) -> bool:
        """Whether grub.cfg is to be written."""
        return any(change.path[0] == GRUB_CFG for change in self.differences)


def diagnose(outlook: Outlook) -> Iterator[Diagnostic]:
    """Every problem there is; `path` is relative to `host.grub`."""
    goal, live = outlook.goal, outlook.live
    yield from live.refusals
    if outlook.refused:
        return
    if outlook.differences:
        yield from live.doubts
    if live.astray is not None:
        yield live.astray if outlook.differences else replace(live.astray, severity=Severity.WARNING)
    yield from _dangers(outlook)
    yield from _contradictions(goal)
    yield from _beyond_our_filter(goal, live)
    yield from _too_long(goal)
    yield from _not_ascii(goal, live)
    yield from _another_root(goal)
    yield from _another_root_of_somebody(goal, live)
    yield from beside_others(goal, partial(standing, live=live))


def lost_by_reboot(outlook: Outlook) -> Diagnostic | None:
    """The first error that a reboot would meet, in the entry that boots or in one that stays as it is."""
    if outlook.live.lost is not None:
        return outlook.live.lost
    coming = any(one.severity is Severity.ERROR for one in outlook.coming)
    if outlook.generates and not coming and not outlook.refused:
        return None
    return next((one for one in outlook.staying if one.severity is Severity.ERROR), None)


def _dangers(outlook: Outlook) -> Iterator[Diagnostic]:
    """Those of the entries to come, and of those that are there where they stay."""
    first: dict[tuple[str, str], Diagnostic] = {}
    for one in (*outlook.coming, *(() if outlook.generates else outlook.staying)):
        first.setdefault((one.code, one.message), one)
    yield from first.values()


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
                    hint=f"remove {pattern} from grub.absent, or change {unit.owner}",
                )


def _beyond_our_filter(goal: Goal, live: Live) -> Iterator[Diagnostic]:
    for index, pattern in enumerate(goal.absent):
        if any(names(pattern, unit.arguments) for unit in goal.wanted):
            continue
        if variable := _variable_of(pattern, goal):
            yield Diagnostic(
                "CXG308",
                f"cannot remove {pattern} from the boot entries",
                path=("absent", index),
                found=f"{variable}, which GRUB fills in when it boots, brings it in",
                expected="the plain word in /etc/default/grub or a drop-in",
                hint=_in_variable(pattern, variable),
            )
        elif any(visible(pattern, arguments(one), one.own) for one in goal.forecasts):
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


def _variable_of(pattern: Argument, goal: Goal) -> str | None:
    """The word of a boot entry whose variable brings in what is to be absent."""
    inside = (one for forecast in goal.forecasts for one in goal.line(forecast))
    found = (goal.source(one) for one in inside if kernel_cmdline.names(pattern, one))
    return next(filter(None, found), None)


def _in_variable(pattern: Argument, variable: str) -> str:
    if variable.strip('${}"') == "tuned_params":
        return f"take {pattern} out of the bootloader section of the tuned profile (`tuned-adm active`)"
    return f"take {pattern} out of what sets {variable} in /boot/grub/grub.cfg"


def names(pattern: Argument, found: tuple[Argument, ...]) -> bool:
    """Whether a pattern means one of them."""
    return any(kernel_cmdline.names(pattern, argument) for argument in found)


def _another_root(goal: Goal) -> Iterator[Diagnostic]:
    """A file system that is not there ends the boot: of two `root=` the kernel takes the last one."""
    own = next((unit.arguments for unit in goal.wanted if unit.owner == "grub"), ())
    for index, mine in enumerate(own):
        words = (word for one in goal.forecasts for word in one.entry.fixed.split())
        theirs = next((word for word in words if word.startswith("root=")), None)
        if mine.name == "root" and theirs is not None and kernel_cmdline.read(theirs) != mine:
            yield Diagnostic(
                "CXG344",
                f"{mine} takes the place of {theirs}",
                severity=Severity.WARNING,
                path=("args", index),
                found=f"{theirs}, which /etc/grub.d/10_linux has found",
                expected="the file system that this host runs on",
                hint=f"remove {mine} from grub.args, unless `findmnt /` says the same",
            )


def _another_root_of_somebody(goal: Goal, live: Live) -> Iterator[Diagnostic]:
    """The same of a word that somebody wrote, and that this host was not booted with."""
    own = {argument for unit in goal.wanted for argument in unit.arguments}
    for one in goal.forecasts:
        theirs = next((word for word in one.entry.fixed.split() if word.startswith("root=")), "")
        last = next((each for each in reversed(goal.line(one)) if each.name == "root"), None)
        if last is None or last in own or last in live.running or last == kernel_cmdline.read(theirs):
            continue
        place = standing(last, live) or "/boot/grub/grub.cfg"
        yield Diagnostic(
            "CXG344",
            f"{last} takes the place of {theirs}",
            severity=Severity.WARNING,
            found=f"{last} in {place}; {theirs}, which /etc/grub.d/10_linux has found",
            expected="the file system that this host runs on",
            hint=f"take {last} out of {place}, unless `findmnt /` says the same",
        )
        return


def _not_ascii(goal: Goal, live: Live) -> Iterator[Diagnostic]:
    """What is copied from a web page: to the kernel such quotes are letters, and U+00A0 ends in a blank.

    `isspace` of `lib/ctype.c` takes the byte 0xA0 for one.
    """
    for word in dict.fromkeys(word for one in goal.forecasts for word in one.words if not word.isascii()):
        found = dict.fromkeys(char for char in word if not char.isascii())
        names = ", ".join(f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip() for char in found)
        place = standing(kernel_cmdline.read(grub_script.expand(word)), live) or "/boot/grub/grub.cfg"
        yield Diagnostic(
            "CXG343",
            f"`{word}` is not plain ASCII",
            severity=Severity.WARNING,
            found=f"{names} in {place}",
            expected="ASCII letters and signs: the quotes \" and ', and blanks of the space bar",
            hint=f"type it anew in {place}, then run `update-grub`",
        )


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
