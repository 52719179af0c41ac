"""The kind `provision`, in two halves: on the host before the guest runs, and in the guest.

On the host it is a seed (`on_host.py`) or the image itself (`offline.py`). The seed stands on the host and in
the domain until the guest is proven to have done with it. So what is to be done next is told by the machines
themselves, wherever a run has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.exports import Inputs
from cxlstate.core.observation import Observation
from cxlstate.core.read import Question
from cxlstate.core.reconciler import Leftover, Need, Reconciler, Resource
from cxlstate.resources.provision import ProvisionKind, in_guest, left, offline, on_host
from cxlstate.resources.provision.spec import Provision


class ProvisionReconciler(ProvisionKind, Reconciler[Provision, Any]):
    """The half on the host has the name of the VM; the one in the guest has none, as it is the only one."""

    model: ClassVar[type[Provision]] = Provision

    def needs(self, me: Resource[Provision]) -> Sequence[Need]:
        """What the VM tells its host; what the host tells its guest."""
        return _half(me).needs(me)

    def reads(self, me: Resource[Provision]) -> Sequence[Question]:
        """The seed or the image; what cloud-init says."""
        return _half(me).reads(me)

    def observe(self, me: Resource[Provision], answers: Answers) -> Observation[Any]:
        """What is there of it."""
        return _half(me).observe(me, answers)

    def assess(self, resource: Resource[Provision], seen: Observation[Any], inputs: Inputs) -> Assessment:
        """Each half by itself."""
        return _half(resource).assess(resource, seen, inputs)

    def leftover_reads(self) -> Sequence[Question]:
        """Whether there are seeds."""
        return left.reads()

    def leftovers(self, answers: Answers, declared: frozenset[str]) -> Sequence[Leftover]:
        """Those whose `provision` was removed before the first boot was proven."""
        return left.leftovers(answers, declared)


reconciler = ProvisionReconciler()


class _Half(Protocol):
    """A module that has one of them."""

    def needs(self, me: Resource[Provision], /) -> Sequence[Need]: ...
    def reads(self, me: Resource[Provision], /) -> Sequence[Question]: ...
    def observe(self, me: Resource[Provision], answers: Answers, /) -> Observation[Any]: ...
    def assess(self, me: Resource[Provision], seen: Observation[Any], inputs: Inputs, /) -> Assessment: ...


def _half(me: Resource[Provision]) -> _Half:
    if not me.name:
        return in_guest
    return on_host if me.spec.seeded else offline
