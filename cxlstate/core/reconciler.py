"""What a kind is. All of it pure: a kind says what to read, parses the answers, names the actions.

A kind lives in one folder below `resources/`. The package itself declares it (`kind`, a `Kind`), and is quick
to load. Its module `reconcile` has the rest (`reconciler`), and is loaded when that is first needed.
The life cycle of a resource, and who calls what when, is told in `docs/life-cycle.md`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from importlib import import_module
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast, runtime_checkable

from cxlstate.core.action import Action
from cxlstate.core.address import Address, NeedsOf, Target
from cxlstate.core.answers import Answers
from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.exports import Inputs
from cxlstate.core.machine import Scope
from cxlstate.core.observation import Observation
from cxlstate.core.path import Path
from cxlstate.core.read import Exists, Question

S = TypeVar("S")
L = TypeVar("L")


class Shape(StrEnum):
    """How the entries of a kind stand below its key."""

    ONE = "one"
    MAP = "map"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file entries of a kind stand: `Place("modules", Shape.MAP, HOST_AND_GUEST)`.

    The key is the same in each scope.
    """

    key: str
    shape: Shape
    scopes: frozenset[Scope]


class How(Enum):
    """`REQUIRES`: must be in force before. `AFTER`: only later in the order, if it is declared.

    `KNOWS`: its exports are wanted, whatever the order. `AWAITS`: must be in force before, and its
    exports are not told, since it wants to know ours. `PRECEDES`: it awaits us, and need not know of us.
    """

    REQUIRES = "requires"
    AWAITS = "awaits"
    AFTER = "after"
    KNOWS = "knows"
    PRECEDES = "precedes"


@dataclass(frozen=True, slots=True)
class Need:
    """One edge of the graph. A target that is not declared is no edge.

    It is of the same machine, or, `on_parent`, of the host that a guest runs on.
    """

    target: Target | NeedsOf
    how: How
    on_parent: bool = False


@dataclass(frozen=True, slots=True)
class Resource(Generic[S]):
    """A declared resource: its address, what the user wrote, and where."""

    address: Address
    spec: S
    path: Path = ()
    guest: Mapping[str, Any] | None = None
    """The kinds in the section of its guest, if its entry has one, each with one of its specs."""
    vm: str = ""
    """The name of the VM in whose entry it stands, if in any."""

    @property
    def has_guest(self) -> bool:
        """Whether its entry has the section of a guest."""
        return self.guest is not None

    @property
    def at_vm(self) -> Address | None:
        """That VM."""
        return Address("vm", self.vm) if self.vm else None

    @property
    def name(self) -> str:
        """The name within its kind; empty for a kind of which a machine has one."""
        return self.address.name


class Kind:
    """A kind as its package declares it: what is known of it where no spec names it.

    Of most kinds no more than this is ever loaded.
    """

    kind: ClassVar[str]
    place: ClassVar[Place]
    keeps: ClassVar[Sequence[str]] = ()  # patterns of the files that it alone writes
    traces: ClassVar[Exists | None] = None  # what is there wherever an earlier spec left anything of it
    gathers: ClassVar[Sequence[Need] | None] = None  # see `Implied`: its needs, whatever its spec
    has_guest: ClassVar[bool] = False  # an entry may hold the section of a machine of its own, its guest
    comes_first: ClassVar[bool] = False  # all else in a guest comes after it
    reboots: ClassVar[bool] = False  # its actions may reboot the machine: what that stops is asked along
    informs: ClassVar[bool] = False  # its resources export something that others are made of
    measures: ClassVar[bool] = False  # its resources are memory that can be measured
    holds: ClassVar[bool] = False  # its resources may hold memory: one that cannot be assessed may hold any

    @property
    def reconciler(self) -> Reconciler[Any, Any]:
        """All of the kind, loaded when this is first asked for."""
        return cast("Reconciler[Any, Any]", import_module(f"{type(self).__module__}.reconcile").reconciler)


class Reconciler(Kind, ABC, Generic[S, L]):
    """All of a kind. `S` is its spec model, `L` its live model, both frozen; a live of None is *absent*."""

    model: ClassVar[Any]  # what one entry is validated as: a pydantic model or annotated type
    key: ClassVar[Any] = str  # what the name of an entry of a map is validated as, likewise

    @property
    def reconciler(self) -> Reconciler[S, L]:
        """Itself: it is loaded."""
        return self

    def name(self, spec: S) -> str:
        """The name of an entry of a list; entries of a map are named by their key."""
        raise TypeError(f"{self.kind} entries are not a list")

    def needs(self, me: Resource[S]) -> Sequence[Need]:
        """What must be there before, or is to be known."""
        return self.gathers or ()

    @abstractmethod
    def reads(self, me: Resource[S]) -> Sequence[Question]:
        """What to ask the machine."""

    @abstractmethod
    def observe(self, me: Resource[S], answers: Answers) -> Observation[L]:
        """Parse the answers. `ReadFailed` may be let through: it makes the resource unknown."""

    @abstractmethod
    def assess(self, resource: Resource[S], seen: Observation[L], inputs: Inputs) -> Assessment:
        """All that follows from what was seen and from the exports of what it needs, computed once.

        Of what is Unknown: exports, the problems that need no live state, and what is checked later. Where a
        cure of that is about to come, the engine asks again with Absent, for changes and actions alone.
        """


@runtime_checkable
class Implied(Protocol):
    """A kind that `gathers`: a machine has one of it even where the spec has no word for it.

    It gathers what others export (the kernel command line). It is shown only where it differs or is
    needed. Where nothing declared has to do with it and the machine has no `traces` of it, it is not asked
    about, and there is none.
    """

    def implied(self) -> Any:
        """The spec to assume when none was written."""
        ...


@runtime_checkable
class Inspects(Protocol):
    """A kind that can look closer than a plan needs to. What it reads is asked for by `show` alone."""

    def inspections(self, me: Resource[Any]) -> Sequence[Question]:
        """What else to ask. `observe` must do without."""
        ...


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something our own artefacts on the machine list and the spec no longer does.

    `content` says of each change, and of the action beside it, what a `RestoreStep` would say without
    its name: what another resource wants is not left over.
    """

    name: str
    changes: tuple[Change, ...]
    actions: tuple[Action, ...]
    content: tuple[tuple[str, ...], ...] = ()


@runtime_checkable
class Leaves(Protocol):
    """A kind that leaves artefacts of its own on the machine, and so can tell what was dropped.

    It declares `traces`. Where a spec has no word of the kind, and there are none, nothing else is asked.
    """

    def leftover_reads(self) -> Sequence[Question]:
        """What else to ask the machine, best only where there are traces (`Asked`)."""
        ...

    def leftovers(self, answers: Answers, declared: frozenset[str]) -> Sequence[Leftover]:
        """What is to go: listed by our artefacts, and not among the declared names."""
        ...
