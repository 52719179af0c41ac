"""Guests whose VM starts in a run, or has just started: they are waited for until they answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.machine import MachineId
from cxlstate.engine.plan import Reach, Reached, Status
from cxlstate.engine.reading import way_of
from cxlstate.engine.running import seconds_since_start
from cxlstate.engine.seen import Seen
from cxlstate.spec.tree import Machine

if TYPE_CHECKING:
    from cxlstate.engine.apply import Applied, Converger

LOOKS, PAUSE = 60, 5.0
"""How often, and how many seconds apart, a guest is asked after its start before it counts as unknown."""

FIRST_LOOKS: Final = 360
"""How often at a first boot, which tells the host keys at its end: for as long as `AwaitFirstBoot`."""

REFUSALS: Final = 12
"""How often in a row it may refuse the login meanwhile: for a minute.

A refusal early in a boot is no evidence. Until systemd-user-sessions.service has run, pam_nologin(8) lets in
nobody but root; cloud-init makes users and their keys before that and before sshd (`Before=` in its
cloud-init.service), but behind an ssh.socket, or from `runcmd`, they come later than the first answer.
"""


@dataclass
class Awaited:
    """Who is looked at how often once its VM runs.

    What started before this run gets the rest of the time: a power cut, or an apply that was killed, leaves
    guests that still boot. One whose VM runs longer than that and does not answer is waited for by nobody.
    """

    run: Converger
    _looks: dict[MachineId, float] = field(default_factory=dict)
    _refusals: Counter[MachineId] = field(default_factory=Counter)

    def note(self, seen: Seen) -> None:
        """Who is off now will have to start."""
        self.will_start(*(one for one, reached in seen.reached.items() if reached.how is Reach.OFF))

    def will_start(self, *guests: MachineId) -> None:
        """These are off, or about to be."""
        for one in guests:
            self._looks[one], self._refusals[one] = 0, 0

    def look(self, result: Applied) -> bool:
        """Pause, and look again. False: nobody is waited for."""
        untold = {one.at.machine for one in result.plan.resources if one.status is Status.UNKNOWN}
        guests = [one for one in self.run.tree.guests if one.id in untold]
        self._looks |= {one.id: self._missed(one) for one in guests if one.id not in self._looks}
        coming = [
            one.id for one in guests if self._looks[one.id] < self._most(one) and self._may_let_us_in(one.id)
        ]
        if not coming:
            return False
        for one in coming:
            self._looks[one] += 1
        self.run.watcher.waits(f"waiting for {' and '.join(self._waited_for(coming))}")
        self.run.sleep(PAUSE)
        result.plan = self.run.plan([self.run.tree.host.id])
        return True

    def problems(self) -> Iterator[Diagnostic]:
        """Who answered, and let us not in until nobody waited for it any longer."""
        for guest, refusals in self._refusals.items():
            if refusals > REFUSALS and self._reached(guest).denied:
                yield _still_refused(guest, self._reached(guest))

    def _missed(self, guest: Machine) -> float:
        """How often one that was not off in this run would have been looked at since its start."""
        if self._reached(guest.id).how is not Reach.UNKNOWN:
            return inf
        host = self.run.writers.readers.host(self.run.tree.host)
        age = seconds_since_start(host, way_of(guest).vm.name)
        return inf if age is None else age / PAUSE

    def _most(self, guest: Machine) -> int:
        access = self.run.reader.access(guest, self.run.seen)
        return FIRST_LOOKS if access and access.first_boot else LOOKS

    def _may_let_us_in(self, guest: MachineId) -> bool:
        """Whether it is silent so far, or has not refused the login for long. Counts that it does."""
        self._refusals[guest] = self._refusals[guest] + 1 if self._reached(guest).denied else 0
        return self._refusals[guest] <= REFUSALS

    def _waited_for(self, guests: list[MachineId]) -> Iterator[str]:
        for denied, what in ((False, "to answer"), (True, "to accept the login")):
            if found := [one for one in guests if self._reached(one).denied is denied]:
                yield f"{', '.join(found)} {what}"

    def _reached(self, guest: MachineId) -> Reached:
        return self.run.seen.reached[guest]


def _still_refused(guest: MachineId, reached: Reached) -> Diagnostic:
    return Diagnostic(
        "CXC126",
        f"{guest} still refuses the login",
        Severity.WARNING,
        machine=guest,
        found=f"{reached.reason}, for {REFUSALS * PAUSE:.0f} s since it answers",
        expected="a user who may log in by the end of the boot",
        hint=reached.hint,
    )
