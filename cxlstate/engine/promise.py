"""What a plan file holds, and so all that an apply of it may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cxlstate.core.action import Risk
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.engine.plan import Base, Interruption, Plan, Planned, ResourcePlan, Status
from cxlstate.engine.turns import todo

INTERRUPTION = "interruption"


@dataclass(frozen=True, slots=True)
class Promised:
    """One resource of a plan file: the fingerprints of its effects, and what they assume."""

    effects: tuple[str, ...] = ()
    bases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Promise:
    """What was reviewed, by scoped address; `interruptions` by risk and subject."""

    resources: Mapping[str, Promised] = field(default_factory=dict)
    interruptions: Mapping[str, Promised] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan) -> Promise:
        """All that a plan would do, and what it assumes."""
        resources: dict[str, Promised] = {}
        for turn in plan.turns:
            for at in turn.resources:
                its = [one for one in turn.effects if one.at == at]
                resources[str(at)] = _promised(its)
        return cls(resources, {name_of(one): _of_interruption(one) for one in plan.interruptions})

    def holds(self, plan: ResourcePlan) -> bool:
        """Whether anything of a resource is part of it."""
        return str(plan.at) in self.resources

    def stale(self, plan: Plan) -> tuple[Diagnostic, ...]:
        """What moved between the plan that was reviewed and that of this moment: then nothing is done.

        That somebody has to be away by now, too, for what it holds: a VM was started since.
        """
        now = Promise.of(plan)
        found: list[Diagnostic] = []
        for name, promised in self.resources.items():
            if now.resources.get(name) != promised:
                found.append(_stale(plan, name, promised, now.resources.get(name)))
        for name, promised in self.interruptions.items():
            if name not in now.interruptions or now.interruptions[name].bases != promised.bases:
                found.append(_other_interruption(plan, name, promised, now.interruptions.get(name)))
        found += [
            _new_interruption(plan, name_of(one))
            for one in plan.interruptions
            if name_of(one) not in self.interruptions and any(str(at) in self.resources for at in one.because)
        ]
        return tuple(dict.fromkeys(found))

    def differs(self, plan: Plan) -> tuple[Diagnostic, ...]:
        """As `stale`, and what would be done besides: for a plan that a person has just agreed to."""
        now = Promise.of(plan)
        new = [
            _stale(plan, name, Promised(), promised)
            for name, promised in now.resources.items()
            if name not in self.resources
        ]
        new += [_new_interruption(plan, name) for name in now.interruptions if name not in self.interruptions]
        return tuple(dict.fromkeys((*self.stale(plan), *new)))

    def broken_by(self, tree_file: str, now: ResourcePlan) -> Diagnostic | None:
        """What would be done to a resource and is not in it, right before that; None where all of it is.

        Less may be left to do: what was done meanwhile can have closed a part.
        """
        promised = self.resources.get(str(now.at))
        known = promised.effects if promised else ()
        new = [action.does for action in todo(now) if action.effect.fingerprint() not in known]
        if not new:
            return None
        return Diagnostic(
            "CXE205",
            f"plan is stale: {now.address} changed since",
            machine=now.at.machine,
            address=now.address,
            found="; ".join(dict.fromkeys(new)),
            expected="what the plan holds",
            hint=f"{now.address} was left as it is; plan again: cxlstate plan {tree_file}",
        )


def name_of(one: Interruption) -> str:
    """An interruption, as `--allow` names it."""
    return f"{one.risk.value}={one.subject}"


def who_runs(one: Interruption) -> Base:
    """Whom an interruption stops, as a base."""
    names = "unknown" if one.unknown else ",".join(sorted(vm.name for vm in one.stops))
    return Base(str(one.subject), names)


def _of_interruption(one: Interruption) -> Promised:
    base = who_runs(one)
    return Promised((), {base.of: base.shown})


def _promised(effects: list[Planned]) -> Promised:
    prints = tuple(one.action.effect.fingerprint() for one in effects)
    return Promised(prints, {base.of: base.shown for one in effects for base in one.bases})


def _stale(plan: Plan, name: str, promised: Promised, now: Promised | None) -> Diagnostic:
    """Told with the base that moved: what it requires, before itself."""
    resources = {str(one.at): one for one in plan.resources}
    moved = [
        of
        for of, shown in promised.bases.items()
        if of != name and (now is None or now.bases.get(of) != shown)
    ] or [name]
    one, base = resources.get(name), resources.get(moved[0])
    return Diagnostic(
        "CXE205",
        f"plan is stale: {base.address if base else moved[0]} changed since",
        machine=one.at.machine if one else None,
        address=one.address if one else None,
        source=plan.tree.locate(one.resource.path) if one and one.resource.path else None,
        found=_stands(base),
        expected="in sync, as when it was planned"
        if promised.bases.get(moved[0]) == Status.IN_SYNC.value
        else "what differed when it was planned",
        hint="nothing was done; run `cxlstate plan` again and review it",
    )


def _stands(plan: ResourcePlan | None) -> str:
    if plan is None:
        return "no longer in the spec, or nothing to do"
    if plan.status is Status.IN_SYNC:
        return "in sync"
    differs = [f"{'.'.join(map(str, one.path))}: {_word(one.old)}" for one in plan.changes]
    differs += [f"{one.does}: {one.why}" for one in plan.actions if one.risk is Risk.DESTROY_DATA]
    return "; ".join(differs) or plan.reason or plan.status.value


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "nothing" if value is None else str(value)


def _new_interruption(plan: Plan, name: str) -> Diagnostic:
    return Diagnostic(
        "CXE205",
        f"plan is stale: it takes {name} now",
        machine=plan.tree.host.id,
        expected="what was shown",
        hint="nothing was done; run `cxlstate plan` again and review it",
    )


def _other_interruption(plan: Plan, name: str, promised: Promised, now: Promised | None) -> Diagnostic:
    subject = next(iter(promised.bases))
    stops = promised.bases[subject] or "no VM"
    return Diagnostic(
        "CXE205",
        f"plan is stale: {subject} changed since",
        machine=plan.tree.host.id,
        found=f"{name} stops {next(iter(now.bases.values())) or 'no VM'}" if now else f"{name} is not needed",
        expected=f"{name} stops {stops}",
        hint="nothing was done; run `cxlstate plan` again and review it",
    )
