"""The kind `kernel`: patches put in and taken back, a kernel built and installed, and its effect proven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from cxlstate.core.address import Address, AllOf
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.diagnostic import Severity
from cxlstate.core.exports import Inputs
from cxlstate.core.observation import Absent, Observation, Present, Unknown
from cxlstate.core.read import Question
from cxlstate.core.reconciler import How, Need, Reconciler, Resource
from cxlstate.resources.kernel import KernelKind, check, probe, steps
from cxlstate.resources.kernel.goal import goal
from cxlstate.resources.kernel.probe import Live
from cxlstate.resources.kernel.proof import proven
from cxlstate.resources.kernel.spec import KernelSpec


class Kernel(KernelKind, Reconciler[KernelSpec, Live]):
    """Found by what its source says. Other edits in the tree stay; what is put in is noted beside it."""

    model: ClassVar[type[KernelSpec]] = KernelSpec

    def needs(self, me: Resource[KernelSpec]) -> Sequence[Need]:
        """Packages bring the source and what builds it; a device is known by its spec."""
        devices = (Address.parse(name) for name in me.spec.proof)
        return (Need(AllOf("package"), How.AFTER), *(Need(one, How.KNOWS) for one in devices))

    def reads(self, me: Resource[KernelSpec]) -> Sequence[Question]:
        """The files that the patches name."""
        return tuple(probe.reads(me.spec))

    def observe(self, me: Resource[KernelSpec], answers: Answers) -> Observation[Live]:
        """Present, even without a tree: that is in the live state. Unknown where a package may bring one."""
        try:
            live = probe.observe(me.spec, answers)
        except ValueError as error:
            return Unknown(str(error))
        package = probe.package(me.spec.source)
        return _to_come(me.spec.source, package) if package and live.to_come else Present(live)

    def assess(self, resource: Resource[KernelSpec], seen: Observation[Live], inputs: Inputs) -> Assessment:
        """What is not in, not installed, not running, and not seen."""
        if isinstance(seen, Unknown):
            return Assessment(later=tuple(steps.later(resource.spec)))
        if isinstance(seen, Absent):
            return steps.unpacked(resource.spec, probe.tarball(resource.spec.source))
        if seen.live.to_unpack:
            return steps.unpacked(resource.spec, seen.live.tarball)
        spec, live = resource.spec, seen.live
        if problem := check.no_tree(spec, live):
            return Assessment(problems=(problem,), facts=(("source", f"{spec.source}, not there"),))
        aim = goal(spec, live)
        busy = any(not one.pending for one in steps.changes(spec, live, aim))
        proof = proven(spec, live, inputs, busy=busy)
        by_hand = not live.stamp and not live.notes and aim.stack.tree == live.files
        if proof.holds and by_hand:  # what we put in ourselves is not in a kernel that was there before
            aim = replace(aim, digest="")
        problems = (*check.diagnose(spec, live, aim), *proof.problems)
        if any(one.code in check.STOPS and one.severity is Severity.ERROR for one in problems):
            return Assessment(problems=problems, facts=steps.facts(spec, aim, proof))
        changes = (*steps.changes(spec, live, aim), *proof.changes)
        return Assessment(
            problems=problems,
            changes=changes,
            actions=tuple(steps.actions(spec, live, aim)),
            facts=steps.facts(spec, aim, proof),
        )


reconciler = Kernel()


def _to_come(source: str, package: str) -> Unknown:
    """`linux-source` depends on the newest of these packages."""
    return Unknown(
        f"neither {source} is there nor its tarball",
        cured_by=(Address("package", package), Address("package", "linux-source")),
        hint=f"declare {package} in `packages`; or, there: apt install --reinstall {package}",
    )
