"""The kind `provision`, in two halves: on the host before the guest runs, and in the guest.

The seed stands on the host and in the domain until the guest is proven to have done with it. So what is to be
done next is told by the machines themselves, wherever a run has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.exports import Inputs
from cxlstate.core.observation import Observation
from cxlstate.core.read import Question
from cxlstate.core.reconciler import Leftover, Need, Reconciler, Resource
from cxlstate.resources.provision import ProvisionKind, in_guest, left, on_host
from cxlstate.resources.provision.spec import Provision


class ProvisionReconciler(ProvisionKind, Reconciler[Provision, Any]):
    """The half on the host has the name of the VM; the one in the guest has none, as it is the only one."""

    model: ClassVar[type[Provision]] = Provision

    def needs(self, me: Resource[Provision]) -> Sequence[Need]:
        """What the VM tells its host; what the host tells its guest."""
        return on_host.needs(me) if me.name else in_guest.needs(me)

    def reads(self, me: Resource[Provision]) -> Sequence[Question]:
        """The seed; what cloud-init says."""
        return on_host.reads(me) if me.name else in_guest.reads(me)

    def observe(self, me: Resource[Provision], answers: Answers) -> Observation[Any]:
        """What is there of it."""
        return on_host.observe(me, answers) if me.name else in_guest.observe(me, answers)

    def assess(self, resource: Resource[Provision], seen: Observation[Any], inputs: Inputs) -> Assessment:
        """Each half by itself."""
        half = on_host.assess if resource.name else in_guest.assess
        return half(resource, seen, inputs)

    def leftover_reads(self) -> Sequence[Question]:
        """Whether there are seeds."""
        return left.reads()

    def leftovers(self, answers: Answers, declared: frozenset[str]) -> Sequence[Leftover]:
        """Those whose `provision` was removed before the first boot was proven."""
        return left.leftovers(answers, declared)


reconciler = ProvisionReconciler()
