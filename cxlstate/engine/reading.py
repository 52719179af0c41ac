"""Read a tree: the host in one exchange, then each of its guests that runs, side by side.

Holds nothing that could change a machine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

from cxlstate.core.address import ScopedAddress
from cxlstate.core.assessment import Assessment
from cxlstate.core.connect import Connect, Through
from cxlstate.core.defect import defect
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.guest import Accepted, GuestAccess, Route
from cxlstate.core.machine import MachineId
from cxlstate.core.read import Read
from cxlstate.engine.assessing import assess_resources
from cxlstate.engine.observe import Kinds, Observed, observe
from cxlstate.engine.plan import Reach, Reached
from cxlstate.engine.seen import Seen
from cxlstate.machine.reader import GuestReader, HostReader, Reader
from cxlstate.spec.tree import Machine, Tree

AT_ONCE = 8

Opener = Callable[[Connect, str], HostReader]
"""How a host of a name is opened for reading."""

REFUSED = frozenset({"CXC105", "CXC120"})
"""Codes of what does not go away by waiting: another host key."""
DENIED = "CXC106"
"""Code of a login that was refused, which may go away while a guest boots."""


@dataclass
class Readers:
    """The open connections to the machines of a tree. Those of guests end with their VM."""

    opener: Opener
    hosts: dict[MachineId, HostReader] = field(default_factory=dict)
    guests: dict[MachineId, GuestReader] = field(default_factory=dict)

    def host(self, host: Machine) -> HostReader:
        """The reader of a host, opened at first use."""
        if host.id not in self.hosts:
            self.hosts[host.id] = self.opener(cast("Connect", host.connect), host.id)
        return self.hosts[host.id]

    def guest(self, guest: Machine, access: GuestAccess) -> GuestReader:
        """The reader of a guest, opened at first use."""
        if guest.id not in self.guests:
            host = self.hosts[guest.parent or ""]
            self.guests[guest.id] = host.guest(Route(guest.id, way_of(guest), access))
        return self.guests[guest.id]

    def of(self, machine: Machine) -> Reader:
        """The reader of a machine that was read. KeyError: it was not."""
        return self.guests[machine.id] if machine.parent else self.hosts[machine.id]

    def drop(self, guest: MachineId) -> None:
        """Give up a connection that ended with its machine."""
        if reader := self.guests.pop(guest, None):
            with suppress(CxlstateError):
                reader.close()

    def close(self) -> None:
        """End all connections: those of guests go through their host's."""
        for guest in list(self.guests):
            self.drop(guest)
        while self.hosts:
            with suppress(CxlstateError):
                self.hosts.popitem()[1].close()


@dataclass(frozen=True)
class TreeReader:
    """Reads a tree, all of it or some of its machines. `closer` and `more` are of `show`."""

    tree: Tree
    kinds: Kinds
    readers: Readers
    closer: bool = False
    more: Collection[Read] = ()

    def read(self, before: Seen | None = None, machines: Collection[MachineId] | None = None) -> Seen:
        """Raises CxlstateError where the host cannot be reached; a guest that cannot be is told as that.

        Only `machines` are read again, if they are given; of the others stays what was seen `before`. With a
        host, its guests are looked at again where their VMs tell something else.
        """
        seen = before or Seen()
        for host in (one for one in self.tree.machines if one.parent is None):
            if machines is None or host.id in machines:
                observed = observe(
                    self.readers.host(host), host, self.kinds, closer=self.closer, more=self.more
                )
                seen = seen.with_(Seen({host.id: observed}, {host.id: Reached()}))
        guests = [one for one in self.tree.machines if one.parent is not None]
        return self._with_guests(seen, guests, machines) if guests else seen

    def access(self, machine: Machine, seen: Seen) -> GuestAccess | None:
        """The way to a guest, as its VM tells it; None for a host."""
        return _access(machine, seen.assessed) if machine.parent else None

    def _with_guests(self, seen: Seen, guests: list[Machine], machines: Collection[MachineId] | None) -> Seen:
        made = assess_resources(self._hosts(), seen, self.kinds).made
        seen = replace(seen, assessed=made)
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # slow to load, and seldom needed

        ask = partial(self._guest, seen=seen, machines=machines)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for part in pool.map(ask, guests):
                seen = seen.with_(part) if part else seen
        return seen

    def _hosts(self) -> Tree:
        return replace(self.tree, machines=tuple(one for one in self.tree.machines if one.parent is None))

    def _guest(self, guest: Machine, *, seen: Seen, machines: Collection[MachineId] | None) -> Seen | None:
        """What is new of a guest; None where what was seen of it still holds."""
        access = _access(guest, seen.assessed)
        if access is None or access.running is not True:
            self.readers.drop(guest.id)
            return Seen({}, {guest.id: _not_running(guest, access)})
        known = seen.reached.get(guest.id)
        if machines is not None and guest.id not in machines and known and known.how is Reach.READ:
            return None
        try:
            reader = self.readers.guest(guest, access)
            observed: Observed = observe(reader, guest, self.kinds, closer=self.closer)
        except CxlstateError as error:
            self.readers.drop(guest.id)
            return Seen({}, {guest.id: _unreachable(guest, error)})
        except Exception as error:  # noqa: BLE001  # one guest that is odd leaves the others their plans
            problem = defect(error).on(guest.id)
            return Seen({}, {guest.id: Reached(Reach.REFUSED, problem.message, problem=problem)})
        return Seen({guest.id: observed}, {guest.id: Reached(new_key=_new_key(reader.accepted, access))})


def way_of(guest: Machine) -> Through:
    """How the spec leads into a guest. TypeError: it is a host."""
    if not isinstance(guest.connect, Through):
        raise TypeError(f"{guest.id} is no guest")
    return guest.connect


def _access(guest: Machine, made: Mapping[ScopedAddress, Assessment]) -> GuestAccess | None:
    vm = made.get(ScopedAddress(guest.parent or "", way_of(guest).vm))
    return next((one for one in vm.exports if isinstance(one, GuestAccess)), None) if vm else None


def _new_key(accepted: Accepted | None, access: GuestAccess) -> Accepted | None:
    """What a guest was reached by, unless its host keeps that key, by now."""
    return accepted if accepted and accepted.is_new and accepted.key not in access.keys else None


def _not_running(guest: Machine, access: GuestAccess | None) -> Reached:
    vm = way_of(guest).vm
    if access is None or access.running is None:
        return Reached(Reach.UNKNOWN, f"whether {vm} runs is not known")
    return Reached(Reach.OFF, f"read once {vm} runs")


def _unreachable(guest: Machine, error: CxlstateError) -> Reached:
    """A guest that does not answer is unknown; one that answers as somebody else is refused."""
    problem = error.diagnostics[0].on(guest.id)
    if problem.code in REFUSED:
        return Reached(Reach.REFUSED, "see the error", problem=problem)
    said = f"{problem.message}: {problem.found}" if problem.found else problem.message
    return Reached(Reach.UNKNOWN, said, problem.hint, denied=problem.code == DENIED)
