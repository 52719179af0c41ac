"""Which steps of a resource are an interruption's: who stops a VM or a machine, and starts it again.

An action with a risk to a VM that it names (`interrupts`) takes that one away; a later one that names it and
risks nothing brings it back. A reboot takes away the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cxlstate.core.action import Action, Reboot, Risk
from cxlstate.core.address import ScopedAddress
from cxlstate.core.machine import is_guest
from cxlstate.engine.plan import Away

REBOOTS = (Risk.REBOOT_HOST, Risk.REBOOT_GUEST)
_OF_VMS = (Risk.RESTART_VM, Risk.POWER_OFF_VM)


def lift(at: ScopedAddress, actions: Sequence[Action]) -> tuple[tuple[Action, ...], tuple[Away, ...]]:
    """What is left of a resource's actions, and whom it needs away."""
    own: list[Action] = []
    away: dict[object, Away] = {}
    for action in actions:
        subject = ScopedAddress(at.machine, action.interrupts) if action.interrupts else None
        if isinstance(action.effect, Reboot):
            away.setdefault(at.machine, _reboot(at, action))
        elif subject and action.risk in _OF_VMS:
            away.setdefault(subject, Away(action.risk, subject, action, activation=action.activation))
        elif subject and subject in away and action.risk is Risk.LIVE:
            away[subject] = replace(away[subject], end=action)
        else:
            own.append(action)
    return tuple(own), tuple(away.values())


def _reboot(at: ScopedAddress, action: Action) -> Away:
    """A kind does not know whether its machine is a host or a guest."""
    risk = Risk.REBOOT_GUEST if is_guest(at.machine) else Risk.REBOOT_HOST
    return Away(risk, at.machine, replace(action, risk=risk), activation=action.activation)
