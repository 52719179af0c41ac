"""What must not be done under somebody's feet: who is taken out of use before it, and put back behind it.

Pure, and the same for every kind: an action names memory (`Action.suspends`), a kind that holds memory
says how it lets go of it (`Suspendable`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from cxlstate.core.action import Action, Span
from cxlstate.core.address import Address
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.exports import DaxDevice, Given
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.reconciler import Resource, Suspendable


@dataclass(frozen=True, slots=True)
class Holder:
    """A resource that holds memory, with all that it takes to suspend it."""

    kind: Suspendable
    resource: Resource[Any]
    seen: Observation[Any]
    given: Given
    devices: tuple[DaxDevice, ...]

    @property
    def address(self) -> Address:
        """Whose memory it is."""
        return self.resource.address

    @property
    def untold(self) -> bool:
        """Whether it cannot be told if, or where, it is in use."""
        return isinstance(self.seen, Unknown) or self._somewhere

    def touches(self, spans: Sequence[Span]) -> bool:
        """Whether any of the memory is its. What might be anywhere is taken to be here."""
        if not spans:
            return False
        return self._somewhere or any(
            device.overlaps(span.start, span.end) for device in self.devices for span in spans
        )

    @property
    def _somewhere(self) -> bool:
        unplaced = any(not device.ranges for device in self.devices)
        return unplaced and not isinstance(self.seen, Absent)

    @property
    def _live(self) -> Any:
        return self.seen.live if isinstance(self.seen, Present) else None

    def suspend(self) -> Sequence[Action] | Diagnostic:
        """What takes it out of use, or why that cannot be done."""
        return self.kind.suspend(self.resource, self._live, self.given)

    def resume(self) -> Sequence[Action]:
        """What puts it back."""
        return self.kind.resume(self.resource, self._live, self.given)


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
    if untold := tuple(holder.address for holder in touched if holder.untold):
        return Suspension(actions, untold=untold)
    asked = [(holder, holder.suspend()) for holder in touched]
    if refused := tuple(answer for _, answer in asked if isinstance(answer, Diagnostic)):
        return Suspension(actions, refused=refused)
    in_use = {
        holder.address: answer for holder, answer in asked if not isinstance(answer, Diagnostic) and answer
    }
    return Suspension(tuple(_expanded(acting, actions, [h for h in touched if h.address in in_use], in_use)))


def _expanded(
    acting: Address,
    actions: Sequence[Action],
    holders: Sequence[Holder],
    suspend: Mapping[Address, Sequence[Action]],
) -> Iterator[Action]:
    """Neighbours under the same suspension share it. An activation is not done with the rest."""

    def under(action: Action) -> tuple[bool, list[Address]]:
        return action.activation, [one.address for one in holders if one.touches(action.suspends)]

    for (activation, addresses), together in groupby(actions, under):
        concerned = [holder for holder in holders if holder.address in addresses]
        names = ", ".join(map(str, addresses))
        before = _first_of_each([suspend[holder.address] for holder in reversed(concerned)])
        behind = _last_of_each([holder.resume() for holder in concerned])
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
