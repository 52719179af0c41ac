"""Who goes away, once, for all that need it: whom that stops, why, what begins and what ends it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from cxlstate.core.action import Action, Risk, effect_types, undoing
from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.machine import MachineId
from cxlstate.engine.assessing import IN_FORCE, Assessed
from cxlstate.engine.lifting import REBOOTS
from cxlstate.engine.plan import Away, Interruption, Planned, ResourcePlan, Status, Stopped, Subject
from cxlstate.engine.running import Running, RunningVm

TO_SHUT_DOWN = 300
"""Seconds for a VM before a reboot, which need not be one that the spec names."""

Plans = Mapping[ScopedAddress, ResourcePlan]
Needing = list[tuple[ResourcePlan, Away]]


def interruptions(of: Assessed, plans: Plans) -> tuple[Interruption, ...]:
    """One a subject and risk, in the order of beginning: VMs before the machine that they run on."""
    needing: dict[tuple[Risk, Subject], Needing] = {}
    for plan in plans.values():
        if plan.status is not Status.IN_SYNC and not plan.errors:
            for away in plan.away:
                needing.setdefault((away.risk, away.subject), []).append((plan, away))
    found = [
        _reboot(of, plans, several) if risk in REBOOTS else _of_vm(of, plans, several)
        for (risk, _), several in needing.items()
    ]
    return tuple(sorted(found, key=_place))


def _place(one: Interruption) -> tuple[bool, bool, str]:
    return one.risk is Risk.REBOOT_HOST, one.risk is Risk.REBOOT_GUEST, str(one.subject)


# A VM -------------------------------------------------------------------------------------------------


def _of_vm(of: Assessed, plans: Plans, needing: Needing) -> Interruption:
    """By the VM's own steps where it has some, since those know how long it may take."""
    away = needing[0][1]
    subject = cast("ScopedAddress", away.subject)
    own = [one for plan, one in needing if plan.at == subject]
    first = own[0] if own else away
    ends = [one.end for one in (*own, *(one for _, one in needing)) if one.end]
    name = subject.address.name
    stopped = Stopped(name, subject in of.resources, _autostart(of, subject.machine, name), again=bool(ends))
    because = tuple(plan.at for plan, _ in needing)
    return Interruption(
        away.risk,
        subject,
        (stopped,),
        because,
        (Planned(subject, first.begin),),
        (Planned(subject, ends[0]),) if ends else (),
        _whys(one.begin for _, one in needing),
        barred=_barred(of, plans, [subject, *because]),
    )


def _autostart(of: Assessed, machine: MachineId, name: str) -> bool | None:
    return next((vm.autostart for vm in _running(of, machine).vms if vm.name == name), None)


# A machine --------------------------------------------------------------------------------------------


def _reboot(of: Assessed, plans: Plans, needing: Needing) -> Interruption:
    """Every VM that runs is asked to shut down first, and those that do not start with the host again after.

    Those are named that run now, and those that this plan starts before.
    """
    risk, machine = needing[0][1].risk, needing[0][0].at.machine
    running = _running(of, machine)
    because = tuple(plan.at for plan, _ in needing)
    stops = tuple(_stopped(of, plans, machine, vm) for vm in running.vms)
    now = [Planned(ScopedAddress(machine, Address("vm", one.name)), _shut_down(one.name)) for one in stops]
    later = [
        Planned(ScopedAddress(machine, Address("vm", one.name)), start_again(one.name))
        for one in stops
        if one.again
    ]
    implied = [
        at for at in of.resources if at.machine == machine and of.kinds[at.address.kind].gathers is not None
    ]
    return Interruption(
        risk,
        machine,
        stops,
        because,
        (*now, Planned(because[0], needing[0][1].begin)),
        tuple(later),
        _whys(one.begin for _, one in needing),
        running.unknown,
        (*_barred(of, plans, [*because, *implied]), *_lacking(of, machine, [*now, *later])),
    )


def _lacking(of: Assessed, machine: MachineId, steps: Sequence[Planned]) -> Iterator[Diagnostic]:
    """Why VMs could not be stopped or started from here."""
    if observed := of.seen.machines.get(machine):
        types = effect_types([step.action for step in steps])
        yield from (one.on(machine) for one in map(observed.lacks, types) if one)


def _stopped(of: Assessed, plans: Plans, machine: MachineId, vm: RunningVm) -> Stopped:
    at = ScopedAddress(machine, Address("vm", vm.name))
    plan = plans.get(at)
    stays_off = plan is not None and any(one.subject == at and not one.end for one in plan.away)
    return Stopped(vm.name, at in of.resources, vm.autostart, not vm.autostart and not stays_off)


def _shut_down(name: str) -> Action:
    from cxlstate.core.libvirt import RestoreDomain, StopDomain  # noqa: PLC0415  # few plans stop a VM

    return Action(
        f"shut down {name}",
        StopDomain(name, TO_SHUT_DOWN),
        undo=undoing(RestoreDomain(name)),
        interrupts=Address("vm", name),
    )


def start_again(name: str) -> Action:
    """A VM that ran before a reboot and does not start with the host."""
    from cxlstate.core.libvirt import StartDomain  # noqa: PLC0415  # as above

    return Action(f"start {name} again", StartDomain(name), interrupts=Address("vm", name))


def _running(of: Assessed, machine: MachineId) -> Running:
    observed = of.seen.machines.get(machine)
    return observed.running if observed else Running()


# Both -------------------------------------------------------------------------------------------------


def _whys(actions: Iterator[Action]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(action.why for action in actions if action.why))


def _barred(of: Assessed, plans: Plans, concerned: Sequence[ScopedAddress]) -> tuple[Diagnostic, ...]:
    """Errors of those whom it concerns, and of what they require: it would lead into them."""
    reached = of.graph.reached(concerned, *IN_FORCE)
    found = (problem for at in sorted(reached) if at in plans for problem in plans[at].errors)
    return tuple(dict.fromkeys(found))
