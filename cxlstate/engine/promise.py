"""What a plan file holds, and so all that an apply of it may do."""

from __future__ import annotations

from dataclasses import dataclass

from cxlstate.core.action import Action
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.engine.execute import todo
from cxlstate.engine.plan import MachinePlan, ResourcePlan, Status


@dataclass(frozen=True, slots=True)
class Promise:
    """The plan that was reviewed. Later plans of the same run are held against it."""

    plan: MachinePlan

    def broken_by(self, now: ResourcePlan) -> Diagnostic | None:
        """What would be done to a resource and is not in the plan, as an error; None where all of it is.

        Less may be left to do: what was done meanwhile can have closed a part. What was blocked was planned
        as far as it could be seen, so only its actions are compared.
        """
        shown = self.plan.at(now.address)
        does = {_said(action) for action in shown.actions} if shown else set()
        new = [action.does for action in todo(now) if _said(action) not in does]
        if shown and shown.status not in (Status.BLOCKED, Status.UNKNOWN):
            known = {(change.path, change.old, change.new) for change in shown.changes}
            new += [str(c.old) for c in now.changes if (c.path, c.old, c.new) not in known]
        if not new:
            return None
        spec = self.plan.spec
        return Diagnostic(
            "CXE205",
            f"plan is stale: {now.address} changed since",
            machine=spec.name,
            address=now.address,
            source=spec.locate(now.resource.path) if now.resource.path else None,
            found="; ".join(dict.fromkeys(new)),
            expected=f"{shown.status.value}, as the plan shows it" if shown else "what the plan holds",
            hint=f"{now.address} was left as it is; plan again: cxlstate plan {spec.file}",
        )


def _said(action: Action) -> tuple[str, str]:
    return action.does, action.risk.value
