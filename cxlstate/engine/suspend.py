"""What must not be done under somebody's feet: who is taken out of use before it, and put back behind it.

Pure, and the same for every kind: an action names memory (`Action.suspends`), and a resource that has
memory in use says how it lets go of it (`Assessment.hold`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from cxlstate.core.action import Action, Span
from cxlstate.core.address import Address
from cxlstate.core.assessment import Hold
from cxlstate.core.diagnostic import Diagnostic


@dataclass(frozen=True, slots=True)
class Holder:
    """A resource, and the memory that it has in use."""

    address: Address
    hold: Hold

    def touches(self, spans: Sequence[Span]) -> bool:
        """Whether any of the memory is its."""
        return self.hold.touches(spans)


@dataclass(frozen=True, slots=True)
class Suspension:
    """The actions with what stands around them; as they were where `refused` or `untold` says why not."""

    actions: tuple[Action, ...]
    refused: tuple[Diagnostic, ...] = ()
    untold: tuple[Address, ...] = ()


def suspending(acting: Address, actions: Sequence[Action], holders: Sequence[Holder]) -> Suspension:
    """Put suspension around the actions of a resource. `holders` stand in the order of doing."""
    actions = tuple(actions)
    others = [holder for holder in holders if holder.address != acting]
    touched = [one for one in others if any(one.touches(action.suspends) for action in actions)]
    if untold := tuple(one.address for one in touched if one.hold.unknown):
        return Suspension(actions, untold=untold)
    if refused := tuple(one.hold.stuck for one in touched if one.hold.stuck):
        return Suspension(actions, refused=refused)
    return Suspension(tuple(_expanded(acting, actions, touched)))


def _expanded(acting: Address, actions: Sequence[Action], holders: Sequence[Holder]) -> Iterator[Action]:
    """Neighbours under the same suspension share it. An activation is not done with the rest."""

    def under(action: Action) -> tuple[bool, list[Address]]:
        return action.activation, [one.address for one in holders if one.touches(action.suspends)]

    for (activation, addresses), together in groupby(actions, under):
        concerned = [holder for holder in holders if holder.address in addresses]
        names = ", ".join(map(str, addresses))
        before = _first_of_each([one.hold.release for one in reversed(concerned)])
        behind = _last_of_each([one.hold.retake for one in concerned])
        why = f"{acting} changes, and {names} must not be in use meanwhile"
        yield from (_inserted(action, why, activation=activation) for action in before)
        yield from together
        why = f"restores {names} after the change of {acting}"
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
