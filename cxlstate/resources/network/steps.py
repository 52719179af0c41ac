"""What makes a network as it is wished: the actions, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cxlstate.core.action import Action, Risk, Run, undoing
from cxlstate.core.effect import Effect
from cxlstate.core.libvirt import (
    AutostartNetwork,
    DefineNetwork,
    StartNetwork,
    StopNetwork,
    UndefineNetwork,
)
from cxlstate.formats import network_xml
from cxlstate.formats.network_xml import Host
from cxlstate.resources.network import calls, listing
from cxlstate.resources.network.goal import Goal
from cxlstate.resources.network.listing import Tap
from cxlstate.resources.network.probe import Live, served_by, status


def actions(goal: Goal) -> Iterator[Action]:
    """Our list before anything that is listed, the definition, what can be done live, and a restart last.

    A stop comes before the definition changes, so that its undo, which is done after theirs, starts the
    network with what it ran with.
    """
    if goal.spec.state == "absent":
        yield from _taken_away(goal)
        return
    yield from _listed_before(goal)
    yield from _stopped(goal)
    yield from _defined(goal) if goal.live.there else _made(goal)
    yield from _autostart(goal)
    yield from _started(goal)
    if not goal.live.there:
        yield from _reserved_in_what_comes(goal)
    yield from _plugged_in_again(goal)
    if not goal.lists_late:
        yield from _listed_after(goal, activation=False)
    yield from _restarted(goal)


def _listed_before(goal: Goal) -> Iterator[Action]:
    """So that no stop in between leaves an entry that nobody knows as ours."""
    if not goal.declared <= goal.listed:
        both = listing.content(goal.name, goal.declared | goal.listed)
        yield listing.change("record which reservations are ours", _list(goal), goal.live.listed, both)


def _listed_after(goal: Goal, *, activation: bool) -> Iterator[Action]:
    """Exactly those of the spec, once the others are gone."""
    now, wanted = goal.live.listed, listing.content(goal.name, goal.declared)
    if not goal.declared <= goal.listed:
        now = listing.content(goal.name, goal.declared | goal.listed)
    if now != wanted:
        does = "drop removed reservations from the record" if wanted else "remove the record of reservations"
        if goal.listed == goal.declared:
            does = "rewrite the record of reservations"
        yield listing.change(does, _list(goal), now, wanted, activation=activation)


def _list(goal: Goal) -> str:
    return listing.path(goal.name)


def _defined(goal: Goal) -> Iterator[Action]:
    """By updates where that is possible; else anew under its own UUID, with all that is wished at once."""
    live = None if goal.moves else goal.running
    config = goal.config
    if config and config.structure and goal.live.inactive_xml is not None:
        xml = network_xml.edit(goal.live.inactive_xml, config.fields, config.steps)
        expected = listing.digest(goal.live.inactive_xml)
        yield Action(f"define {goal.name} anew", DefineNetwork(goal.name, xml, expected))
        config = None
    yield from calls.actions(goal.name, calls.of(config), calls.of(live))


def _made(goal: Goal) -> Iterator[Action]:
    """Where it is not known yet what a package will bring, there is nothing to define."""
    if goal.spec.address is not None:
        hosts = [Host(mac, wish.ip, wish.name) for mac, wish in goal.wishes.present.items()]
        xml = network_xml.new(goal.name, goal.spec.fields, hosts)
        undo = undoing(UndefineNetwork(goal.name))
        yield Action(f"define {goal.name}", DefineNetwork(goal.name, xml), undo=undo)


def _reserved_in_what_comes(goal: Goal) -> Iterator[Action]:
    if goal.spec.address is None:
        side = goal.unseen
        yield from calls.actions(goal.name, calls.of(side), calls.of(side) if goal.spec.active else ())


def _autostart(goal: Goal) -> Iterator[Action]:
    wanted = goal.spec.autostart
    if wanted is not None and wanted != goal.live.autostart:
        does = f"{'enable' if wanted else 'disable'} autostart of {goal.name}"
        undo = undoing(AutostartNetwork(goal.name, not wanted))
        yield Action(does, AutostartNetwork(goal.name, wanted), undo=undo)


def _stopped(goal: Goal) -> Iterator[Action]:
    if goal.spec.active is False and goal.live.active is not None:
        yield _stop(goal, undo=_up_again(goal))


def _started(goal: Goal) -> Iterator[Action]:
    if goal.starts:
        yield from _cleared_away(goal)
        yield Action(f"start {goal.name}", StartNetwork(goal.name), undo=undoing(StopNetwork(goal.name)))


def _cleared_away(goal: Goal) -> Iterator[Action]:
    """What a start has left that was cut off together with libvirt's daemon.

    If somebody has started the network since the plan, what looked left behind is what it runs with.
    """
    runs = status(goal.name)
    if goal.live.server:
        yield Action(
            f"end the dnsmasq of {goal.name}, left behind by a start that was cut off",
            Run(("pkill", "--full", served_by(goal.name).pattern), unless=runs),
            why=f"{goal.name} does not run, and the next one could not listen on its address",
        )
    if goal.live.stray:
        yield Action(
            f"remove {goal.live.stray}, left behind by a start that was cut off",
            Run(("ip", "link", "delete", "dev", goal.live.stray, "type", "bridge"), unless=runs),
            why=f"it has the MAC address of {goal.name}, which does not run, and nobody is plugged into it",
        )


def _plugged_in_again(goal: Goal) -> Iterator[Action]:
    """The rest of a restart that was begun."""
    begun = goal.live.begun
    if begun is None:
        return
    if goal.spec.active is not False:
        bridge = goal.live.bridge if goal.live.active else _bridge_to_come(goal)
        yield from _plug(goal, goal.live.loose, bridge)
    yield listing.change("forget the restart that was begun", listing.begun_path(goal.name), begun, None)


def _restarted(goal: Goal) -> Iterator[Action]:
    """Stopped and started, and the taps plugged in again, which the guests themselves would not do.

    What is to be plugged in is written down first: stopped in between, the next apply goes on from there.
    """
    running, live = goal.running, goal.live
    if running is None or not running.structure:
        return
    where, note = listing.begun_path(goal.name), listing.begun(goal.name, live.taps)
    yield listing.note(goal.name, live.taps)
    yield _stop(goal, undo=_back_to_the_old(goal), activation=True)
    yield Action(f"start {goal.name}", StartNetwork(goal.name), activation=True)
    yield from _plug(goal, live.taps, _bridge_to_come(goal), activation=True)
    yield listing.change("forget the note", where, note, None, activation=True)
    if goal.lists_late:
        yield from _listed_after(goal, activation=True)


def _bridge_to_come(goal: Goal) -> str | None:
    inactive = goal.live.inactive
    return goal.spec.bridge or (inactive.bridge if inactive else None) or goal.live.bridge


def _back_to_the_old(goal: Goal) -> tuple[Effect, ...]:
    """With what it ran until now."""
    live, config = goal.live, goal.config
    if config is None or config.structure or live.active_xml is None or live.inactive_xml is None:
        return ()
    old = DefineNetwork(goal.name, live.active_xml, listing.digest(live.inactive_xml))
    return (old, *_up_again(goal))


def _stop(goal: Goal, *, undo: tuple[Effect, ...], activation: bool = False) -> Action:
    does, effect = f"stop {goal.name}", StopNetwork(goal.name)
    again = " until it is up again" if activation else ""
    who = plugged_in(goal.live)
    why = f"it cuts off {who}{again}" if who else "nobody is plugged into it"
    return Action(does, effect, Risk.NETWORK_BLIP, why, undoing(*undo), activation=activation)


def plugged_in(live: Live) -> str:
    """Guests by name. After a restart libvirt does not know any more which one is behind a tap."""
    return ", ".join(live.guests or [tap.name for tap in live.taps])


def _plug(
    goal: Goal, taps: Iterable[Tap], bridge: str | None, *, activation: bool = False
) -> Iterator[Action]:
    """As virNetDevTapReattachBridge does it for a guest, when libvirt itself is restarted."""
    why = f"{goal.name} has a new bridge, and it is in none"
    for tap in taps:
        if bridge:
            yield Action(
                f"plug {tap.name} into {bridge}", _plugs(tap, bridge), why=why, activation=activation
            )
            if tap.isolated:
                does = f"keep {tap.name} from other isolated guests"
                yield Action(does, _isolates(tap), why="as it was", activation=activation)


def _plugs(tap: Tap, bridge: str) -> Run:
    return Run(("ip", "link", "set", "dev", tap.name, "master", bridge, "up"))


def _isolates(tap: Tap) -> Run:
    return Run(("bridge", "link", "set", "dev", tap.name, "isolated", "on"))


def _up_again(goal: Goal) -> tuple[Effect, ...]:
    """As it was: started, and the guests plugged in."""
    plugs: list[Effect] = []
    for tap in goal.live.taps:
        plugs += [_plugs(tap, goal.live.bridge or "")]
        plugs += [_isolates(tap)] if tap.isolated else []
    return (StartNetwork(goal.name), *plugs)


def _taken_away(goal: Goal) -> Iterator[Action]:
    live = goal.live
    if live.active is not None:
        yield _stop(goal, undo=_up_again(goal))
    if live.inactive_xml is not None:
        back: tuple[Effect, ...] = (DefineNetwork(goal.name, live.inactive_xml),)
        undo = (*back, AutostartNetwork(goal.name, on=True)) if live.autostart else back
        yield Action(f"undefine {goal.name}", UndefineNetwork(goal.name), undo=undoing(*undo))
    for does, where, text in (
        ("remove the record of reservations", _list(goal), live.listed),
        ("forget the restart that was begun", listing.begun_path(goal.name), live.begun),
    ):
        if text is not None:
            yield listing.change(does, where, text, None)
