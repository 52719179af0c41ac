"""What there is beside what is wished: of the definition, and of that with which the network runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from cxlstate.core.change import Change
from cxlstate.formats.network_xml import ISOLATED, Definition, Fields, HostStep, Range
from cxlstate.resources.network import listing
from cxlstate.resources.network.probe import Live
from cxlstate.resources.network.spec import NetworkSpec
from cxlstate.resources.network.updates import Difference, Wish, Wishes, differences, steps

DHCP: Final = "dhcp"
ADDRESS: Final = "address"
WORDS: Final = (ADDRESS, DHCP, "bridge", "forward", "domain")
"""Those of the definition. All but `dhcp` need a restart of a network that runs."""

CONFIG: Final = "in the definition"
RUNNING: Final = "in the running network"

_SHOWN: Final = 3


@dataclass(frozen=True)
class Side:
    """One of the two definitions, and what is wished of both."""

    definition: Definition
    fields: Fields
    wishes: Wishes

    @cached_property
    def off(self) -> tuple[str, ...]:
        """The words of the spec of which it says something else."""
        return tuple(
            word for word in WORDS if said(self.fields, word) not in (None, said(self.definition, word))
        )

    @property
    def structure(self) -> tuple[str, ...]:
        """Those that no update can change."""
        return tuple(word for word in self.off if word != DHCP)

    @cached_property
    def differences(self) -> dict[str, Difference]:
        """Of reservations, by MAC address."""
        return {one.mac: one for one in differences(self.definition.hosts, self.wishes)}

    @cached_property
    def steps(self) -> tuple[HostStep, ...]:
        """The way to the reservations that are wished."""
        return steps(self.definition.hosts, self.wishes)


@dataclass(frozen=True)
class Goal:
    """A network as it is, and all that is wished of it.

    `config` is the definition; `running` is that with which it runs, if it is to go on so.
    """

    name: str
    spec: NetworkSpec
    live: Live

    @cached_property
    def wishes(self) -> Wishes:
        """Reservations: those of the spec; gone are its absent ones, and what it had before."""
        present = {
            one.mac: Wish(str(one.ip), one.name)
            for one in self.spec.reservations
            if one.state == "present" and one.ip is not None
        }
        absent = {one.mac for one in self.spec.reservations if one.state == "absent"}
        return Wishes(present, (absent | self.listed) - present.keys())

    @cached_property
    def listed(self) -> frozenset[str]:
        """The MAC addresses of our list."""
        return listing.macs(self.live.listed)

    @property
    def declared(self) -> frozenset[str]:
        """What our list has to hold at last."""
        return frozenset(self.wishes.present)

    @cached_property
    def config(self) -> Side | None:
        """The persistent definition."""
        return self._side(self.live.inactive)

    @cached_property
    def running(self) -> Side | None:
        """The one in force."""
        return None if self.spec.active is False else self._side(self.live.active)

    @property
    def unseen(self) -> Side:
        """What a package may bring, as if nothing were in it."""
        nothing = Definition(None, (), (), None, ISOLATED, None)
        return Side(nothing, Fields(dhcp=self.spec.fields.dhcp), self.wishes)

    def _side(self, definition: Definition | None) -> Side | None:
        return Side(definition, self.spec.fields, self.wishes) if definition else None

    @cached_property
    def sides(self) -> Mapping[str, Side]:
        """Both, the definition first, by the words that tell where something is."""
        both = ((CONFIG, self.config), (RUNNING, self.running))
        return {where: side for where, side in both if side}

    @property
    def moves(self) -> bool:
        """Whether it runs on other addresses than it shall: what lies in them then waits for the restart."""
        return self.running is not None and ADDRESS in self.running.off

    @property
    def starts(self) -> bool:
        """Whether it is down and shall not be: it was so written, or a restart was begun."""
        wanted = self.spec.active or (self.live.begun is not None and self.spec.active is None)
        return self.live.active is None and bool(wanted)

    @property
    def lists_late(self) -> bool:
        """Whether what is dropped leaves the running network only with its restart."""
        dropped = self.listed - self.declared
        return self.running is not None and self.moves and not dropped.isdisjoint(self.running.differences)


def changes(goal: Goal) -> Iterator[Change]:
    """All that differs."""
    spec, live = goal.spec, goal.live
    if spec.state == "absent":
        yield from _changes_of_absent(live)
        return
    if not live.there and spec.address is not None:
        yield Change(("state",), "absent", "present")
    if spec.active is not None and spec.active != (live.active is not None):
        yield Change(("active",), old=live.active is not None, new=spec.active)
    if spec.autostart is not None and spec.autostart != live.autostart:
        yield Change(("autostart",), live.autostart, spec.autostart)
    for word in WORDS:
        yield from _changes_of_word(goal, word)
    yield from _changes_of_reservations(goal)
    yield from _changes_of_list(goal)
    if live.begun is not None:
        yield Change(("restart",), "begun, and not finished", "finished")


def _changes_of_absent(live: Live) -> Iterator[Change]:
    if live.there:
        yield Change(("state",), "present", "absent")
    if live.listed is not None:
        yield Change(("owned",), few(listing.macs(live.listed)) or "empty", None)
    if live.begun is not None:
        yield Change(("restart",), "begun, and not finished", None)


def _changes_of_word(goal: Goal, word: str) -> Iterator[Change]:
    path, wanted = (word,), said(goal.spec.fields, word)
    if wanted is None:
        return
    if not goal.live.there:
        yield Change(path, None, wanted)
        return
    off = {where: said(side.definition, word) for where, side in goal.sides.items() if word in side.off}
    pending = CONFIG not in off and (word != DHCP or goal.moves)
    if off:
        yield Change(path, _where(off, goal), wanted, pending=pending)


def _changes_of_reservations(goal: Goal) -> Iterator[Change]:
    sides = goal.sides or {CONFIG: goal.unseen}
    for mac in (*goal.wishes.present, *sorted(goal.wishes.gone)):
        off = {where: side.differences[mac] for where, side in sides.items() if mac in side.differences}
        if off:
            pending = CONFIG not in off and goal.moves
            old = _where({where: one.old for where, one in off.items()}, goal)
            yield Change(("reservations", mac), old, next(iter(off.values())).new, pending=pending)


def _where(off: Mapping[str, str | None], goal: Goal) -> str | None:
    """What is there; with the one of two definitions in which alone it is so."""
    old = next(iter(off.values()))
    return old if len(off) == len(goal.sides) or not goal.sides else f"{old or 'none'} {next(iter(off))}"


def _changes_of_list(goal: Goal) -> Iterator[Change]:
    if goal.live.listed != listing.content(goal.name, goal.declared):
        pending = goal.lists_late and goal.declared <= goal.listed
        old = "edited" if goal.listed == goal.declared and goal.live.listed else few(goal.listed)
        yield Change(("owned",), old, few(goal.declared), pending=pending)


def few(macs: frozenset[str]) -> str | None:
    """Some of them, and how many more."""
    shown = ", ".join(sorted(macs)[:_SHOWN])
    return (shown + f" and {len(macs) - _SHOWN} more" if len(macs) > _SHOWN else shown) or None


def said(of: Definition | Fields, word: str) -> str | None:
    """What a definition, or a wish, says in a word of the spec."""
    if word == DHCP:
        ranges: tuple[Range | None, ...] = of.ranges if isinstance(of, Definition) else (of.dhcp,)
        return ", ".join(str(one) for one in ranges if one) or None
    values = {ADDRESS: of.address, "bridge": of.bridge, "forward": of.forward, "domain": of.domain}
    return None if values[word] is None else str(values[word])
