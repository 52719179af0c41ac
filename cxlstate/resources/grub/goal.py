"""From what is wanted and what is there: our drop-in as it should be, and the entries it leads to."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cxlstate.core.exports import Inputs, KernelArguments
from cxlstate.formats import grub_cfg, grub_linux_script, grub_menu, grub_script, kernel_cmdline
from cxlstate.formats.grub_drop_in import CommandLines, DropIn
from cxlstate.formats.kernel_cmdline import Argument
from cxlstate.resources.grub.forecast import Forecast, forecast
from cxlstate.resources.grub.probe import Live
from cxlstate.resources.grub.spec import GrubSpec


@dataclass(frozen=True, slots=True)
class Unit:
    """Arguments that belong together and stay in order. `owner` is who asks for them."""

    owner: str
    texts: tuple[str, ...]

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """As the kernel takes them."""
        return tuple(map(kernel_cmdline.read, self.texts))

    def __str__(self) -> str:
        return " ".join(self.texts)


def units(spec: GrubSpec, inputs: Inputs) -> tuple[Unit, ...]:
    """Everything that is wanted: our own list first, then each export by address."""
    own = [Unit("grub", spec.args)] if spec.args else []
    others = [Unit(str(address), export.texts) for address, export in inputs.all(KernelArguments)]
    return (*own, *others)


@dataclass(frozen=True, slots=True)
class Goal:
    """`drop_in` as it should be (empty: no file), and each entry as grub-mkconfig will write it.

    `before` is the drop-in that is there. `forecasts` are those of every entry
    that takes GRUB_CMDLINE_LINUX; `others` are of Xen, where other values are set for it.
    """

    wanted: tuple[Unit, ...]
    absent: tuple[Argument, ...]
    drop_in: DropIn
    before: DropIn
    forecasts: tuple[Forecast, ...]
    variables: grub_menu.Variables
    others: tuple[Forecast, ...] = ()

    def line(self, one: Forecast) -> tuple[Argument, ...]:
        """An entry's arguments to come, with what GRUB most probably puts in for its variables."""
        values = grub_menu.values(self.variables, one.entry.title)
        texts = (text for word in one.words for text in grub_script.readings(word, values)[0])
        return kernel_cmdline.for_kernel(map(kernel_cmdline.read, texts))

    def source(self, argument: Argument) -> str | None:
        """The word of a boot entry whose variable brings an argument in; None where the entry has it."""
        for one in self.forecasts:
            values = grub_menu.values(self.variables, one.entry.title)
            for word in filter(grub_script.variables, one.words):
                if argument in map(kernel_cmdline.read, grub_script.readings(word, values)[0]):
                    return word
        return None

    @property
    def foreign(self) -> tuple[str, ...]:
        """What regenerating grub.cfg would bring or take besides our own words, in the first such entry."""
        found = (
            one.foreign(self._is_ours, partial(grub_menu.text, known=self.variables, title=one.entry.title))
            for one in (*self.forecasts, *self.others)
        )
        return next(filter(None, found), ())

    def _is_ours(self, word: str) -> bool:
        """Whether a GRUB word is one that we put there or took away, now or before."""
        argument = kernel_cmdline.read(grub_script.expand(word))
        both = (self.drop_in, self.before)
        put = {kernel_cmdline.read(text) for one in both for text in (*one.add, *one.retired)}
        taken = [kernel_cmdline.read(text) for one in both for text in (*one.drop, *one.released)]
        return argument in put or any(kernel_cmdline.names(pattern, argument) for pattern in taken)

    @property
    def text(self) -> str | None:
        """The file's content; None where none is needed."""
        return self.drop_in.render() if self.drop_in != DropIn() else None


def goal(spec: GrubSpec, live: Live, inputs: Inputs) -> Goal:
    """A unit that the hand-written files already yield in every entry is not written again."""
    wanted = units(spec, inputs)
    drop = tuple(text for text in spec.absent if DropIn(drop=(text,)).drops_from(live.by_hand))
    before = live.drop_in or DropIn()
    ours = DropIn(drop=drop)
    for unit in wanted:
        if not in_all(_forecasts(live, before, ours), unit):
            ours = replace(ours, add=(*ours.add, *unit.texts))
    forecasts = _forecasts(live, before, ours)
    retired = _still_seen(live, forecasts, (*before.add, *before.retired), ours.add)
    released = tuple(
        text
        for text in dict.fromkeys((*before.drop, *before.released))
        if text not in drop and _still_missing(text, forecasts)
    )
    ours = replace(ours, retired=retired, released=released)
    absent = tuple(map(kernel_cmdline.read, spec.absent))
    return Goal(wanted, absent, ours, before, forecasts, live.variables, _replaced(live, before, ours))


def in_all(forecasts: Sequence[Forecast], unit: Unit) -> bool:
    """Whether every entry to come has a unit."""
    return all(kernel_cmdline.holds(arguments(one), unit.arguments) for one in forecasts)


def arguments(one: Forecast) -> tuple[Argument, ...]:
    """An entry's arguments to come, as the kernel will get them."""
    return grub_cfg.arguments(one.words)


def visible(pattern: Argument, found: Iterable[Argument], own: Container[str] = ()) -> bool:
    """Whether an argument is there; what 10_linux itself puts there (`own`) does not count."""
    return any(kernel_cmdline.names(pattern, argument) and argument.text not in own for argument in found)


def own_running(live: Live, forecasts: Iterable[Forecast]) -> frozenset[str]:
    """What 10_linux itself may have put on the running command line."""
    recovery = any(argument.text in ("single", "recovery") for argument in live.running)
    return frozenset(word for one in forecasts if recovery or not one.entry.recovery for word in one.own)


def _forecasts(live: Live, before: DropIn, ours: DropIn) -> tuple[Forecast, ...]:
    so_far = _configured(live, before, ours)
    modules = grub_linux_script.OF_MODULES
    found = [forecast(entry, live.script, so_far, so_far[-1]) for entry in live.entries]
    if found:  # else it is told that 10_linux has none
        found += [forecast(entry, modules, so_far, so_far[-1]) for entry in live.tboot]
        found += () if live.for_xen.linux else _of_xen(live, before, ours)
    return tuple(found)


def _replaced(live: Live, before: DropIn, ours: DropIn) -> tuple[Forecast, ...]:
    return tuple(_of_xen(live, before, ours)) if live.for_xen.linux else ()


def _of_xen(live: Live, before: DropIn, ours: DropIn) -> Iterator[Forecast]:
    xen = live.for_xen
    so_far = [
        replace(lines, linux=xen.linux or lines.linux, default=xen.default or lines.default)
        for lines in _configured(live, before, ours)
    ]
    for entry in live.xen:
        yield forecast(entry, grub_linux_script.OF_MODULES, so_far, so_far[-1])


def _configured(live: Live, before: DropIn, ours: DropIn) -> tuple[CommandLines, ...]:
    """By hand, with the drop-in that is there, and with ours."""
    return (live.by_hand, before.apply(live.by_hand), ours.apply(live.by_hand))


def surplus(text: str, one: Forecast) -> bool:
    """Whether an entry has an argument more often than it will have: some of it was ours."""
    argument = kernel_cmdline.read(text)
    return one.entry.arguments.count(argument) > arguments(one).count(argument)


def surplus_running(text: str, live: Live, forecasts: Sequence[Forecast]) -> bool:
    """The same of the running command line; which entry it was started from is not known."""
    argument = kernel_cmdline.read(text)
    to_come = max((arguments(one).count(argument) for one in forecasts), default=0)
    return live.running.count(argument) > to_come


def _still_seen(
    live: Live, forecasts: Sequence[Forecast], former: Iterable[str], now: Sequence[str]
) -> tuple[str, ...]:
    """Arguments that were ours, are not wanted, and stand in an entry or on the running command line."""
    return tuple(
        text
        for text in dict.fromkeys(former)
        if text not in now
        and (any(surplus(text, one) for one in forecasts) or surplus_running(text, live, forecasts))
    )


def _still_missing(pattern: str, forecasts: Sequence[Forecast]) -> bool:
    """Whether an entry lacks what we no longer filter out, and the hand-written files have."""
    wanted = kernel_cmdline.read(pattern)
    return any(
        visible(wanted, arguments(one)) and not visible(wanted, one.entry.arguments) for one in forecasts
    )
