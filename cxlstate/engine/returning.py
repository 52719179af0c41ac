"""What differs again or still: resources that undo each other, and what no action has changed. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from cxlstate.core.address import ScopedAddress
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.engine.plan import Plan, ResourcePlan, Status
from cxlstate.spec.tree import Tree

MOST_TURNS = 8
"""How often one resource may be done in a run, between two boots, though it differs otherwise each time."""

MOST_RETURNS = 3
"""At which return of the same difference a run ends, whoever made it."""


@dataclass
class Returns:
    """What was proven since the last boot, turn by turn, and what undid it: `notes`."""

    tree: Tree
    turns: list[tuple[ResourcePlan, ...]] = field(default_factory=list)
    notes: dict[ScopedAddress, set[ScopedAddress]] = field(default_factory=dict)
    counted: dict[ScopedAddress, set[int]] = field(default_factory=dict)

    def proven(self, plans: tuple[ResourcePlan, ...]) -> None:
        """These hold now."""
        self.turns.append(plans)

    def forget(self) -> None:
        """A boot may have to have things done again."""
        self.turns.clear()
        self.notes.clear()
        self.counted.clear()

    def ends(self, plan: Plan, failed: Collection[ScopedAddress]) -> dict[ScopedAddress, Diagnostic]:
        """What comes back in a circle, or once too often: it would never end."""
        for now in plan.resources:
            if now.status is not Status.CHANGE or now.at in failed:
                continue
            if (since := self._last_proof(now)) is None:
                continue
            by = {one.at for turn in self.turns[since:] for one in turn} - {now.at}
            self.notes.setdefault(now.at, set()).update(by)
            self.counted.setdefault(now.at, set()).add(since)
            circle = self._circle(now.at)
            if circle or len(self.counted[now.at]) >= MOST_RETURNS or self._times(now) >= MOST_TURNS:
                return self._told(now, circle, by, plan)
        return {}

    def _last_proof(self, now: ResourcePlan) -> int | None:
        """The last turn that closed what differs again; of one that is done for ever, its last turn."""
        turns = [(n, one) for n, turn in enumerate(self.turns) for one in turn if one.at == now.at]
        same = [n for n, one in turns if set(one.changes) & set(now.changes)]
        if same:
            return same[-1]
        return turns[-1][0] if len(turns) >= MOST_TURNS else None

    def _times(self, now: ResourcePlan) -> int:
        return sum(one.at == now.at for turn in self.turns for one in turn)

    def _circle(self, start: ScopedAddress) -> list[ScopedAddress]:
        """The shortest way from a resource over what undid it back to itself."""
        ways = [[start]]
        seen: set[ScopedAddress] = set()
        while ways:
            way = ways.pop(0)
            for by in sorted(self.notes.get(way[-1], ())):
                if by == start:
                    return way
                if by not in seen and by in self.notes:
                    seen.add(by)
                    ways.append([*way, by])
        return []

    def _told(
        self, now: ResourcePlan, circle: list[ScopedAddress], by: Collection[ScopedAddress], plan: Plan
    ) -> dict[ScopedAddress, Diagnostic]:
        if len(circle) > 1:
            return {now.at: self._undo_each_other(now, circle, plan)}
        others = ", ".join(str(one.address) for one in sorted(by)) or "nothing of this run"
        problem = Diagnostic(
            "CXE211",
            f"{now.address} was proven, and differs again" + (f" after {others}" if by else ""),
            machine=now.at.machine,
            address=now.address,
            source=self.tree.locate(now.resource.path) if now.resource.path else None,
            found=f"done since then: {others}; again {differences(now)}",
            expected="changes that stay",
            hint=f"find out what else changes {now.address}: look at the log of {now.at.machine}",
        )
        return {now.at: problem}

    def _undo_each_other(self, now: ResourcePlan, circle: list[ScopedAddress], plan: Plan) -> Diagnostic:
        """Each was done, proven, and undone by the next."""
        names = [str(at.address) for at in sorted(circle)]
        pairs = zip(circle, (*circle[1:], circle[0]), strict=True)
        undone = "; ".join(f"doing {by.address} undid {one.address}" for one, by in pairs)
        stands = (
            f"{at.address} {'differs' if (p := plan.at(at)) and p.changes else 'holds'} now"
            for at in sorted(circle)
        )
        return Diagnostic(
            "CXE211",
            f"{' and '.join(names)} undo each other",
            machine=now.at.machine,
            address=now.address,
            source=self.tree.locate(now.resource.path) if now.resource.path else None,
            found=f"{undone}; {', '.join(stands)}",
            expected="all of them in force at once",
            hint=f"keep one of them in the spec, or see in the log of {now.at.machine} what connects them",
        )


def not_converged(plan: ResourcePlan, after: Plan, tree: Tree) -> Diagnostic:
    """Everything was done, and it differs all the same."""
    now = after.at(plan.at) or plan
    return Diagnostic(
        "CXE204",
        "resource still differs after every action succeeded",
        machine=plan.at.machine,
        address=plan.address,
        source=tree.locate(plan.resource.path) if plan.resource.path else None,
        found=differences(now),
        expected="; ".join(f"{'.'.join(map(str, c.path))}: {c.new}" for c in now.changes),
        hint="something else may be changing it back: look at the journal of the machine",
    )


def differences(plan: ResourcePlan) -> str:
    """What differs, as it is."""
    return "; ".join(f"{'.'.join(map(str, c.path))}: {c.old}" for c in plan.changes)
