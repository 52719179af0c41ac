"""What makes a dax device ready, takes it out of use, and gives it up: the actions."""

from __future__ import annotations

from collections.abc import Sequence

from cxlstate.core.action import Action, Reboot, Risk, undoing
from cxlstate.core.address import Address
from cxlstate.core.answers import Answers
from cxlstate.core.change import Change
from cxlstate.core.libvirt import RestoreDomain, StartDomain, StopDomain
from cxlstate.core.reconciler import Leftover, Resource
from cxlstate.formats import dax, restore
from cxlstate.formats.dax import Holder
from cxlstate.resources.dax import probe, verbs
from cxlstate.resources.dax.probe import Live, Missing, linked
from cxlstate.resources.dax.spec import DaxSpec

Actions = tuple[Action, ...]

_TO_SHUT_DOWN = 300
"""Seconds for a guest, which need not be one that the spec names."""


def selector(spec: DaxSpec) -> str:
    """What finds it again on the machine, now and at boot."""
    return restore.selector(spec.memory, node=spec.target_node, name=spec.device or "")


def out_of_use(me: Resource[DaxSpec], live: Live) -> tuple[Actions, Actions]:
    """What stops its guests, and what unbinds it."""
    if not live.bound:
        return (), ()
    selected, name = selector(me.spec), live.device.name
    stops = tuple(
        Action(
            f"shut down the VM {vm}, which holds {me.address}",
            StopDomain(vm, _TO_SHUT_DOWN),
            Risk.RESTART_VM,
            undo=undoing(RestoreDomain(vm)),
            interrupts=Address("vm", vm),
        )
        for vm in _vms(live.holders)
    )
    unbind = Action(
        f"unbind {name}",
        verbs.unbind(name, selected),
        undo=undoing(verbs.bind(name, selected, live.device.align)),
    )
    return stops, (unbind,)


def back(me: Resource[DaxSpec], live: Live, align: int) -> tuple[Actions, Actions]:
    """What binds it and sees that it works, and what starts its guests."""
    selected, name = selector(me.spec), live.device.name
    bind = Action(
        f"bind {name} to {dax.DEVDAX}",
        verbs.bind(name, selected, align),
        undo=undoing(verbs.unbind(name, selected)),
    )
    check = Action(f"map {name} and read it", verbs.check(name, selected))
    starts = tuple(
        Action(
            f"start the VM {vm} again",
            StartDomain(vm),
            undo=undoing(StopDomain(vm, _TO_SHUT_DOWN)),
            interrupts=Address("vm", vm),
        )
        for vm in _vms(live.holders)
    )
    return (bind, check), starts


def link(me: Resource[DaxSpec], live: Live) -> Action:
    """The stable path; undone, no path at all leads to it."""
    return Action(
        f"link {restore.LINKS}/{me.name} to it",
        verbs.link(me.name, live.device.name, selector(me.spec)),
        undo=undoing(verbs.unlink(me.name)),
    )


def unlink(me: Resource[DaxSpec], live: Live | Missing) -> Action:
    """Until it is proven again. A link that led elsewhere, or to cached memory, is not made again."""
    undo: Actions = ()
    if isinstance(live, Live) and live.bound and linked(live) and not live.cached:
        undo = undoing(verbs.link(me.name, live.device.name, selector(me.spec)))
    return Action(f"remove {restore.LINKS}/{me.name}", verbs.unlink(me.name), undo=undo)


def reclaim(me: Resource[DaxSpec], live: Live) -> Action:
    """What the user wants is that kmem has it no more: there is nothing to go back to."""
    return Action(
        f"take {live.device.name} back from kmem",
        verbs.reclaim(live.device.name, selector(me.spec)),
        why="nothing is in it that could not move to other memory",
    )


def reboot(live: Live) -> Action:
    """Only a boot takes it from the kernel."""
    return Action(
        f"reboot, so that kmem does not take {live.device.name}",
        Reboot(),
        Risk.REBOOT_HOST,
        why="kmem made RAM of it that the kernel uses itself; the next boot keeps kmem out",
        activation=True,
    )


def given_up(me: Resource[DaxSpec], live: Live) -> Actions:
    """Without the link first, so that nobody opens it meanwhile. Its guests are not started again."""
    selected, name = selector(me.spec), live.device.name
    unlinks = (unlink(me, live),) if live.link else ()
    if not live.bound:
        return unlinks
    stops = _power_off(me.address, _vms(live.holders))
    undo = undoing(verbs.bind(name, selected, live.device.align))
    return (*stops, *unlinks, Action(f"unbind {name}", verbs.unbind(name, selected), undo=undo))


def leftover(name: str, selected: str, answers: Answers) -> Leftover:
    """What its line of the table still stands for. VMs that run on it go off before: they start no more."""
    changes: list[Change] = []
    device = probe.selected(selected, answers)
    bound = device if device and device.driver == dax.DEVDAX else None
    holders = probe.holders_of(bound, answers) if bound else ()
    actions = list(_power_off(Address("dax", name), _vms(holders)))
    there = answers.files(probe.LINKS).get(f"{restore.LINKS}/{name}")
    if there is not None:
        changes.append(Change(("link",), there, None))
        actions.append(Action(f"remove {restore.LINKS}/{name}", verbs.unlink(name)))
    if bound:
        by = ", ".join(dict.fromkeys(map(str, holders)))
        kept = not all(one.vm for one in holders)
        old = f"{dax.DEVDAX}, held by {by}" if by else dax.DEVDAX
        changes.append(Change(("driver",), old, "it keeps it" if kept else None))
        if not kept:
            undo = undoing(verbs.bind(bound.name, selected, bound.align))
            actions.append(Action(f"unbind {bound.name}", verbs.unbind(bound.name, selected), undo=undo))
    return Leftover(name, tuple(changes), tuple(actions))


def _power_off(device: Address, vms: Sequence[str]) -> Actions:
    return tuple(
        Action(
            f"shut down the VM {vm}, which holds {device}",
            StopDomain(vm, _TO_SHUT_DOWN),
            Risk.POWER_OFF_VM,
            why="it cannot run without the device, and stays off",
            undo=undoing(RestoreDomain(vm)),
            interrupts=Address("vm", vm),
        )
        for vm in vms
    )


def _vms(holders: Sequence[Holder]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.vm for one in holders if one.vm))
