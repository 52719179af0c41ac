"""Changes of a network that runs on: virNetworkUpdate, for one definition or for both at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from cxlstate.core.action import Action, undoing
from cxlstate.core.libvirt import Update, UpdateNetwork
from cxlstate.formats.network_xml import HostStep, Range, host_xml, range_xml
from cxlstate.resources.network.goal import CONFIG, DHCP, RUNNING, Side
from cxlstate.resources.network.updates import said

_HOST, _RANGE = "ip-dhcp-host", "ip-dhcp-range"
_BACK = {Update.ADD_LAST: Update.DELETE, Update.DELETE: Update.ADD_LAST, Update.MODIFY: Update.MODIFY}


@dataclass(frozen=True, slots=True)
class Call:
    """One update of one definition. Equal ones are the same call; what undoes them may differ."""

    command: Update
    section: str
    xml: str
    parent: int
    back: str = field(compare=False)
    does: str = field(compare=False)
    why: str = field(default="", compare=False)

    def effect(self, name: str, *, live: bool, config: bool) -> UpdateNetwork:
        """As an effect on the definitions that are named."""
        return UpdateNetwork(name, self.command, self.section, self.xml, live, config, self.parent)

    def undone(self, name: str, *, live: bool, config: bool) -> UpdateNetwork:
        """What takes it back."""
        return UpdateNetwork(name, _BACK[self.command], self.section, self.back, live, config, self.parent)


def of(side: Side | None) -> tuple[Call, ...]:
    """All that a definition needs, in order. A new range comes before the old one goes."""
    if side is None:
        return ()
    return (*_ranges(side), *_hosts(side))


def actions(name: str, config: Sequence[Call], live: Sequence[Call]) -> Iterator[Action]:
    """Each in its own order; what both need is one call.

    libvirt changes both only where both can be changed.
    """
    matcher = SequenceMatcher(a=config, b=live, autojunk=False)
    for tag, start, end, live_start, live_end in matcher.get_opcodes():
        if tag == "equal":
            pairs = zip(config[start:end], live[live_start:live_end], strict=True)
            yield from (_both(name, one, other) for one, other in pairs)
        else:
            yield from (_one(name, call, live=False) for call in config[start:end])
            yield from (_one(name, call, live=True) for call in live[live_start:live_end])


def _both(name: str, one: Call, other: Call) -> Action:
    undo: tuple[UpdateNetwork, ...] = (one.undone(name, live=True, config=True),)
    if one.back != other.back:
        undo = (one.undone(name, live=False, config=True), other.undone(name, live=True, config=False))
    return Action(one.does, one.effect(name, live=True, config=True), why=one.why, undo=undoing(*undo))


def _one(name: str, call: Call, *, live: bool) -> Action:
    where = RUNNING if live else CONFIG
    effect = call.effect(name, live=live, config=not live)
    undo = undoing(call.undone(name, live=live, config=not live))
    return Action(f"{call.does} {where}", effect, why=call.why, undo=undo)


def _ranges(side: Side) -> Iterator[Call]:
    wanted = side.fields.dhcp
    if wanted is None or DHCP not in side.off:
        return
    if wanted not in side.definition.ranges:
        new = wanted.in_place_of(side.definition.ranges)
        yield _range(Update.ADD_LAST, new, side, f"give out {wanted}")
    for one in side.definition.ranges:
        if one != wanted:
            yield _range(Update.DELETE, one, side, f"no longer give out {one}")


def _range(command: Update, one: Range, side: Side, does: str) -> Call:
    xml, back = range_xml(one, command), range_xml(one, _BACK[command])
    return Call(command, _RANGE, xml, side.definition.parent, back, does)


def _hosts(side: Side) -> Iterator[Call]:
    added = {step.host.mac for step in side.steps if step.command is Update.ADD_LAST}
    for step in side.steps:
        yield _host(step, side.definition.parent, again=step.host.mac in added)


def _host(step: HostStep, parent: int, *, again: bool) -> Call:
    new, was, why = step.host, step.was, ""
    match step.command:
        case Update.ADD_LAST:
            does = f"reserve {said(new)} for {new.mac}"
        case Update.MODIFY:
            does = f"reserve {said(new)} for {new.mac}"
            why = f"instead of {said(was) if was.mac == new.mac else was.mac}" if was else ""
        case Update.DELETE:
            does = f"take {said(new)} from {new.mac}"
            why = "it gets its new one when that is free" if again else ""
    back = host_xml(was or new, _BACK[step.command])
    return Call(step.command, _HOST, host_xml(new, step.command), parent, back, does, why)
