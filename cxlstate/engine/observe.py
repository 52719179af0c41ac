"""Ask a machine everything a spec needs, in one exchange, and let every kind parse its answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cxlstate.core.address import Address
from cxlstate.core.observation import Observation, Unknown
from cxlstate.core.read import Answers, File, Read, ReadFailed
from cxlstate.core.reconciler import Implied, Inspects, Leaves, Leftover, Reconciler, Resource
from cxlstate.engine.record import Record, parse_record
from cxlstate.machine.ports import Reader
from cxlstate.machine.records import applied, applied_reads
from cxlstate.spec.load import MachineSpec

BOOT_ID = File("/proc/sys/kernel/random/boot_id")

Kinds = Mapping[str, Reconciler[Any, Any]]


@dataclass(frozen=True)
class Observed:
    """What one exchange told about a machine.

    `unseen` are kinds of which it could not be told what an earlier spec left, with the reason.
    `answers` are all of them, where more was asked than a plan needs.
    """

    resources: Mapping[Address, Resource[Any]]
    implied: frozenset[Address]
    observations: Mapping[Address, Observation[Any]]
    leftovers: Mapping[Address, Leftover] = field(default_factory=dict)
    records: Mapping[Address, Record] | None = None
    boot_id: str | None = None
    unseen: Mapping[str, str] = field(default_factory=dict)
    answers: Answers | None = field(default=None, compare=False, repr=False)


def resources_of(spec: MachineSpec, kinds: Kinds) -> tuple[dict[Address, Resource[Any]], frozenset[Address]]:
    """The declared resources, and those that a machine has without a word in the spec."""
    resources = {resource.address: resource for resource in spec.resources}
    implied = set()
    for kind in kinds.values():
        address = Address(kind.kind)
        if isinstance(kind, Implied) and address not in resources:
            resources[address] = Resource(address, kind.implied())
            implied.add(address)
    return resources, frozenset(implied)


def observe(
    reader: Reader, spec: MachineSpec, kinds: Kinds, *, closer: bool = False, more: Collection[Read] = ()
) -> Observed:
    """One exchange with the machine. Raises CxlstateError where it cannot be reached.

    `closer` has kinds look closer than a plan needs to, and `more` is asked along: both for `show`.
    """
    resources, implied = resources_of(spec, kinds)
    answers = reader.read(_reads(resources, kinds, closer=closer) | set(more))
    leftovers, unseen = _leftovers(resources, kinds, answers)
    return Observed(
        resources=resources,
        implied=implied,
        observations={
            address: _observe(kinds[address.kind], resource, answers)
            for address, resource in resources.items()
        },
        leftovers=leftovers,
        records=_records(answers),
        boot_id=_boot_id(answers),
        unseen=unseen,
        answers=answers if more else None,
    )


def _reads(resources: Mapping[Address, Resource[Any]], kinds: Kinds, *, closer: bool) -> set[Read]:
    reads: set[Read] = {BOOT_ID, *applied_reads()}
    for address, resource in resources.items():
        kind = kinds[address.kind]
        reads.update(kind.reads(resource))
        if closer and isinstance(kind, Inspects):
            reads.update(kind.inspections(resource))
    for kind in kinds.values():
        if isinstance(kind, Leaves):
            reads.update(kind.leftover_reads())
    return reads


def _observe(kind: Reconciler[Any, Any], resource: Resource[Any], answers: Answers) -> Observation[Any]:
    try:
        return kind.observe(resource, answers)
    except ReadFailed as failed:
        return Unknown(failed.reason)


def _leftovers(
    resources: Mapping[Address, Resource[Any]], kinds: Kinds, answers: Answers
) -> tuple[dict[Address, Leftover], dict[str, str]]:
    """What an earlier spec left, and of which kinds that cannot be told: it is not removed then."""
    found: dict[Address, Leftover] = {}
    unseen: dict[str, str] = {}
    for kind in kinds.values():
        if not isinstance(kind, Leaves):
            continue
        declared = frozenset(address.name for address in resources if address.kind == kind.kind)
        try:
            leftovers: Sequence[Leftover] = kind.leftovers(answers, declared)
        except ReadFailed as failed:
            unseen[kind.kind] = failed.reason
            continue
        found.update({Address(kind.kind, leftover.name): leftover for leftover in leftovers})
    return found, unseen


def _records(answers: Answers) -> dict[Address, Record] | None:
    try:
        lines = applied(answers)
    except ReadFailed:
        return None
    return {address: parse_record(line) for address, line in lines.items()}


def _boot_id(answers: Answers) -> str | None:
    try:
        return answers.text(BOOT_ID).strip()
    except ReadFailed:
        return None
