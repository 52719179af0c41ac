"""What a run keeps of what it learnt: records of what is in force, and host keys of guests, on their host."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cxlstate.core.action import Action
from cxlstate.core.address import ScopedAddress
from cxlstate.core.diagnostic import CxlstateError, Diagnostic, Severity
from cxlstate.core.guest import HostKey
from cxlstate.core.machine import MachineId
from cxlstate.engine.plan import PENDING, MachinePlan, Plan, Status
from cxlstate.engine.reading import way_of
from cxlstate.engine.record import Record
from cxlstate.formats import host_keys
from cxlstate.machine.outcome import Result

if TYPE_CHECKING:
    from cxlstate.engine.apply import Converger


@dataclass
class Keeper:
    """What could not be kept is learnt again by the next run: warnings."""

    run: Converger
    _problems: list[Diagnostic] = field(default_factory=list)
    _keys: dict[MachineId, HostKey] = field(default_factory=dict)
    _unwritable: dict[MachineId, list[Diagnostic]] = field(default_factory=dict)

    def problems(self, failed: Collection[MachineId]) -> list[Diagnostic]:
        """Not of guests in which something failed: for the same reason, and that is told as an error."""
        unwritten = [one for guest, ones in self._unwritable.items() if guest not in failed for one in ones]
        return [*self._problems, *unwritten]

    def keep(self, plan: Plan) -> set[MachineId]:
        """What a plan shows, as far as it is not kept yet. The hosts to be read again for it."""
        for one in plan.machines:
            self._records(one)
        return {one.machine.parent or "" for one in plan.machines if self._keeps_key(one)}

    def _records(self, plan: MachinePlan) -> None:
        """What is now in force, for `drift`, on the machine it is on; only what is new is written.

        What was implied, and is not there any more, has no record: a run that was stopped behind its last
        effect would keep the one of before for ever.
        """
        observed = self.run.seen.machines.get(plan.machine.id)
        if observed is None:
            return
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        before = observed.records or {}
        implied = (one for one in before if (of := self.run.kinds.get(one.kind)) and of.gathers is not None)
        new: dict[str, str | None] = {str(one): None for one in implied if one not in observed.resources}
        for resource in plan.resources:
            if resource.status is Status.IN_SYNC or resource.status in PENDING:
                kept = before.get(resource.address)
                if kept is None or kept.wanted != resource.wanted:
                    new[str(resource.address)] = Record(resource.wanted, self.run.tool, at).line()
        if new and plan.machine.id not in self._unwritable:
            self._write(plan, new)

    def _write(self, plan: MachinePlan, new: dict[str, str | None]) -> None:
        """Raises CxlstateError of a host. A guest that cannot be written keeps nobody from anything."""
        guest = plan.machine.id
        try:
            self.run.executor(guest).writer.record(new)
        except CxlstateError as error:
            if plan.machine.parent is None:
                raise
            self.run.writers.drop(guest)
            self._unwritable[guest] = [
                replace(
                    one.on(guest),
                    code="CXE264",
                    message=f"records of {guest} are not kept: {one.message}",
                    severity=Severity.WARNING,
                )
                for one in error.diagnostics
            ]

    def _keeps_key(self, plan: MachinePlan) -> bool:
        """The key that a guest was reached by, confirmed by the hypervisor. Each is tried once."""
        guest, accepted = plan.machine, plan.reached.new_key
        access = self.run.reader.access(guest, self.run.seen)
        if not accepted or not access or self._keys.get(guest.id) == accepted.key:
            return False
        self._keys[guest.id] = accepted.key
        vm = ScopedAddress(guest.parent or "", way_of(guest).vm)
        effect = host_keys.keep(vm.address.name, access, accepted)
        if effect is None:
            return False
        does = f"keep the host key of {guest.id}, confirmed by {accepted.by.value}"
        done = self.run.executor(vm.machine).perform([Action(does, effect)], (vm,))
        if done.result is not Result.DONE:
            self._problems += [
                replace(
                    one,
                    code="CXE263",
                    message=f"host key of {guest.id} is not kept: {one.message}",
                    severity=Severity.WARNING,
                    expected=f"{accepted.key} in {host_keys.path(vm.address.name)}",
                    hint="see why it cannot be written; until then each run has the hypervisor confirm it",
                )
                for one in done.diagnostics
            ]
        return done.result is Result.DONE
