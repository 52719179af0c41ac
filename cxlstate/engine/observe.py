"""Ask a machine everything a spec needs, in one exchange, and let every kind parse its answers.

Whatever a kind raises at an answer, the resource is *unknown*: one odd answer ends nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
from cxlstate.core.read import Question, Read
from cxlstate.core.reconciler import (
    How,
    Implied,
    Inspects,
    Kind,
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

Kinds = Mapping[str, Kind]


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
    """The declared resources, and those without a word in the spec that any of them has to do with."""
    declared = {resource.address: resource for resource in machine.resources}
    implied = {
        address: _implied(machine, address, kinds) for address in _busy(declared, kinds_on(machine, kinds))
    }
    return declared | implied, frozenset(implied)


def _implied(machine: Machine, address: Address, kinds: Kinds) -> Resource[Any]:
    kind = kinds[address.kind].reconciler
    vm = machine.connect.vm.name if isinstance(machine.connect, Through) else ""
    return Resource(address, kind.implied() if isinstance(kind, Implied) else None, vm=vm)


def _busy(declared: Mapping[Address, Resource[Any]], kinds: Kinds) -> set[Address]:
    """What is implied and has to do with something declared: one gathers from the other, or both reboot."""
    implied = {
        Address(name): tuple(kind.gathers)
        for name, kind in kinds.items()
        if kind.gathers is not None and Address(name) not in declared
    }
    try:
        needs = {ScopedAddress("", at): kinds[at.kind].reconciler.needs(me) for at, me in declared.items()}
        graph = Graph(needs | {ScopedAddress("", at): gathered for at, gathered in implied.items()})
    except Exception:  # noqa: BLE001  # a kind's defect, which is told where it is judged
        return set(implied)
    edges = {(a.address, b.address) for a in graph.all for b in graph.targets(a, *How)}
    busy = set(declared)
    if _reboots(busy, kinds):
        busy |= {address for address in implied if kinds[address.kind].reboots}
    while more := {end for edge in edges if busy.intersection(edge) for end in edge} - busy:
        busy |= more
    return busy & implied.keys()


def observe(
    reader: Reader, machine: Machine, kinds: Kinds, *, closer: bool = False, more: Collection[Read] = ()
) -> Observed:
    """One exchange with the machine. Raises CxlstateError where it cannot be reached.

    A second one asks about what of no concern to the spec has left traces. `closer` has kinds look closer
    than a plan needs to, and `more` is asked along: both for `show`.
    """
    kinds = kinds_on(machine, kinds)
    resources, implied = resources_of(machine, kinds)
    near = _near(resources, kinds)
    others = {name: kind for name, kind in kinds.items() if name not in near}
    questions, defects = _questions(resources, near, closer=closer)
    traces = {kind.traces for kind in others.values() if kind.traces is not None}
    answers = reader.read(questions | traces | set(more))
    left, hidden, unseen = _left(others, answers)
    if left:
        found = {at: _implied(machine, at, kinds) for at in map(Address, left) if _is_implied(kinds[at.kind])}
        further, odd = _questions(found, left, closer=closer)
        answers |= reader.read(further - questions)
        resources, implied, defects = resources | found, implied | found.keys(), defects | odd
    resources |= {at: _implied(machine, at, kinds) for at in hidden}
    leftovers, lost = _leftovers(resources, near | left, answers)
    return Observed(
        resources=resources,
        implied=implied | hidden.keys(),
        observations={
            address: hidden.get(address) or _observe(kinds[address.kind].reconciler, resource, answers)
            for address, resource in resources.items()
        },
        leftovers=leftovers,
        records=_records(answers),
        running=running(answers) if _reboots(resources.keys() - hidden.keys(), kinds) else Running(),
        unseen=unseen | lost,
        defects=defects,
        answers=answers if more else None,
        lacks=reader.lacks,
    )


def _near(resources: Iterable[Address], kinds: Kinds) -> dict[str, Kind]:
    """The kinds of these resources, and those with the same traces, which so are expected to be there."""
    names = {address.kind for address in resources}
    theirs = {pattern for name in names for pattern in _patterns(kinds[name])}
    return {
        name: kind
        for name, kind in kinds.items()
        if name in names or (not _is_implied(kind) and theirs.intersection(_patterns(kind)))
    }


def _patterns(kind: Kind) -> tuple[str, ...]:
    return kind.traces.patterns if kind.traces else ()


def _is_implied(kind: Kind) -> bool:
    return kind.gathers is not None


def _left(others: Kinds, answers: Answers) -> tuple[dict[str, Kind], dict[Address, Unknown], dict[str, str]]:
    """The kinds that have left traces; and of those of which that cannot be told, what is unknown for it."""
    left: dict[str, Kind] = {}
    hidden: dict[Address, Unknown] = {}
    unseen: dict[str, str] = {}
    for name, kind in others.items():
        try:
            if kind.traces is not None and answers.exists(kind.traces):
                left[name] = kind
        except ReadFailed as failed:
            if _is_implied(kind):
                hidden[Address(name)] = Unknown(failed.reason)
            else:
                unseen[name] = failed.reason
    return left, hidden, unseen


def _reboots(addresses: Iterable[Address], kinds: Kinds) -> bool:
    return any(kinds[address.kind].reboots for address in addresses)


def _questions(
    resources: Mapping[Address, Resource[Any]], kinds: Kinds, *, closer: bool
) -> tuple[set[Question], dict[Address, Exception]]:
    """All that is to be asked, and of which resources that cannot be told since their kind fails."""
    questions: set[Question] = set(applied_reads())
    defects: dict[Address, Exception] = {}
    for address, resource in resources.items():
        kind = kinds[address.kind].reconciler
        try:
            questions.update(kind.reads(resource))
            if closer and isinstance(kind, Inspects):
                questions.update(kind.inspections(resource))
        except Exception as error:  # noqa: BLE001  # a kind's defect concerns its own resource only
            defects[address] = error
        if kind.reboots:
            questions.update(running_reads())
    for kind in (declared.reconciler for declared in kinds.values()):
        if isinstance(kind, Leaves):
            questions.update(kind.leftover_reads())
    return questions, defects


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
    for kind in (declared.reconciler for declared in kinds.values()):
        if not isinstance(kind, Leaves):
            continue
        declared = frozenset(address.name for address in resources if address.kind == kind.kind)
        try:
            found.update(_parsed(partial(_leftovers_of, kind, answers, declared)))
        except (ReadFailed, Unparsable) as failed:
            unseen[kind.kind] = str(failed)
    return found, unseen


def _leftovers_of(kind: Any, answers: Answers, declared: frozenset[str]) -> dict[Address, Leftover]:
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
