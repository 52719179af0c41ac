"""Ask a machine everything a spec needs, in one exchange, and let every kind parse its answers.

Whatever a kind raises at an answer, the resource is *unknown*: one odd answer ends nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from cxlstate.core.address import Address, ScopedAddress
from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.connect import Through
from cxlstate.core.defect import summary
from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.effect import Effect
from cxlstate.core.machine import OF_HOSTS, Scope
from cxlstate.core.observation import Observation, Unknown
from cxlstate.core.read import Asked, Exists, LibvirtRead, Question, Read
from cxlstate.core.reconciler import (
    How,
    Implied,
    Inspects,
    Leaves,
    Leftover,
    Reconciler,
    Resource,
)
from cxlstate.engine.graph import Graph
from cxlstate.engine.record import Record, parse_record
from cxlstate.engine.running import Running, running, running_reads
from cxlstate.machine.reader import Reader
from cxlstate.machine.records import applied, applied_reads
from cxlstate.spec.tree import Machine

T = TypeVar("T")

Kinds = Mapping[str, Reconciler[Any, Any]]


def _nothing(_effect: type[Effect]) -> Diagnostic | None:
    return None


@dataclass(frozen=True)
class Observed:
    """What one exchange told about a machine.

    `unseen` are kinds of which it could not be told what an earlier spec left, with the reason.
    `defects` are resources whose kind could not even say what to read.
    `answers` are all of them, where more was asked than a plan needs.
    `lacks` tells why an effect of some type could not be performed, as `Reader.lacks`.
    """

    resources: Mapping[Address, Resource[Any]]
    implied: frozenset[Address]
    observations: Mapping[Address, Observation[Any]]
    leftovers: Mapping[Address, Leftover] = field(default_factory=dict)
    records: Mapping[Address, Record] | None = None
    running: Running = field(default_factory=Running)
    unseen: Mapping[str, str] = field(default_factory=dict)
    defects: Mapping[Address, Exception] = field(default_factory=dict)
    answers: Answers | None = field(default=None, compare=False, repr=False)
    lacks: Callable[[type[Effect]], Diagnostic | None] = field(default=_nothing, compare=False, repr=False)


def kinds_on(machine: Machine, kinds: Kinds) -> Kinds:
    """The kinds whose resources can be on a machine: of the host, or of a guest."""
    scopes = frozenset({Scope.GUEST}) if machine.scope is Scope.GUEST else OF_HOSTS
    return {name: kind for name, kind in kinds.items() if not kind.place or kind.place.scopes & scopes}


def resources_of(machine: Machine, kinds: Kinds) -> tuple[dict[Address, Resource[Any]], frozenset[Address]]:
    """The declared resources, and those that a machine has without a word in the spec."""
    resources = {resource.address: resource for resource in machine.resources}
    implied = set()
    for kind in kinds_on(machine, kinds).values():
        address = Address(kind.kind)
        if isinstance(kind, Implied) and address not in resources:
            vm = machine.connect.vm.name if isinstance(machine.connect, Through) else ""
            resources[address] = Resource(address, kind.implied(), vm=vm)
            implied.add(address)
    return resources, frozenset(implied)


def observe(
    reader: Reader, machine: Machine, kinds: Kinds, *, closer: bool = False, more: Collection[Read] = ()
) -> Observed:
    """One exchange with the machine. Raises CxlstateError where it cannot be reached.

    `closer` has kinds look closer than a plan needs to, and `more` is asked along: both for `show`.
    """
    kinds = kinds_on(machine, kinds)
    resources, implied = resources_of(machine, kinds)
    idle = idle_of(resources, implied, kinds)
    questions, defects = _questions(resources, idle, kinds, closer=closer)
    answers = reader.read(questions | set(more))
    hidden = _hidden(idle, answers)
    kept = {a: me for a, me in resources.items() if a not in idle or a in hidden or answers.exists(idle[a])}
    leftovers, unseen = _leftovers(kept, kinds, answers)
    return Observed(
        resources=kept,
        implied=implied & kept.keys(),
        observations={
            address: hidden.get(address) or _observe(kinds[address.kind], resource, answers)
            for address, resource in kept.items()
        },
        leftovers=leftovers,
        records=_records(answers),
        running=running(answers) if _reboots(kept.keys() - hidden.keys(), kinds) else Running(),
        unseen=unseen,
        defects=defects,
        answers=answers if more else None,
        lacks=reader.lacks,
    )


def idle_of(
    resources: Mapping[Address, Resource[Any]], implied: Collection[Address], kinds: Kinds
) -> dict[Address, Exists]:
    """What is implied and has nothing to do for anything declared: it is there only where its traces are."""
    try:
        needs = {ScopedAddress("", at): kinds[at.kind].needs(me) for at, me in resources.items()}
        graph = Graph(needs)
    except Exception:  # noqa: BLE001  # a kind's defect, which is told where it is judged
        return {}
    edges = {(a.address, b.address) for a in needs for b in graph.targets(a, *How)}
    busy = resources.keys() - set(implied)
    if _reboots(busy, kinds):
        busy |= {address for address in implied if kinds[address.kind].reboots}
    while more := {end for edge in edges if busy.intersection(edge) for end in edge} - busy:
        busy |= more
    idle = ((address, kinds[address.kind]) for address in implied if address not in busy)
    return {address: kind.traces() for address, kind in idle if isinstance(kind, Implied)}


def _reboots(addresses: Iterable[Address], kinds: Kinds) -> bool:
    return any(kinds[address.kind].reboots for address in addresses)


def _questions(
    resources: Mapping[Address, Resource[Any]],
    idle: Mapping[Address, Exists],
    kinds: Kinds,
    *,
    closer: bool,
) -> tuple[set[Question], dict[Address, Exception]]:
    """All that is to be asked, and of which resources that cannot be told since their kind fails."""
    questions: set[Question] = set(applied_reads())
    defects: dict[Address, Exception] = {}
    for address, resource in resources.items():
        kind, only_if = kinds[address.kind], idle.get(address)
        try:
            questions.update(_under(only_if, kind.reads(resource)))
            if closer and isinstance(kind, Inspects):
                questions.update(_under(only_if, kind.inspections(resource)))
        except Exception as error:  # noqa: BLE001  # a kind's defect concerns its own resource only
            defects[address] = error
        if kind.reboots:
            questions.update(_under(only_if, running_reads()))
    for kind in kinds.values():
        if isinstance(kind, Leaves):
            questions.update(kind.leftover_reads())
    return questions, defects


def _under(only_if: Exists | None, questions: Iterable[Question]) -> Iterator[Question]:
    """Questions under one more condition. libvirt is asked without any, and of two conditions one will do."""
    for one in questions:
        yield one if only_if is None or isinstance(one, Asked | LibvirtRead) else Asked(one, only_if)


def _hidden(idle: Mapping[Address, Exists], answers: Answers) -> dict[Address, Unknown]:
    """Where it cannot be told whether there are traces."""
    hidden = {}
    for address, traces in idle.items():
        try:
            answers.exists(traces)
        except ReadFailed as failed:
            hidden[address] = Unknown(failed.reason)
    return hidden


def _observe(kind: Reconciler[Any, Any], resource: Resource[Any], answers: Answers) -> Observation[Any]:
    try:
        return _parsed(lambda: kind.observe(resource, answers))
    except ReadFailed as failed:
        return Unknown(failed.reason)
    except Unparsable as odd:
        return Unknown(str(odd), hint=odd.hint)


class Unparsable(Exception):
    """An answer of the machine that its parser cannot take."""

    hint = "look at what the machine answers there; if that is right, please report this line"


def _parsed(parse: Callable[[], T]) -> T:
    """What a parser makes of the answers. Raises ReadFailed, Unparsable, and nothing else."""
    try:
        return parse()
    except ReadFailed:
        raise
    except Exception as odd:
        raise Unparsable(f"cannot parse the answer: {summary(odd)}") from odd


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
            found.update(_parsed(partial(_left, kind, answers, declared)))
        except (ReadFailed, Unparsable) as failed:
            unseen[kind.kind] = str(failed)
    return found, unseen


def _left(kind: Any, answers: Answers, declared: frozenset[str]) -> dict[Address, Leftover]:
    leftovers: Sequence[Leftover] = kind.leftovers(answers, declared)
    return {Address(kind.kind, leftover.name): leftover for leftover in leftovers}


def _records(answers: Answers) -> dict[Address, Record] | None:
    try:
        return _parsed(
            lambda: {
                address: record
                for address, line in applied(answers).items()
                if (record := parse_record(line)) is not None
            }
        )
    except (ReadFailed, Unparsable):
        return None
