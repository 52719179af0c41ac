"""What a kind makes of one resource: everything that follows from its spec, its state and its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cxlstate.core.action import Action, Span
from cxlstate.core.address import Address, Target
from cxlstate.core.change import Change, Leaf
from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import Export
from cxlstate.core.measure import Measurable
from cxlstate.core.path import Path


@dataclass(frozen=True, slots=True)
class Later:
    """A check that something unknown holds back: `what` is checked, `after` is what has to be there first.

    No `after`: once the resource itself can be read.
    """

    what: str
    after: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True)
class Derived:
    """A value that the user did not write and that follows from the wish of another resource, `of`.

    Never from live state: it is part of what is wanted, and of the record.
    """

    path: Path
    value: Leaf
    of: Address


@dataclass(frozen=True, slots=True)
class Hold:
    """Memory in use. No `spans`: it may be anywhere.

    `release` lets go of it, each action with its undo; `retake` undoes that, and no more. `stuck` says why
    it cannot let go: then nothing is done to that memory. `unknown`: whether it is in use cannot be told.
    """

    spans: tuple[Span, ...] = ()
    release: tuple[Action, ...] = ()
    retake: tuple[Action, ...] = ()
    stuck: Diagnostic | None = None
    unknown: bool = False

    def touches(self, spans: Sequence[Span]) -> bool:
        """Whether any of the memory is held. What may be anywhere is taken to be there."""
        if not self.spans:
            return bool(spans)
        return any(one.start < span.end and span.start < one.end for one in self.spans for span in spans)


@dataclass(frozen=True, slots=True)
class Assessment:
    """The answer of `Reconciler.assess`. Paths of problems and changes are relative to the resource.

    `changes` are the differences in what the user wrote, and in nothing else; `actions` close them, in order;
    none at all: what it requires will do it. Both are made even beside an error, where they can be: what an
    error stops is the engine's to say. `facts` are the live state for people: a few words and their values.
    `measurable` is, of a kind that `measures`, which memory it is now, or why there is none to measure.
    `bars_reboot` is an error that a reboot would run into. `shared` is the kind's own, for `together` alone.
    """

    exports: tuple[Export, ...] = ()
    problems: tuple[Diagnostic, ...] = ()
    changes: tuple[Change, ...] = ()
    actions: tuple[Action, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    measurable: Measurable | str | None = None
    later: tuple[Later, ...] = ()
    derived: tuple[Derived, ...] = ()
    hold: Hold | None = None
    bars_reboot: Diagnostic | None = None
    shared: object = None

    @property
    def refused(self) -> bool:
        """Whether an error stops the resource."""
        return any(one.severity is Severity.ERROR for one in self.problems)


@runtime_checkable
class Collective(Protocol):
    """A kind of which some faults show only in all of its resources together: registers, `Conflicts=`."""

    def together(self, assessed: Mapping[Address, Assessment], *, whole: bool = True) -> Sequence[Diagnostic]:
        """What cannot be right. `address` names whose problem each is, and `path` is relative to that one.

        Not `whole` with a target: what is not among these, leftovers too, stays as it is on the machine.
        """
        ...
