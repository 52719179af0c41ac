"""What must not be done under somebody's feet: who is taken out of use before it, and put back behind it.

Pure, and the same for every kind: an action names memory (`Action.suspends`), a kind that holds memory
says how it lets go of it (`Assessment.hold`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from cxlstate.core.action import Action
from cxlstate.core.address import ScopedAddress
from cxlstate.core.assessment import Hold
from cxlstate.core.diagnostic import Diagnostic


@dataclass(frozen=True, slots=True)
class Holder:
    """A resource that holds memory, and how it lets go of it."""

    at: ScopedAddress
    hold: Hold


@dataclass(frozen=True, slots=True)
class Suspension:
    """The actions with what stands around them; as they were where `refused` or `untold` says why not."""

    actions: tuple[Action, ...]
    refused: tuple[Diagnostic, ...] = ()
    untold: tuple[ScopedAddress, ...] = ()


def suspending(acting: ScopedAddress, actions: Sequence[Action], holders: Sequence[Holder]) -> Suspension:
    """Put suspension around the actions of a resource. `holders` stand in the order of doing."""
    actions = tuple(actions)
    others = [one for one in holders if one.at != acting and one.at.machine == acting.machine]
    touched = [one for one in others if any(one.hold.touches(action.suspends) for action in actions)]
    if untold := tuple(one.at for one in touched if one.hold.unknown):
        return Suspension(actions, untold=untold)
    if refused := tuple(one.hold.stuck for one in touched if one.hold.stuck):
        return Suspension(actions, refused=refused)
    in_use = [one for one in touched if one.hold.release]
    return Suspension(tuple(_expanded(acting, actions, in_use)))


def _expanded(
    acting: ScopedAddress, actions: Sequence[Action], holders: Sequence[Holder]
) -> Iterator[Action]:
    """Neighbours under the same suspension share it. An activation is not done with the rest."""

    def under(action: Action) -> tuple[bool, list[ScopedAddress]]:
        return action.activation, [one.at for one in holders if one.hold.touches(action.suspends)]

    for (activation, concerned), together in groupby(actions, under):
        held = [one for one in holders if one.at in concerned]
        names = ", ".join(str(one.at.address) for one in held)
        before = _first_of_each([one.hold.release for one in reversed(held)])
        behind = _last_of_each([one.hold.retake for one in held])
        why = f"{acting.address} changes, and {names} must not be in use meanwhile"
        yield from (_inserted(action, why, activation=activation) for action in before)
        yield from together
        why = f"restores {names} after the change of {acting.address}"
        yield from (_inserted(action, why, activation=activation) for action in behind)


def _inserted(action: Action, why: str, *, activation: bool) -> Action:
    return replace(action, why=action.why or why, activation=activation)


def _first_of_each(lists: Sequence[Sequence[Action]]) -> list[Action]:
    """In one row. What several ask for (to stop the VM that holds both devices) is done once, first."""
    kept: list[Action] = []
    for actions in lists:
        before = [action.effect for action in kept]
        kept += [action for action in actions if action.effect not in before]
    return kept


def _last_of_each(lists: Sequence[Sequence[Action]]) -> list[Action]:
    """Likewise, but last: a VM starts when everything that it holds is back."""
    turned = _first_of_each([list(reversed(actions)) for actions in reversed(lists)])
    return turned[::-1]
