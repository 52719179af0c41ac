"""Kinds whose `assess` ignores one field: for each, the laws 6 and 7 must cry out. Run it to see which do.

python -m tests.laws.mutations
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.reconciler import Reconciler
from cxlstate.resources import kinds
from tests.assessing import answering
from tests.laws.bench import Bench, bench
from tests.laws.sight import CHANGED, RICH, UNDONE, applied, is_not_in_sync, is_seen, with_leaf


@dataclass(frozen=True, order=True)
class Field:
    """A kind of difference: the first word of its path (`*` for a place in a list), and whether it pends."""

    kind: str
    name: str
    pending: bool

    def __str__(self) -> str:
        return f"{self.kind}.{self.name}{' (pending)' if self.pending else ''}"


def field_of(kind: str, change: Change) -> Field:
    first = change.path[0] if change.path else ""
    return Field(kind, first if isinstance(first, str) else "*", change.pending)


def blind(to: Field) -> dict[str, Reconciler[Any, Any]]:
    """All kinds, one of them with an `assess` that does not see a field, and does nothing about it alone."""

    def without(found: Assessment) -> Assessment:
        left = tuple(change for change in found.changes if field_of(to.kind, change) != to)
        return replace(found, changes=left, actions=found.actions if left else ())

    return {**kinds(), to.kind: answering(kinds()[to.kind].reconciler, without)}


Law = Callable[[Bench], None]


def fields(before: Bench) -> dict[Field, dict[str, Law]]:
    """Every kind of difference that shows on the way to the rich spec or away from it, with the laws that
    look at a machine where it shows: who does not see it keeps all the others.
    """
    with bench() as fresh:
        found: dict[Field, dict[str, Law]] = {one: {} for one in _differences(fresh.fork("fresh"), RICH)}
    for number, (path, value, address) in enumerate(CHANGED):
        law = partial(is_not_in_sync, path=path, value=value, address=address)
        for one in _differences(before.fork(f"leaf{number}"), with_leaf(RICH, path, value)):
            found.setdefault(one, {})[f"changed: {'.'.join(map(str, path))}: {value}"] = law
    for number, (name, (_, undo)) in enumerate(UNDONE.items()):
        undone = before.fork(f"undone{number}")
        undo(undone)
        for one in _differences(undone, RICH):
            found.setdefault(one, {})[f"undone: {name}"] = partial(is_seen, undone=name)
    return dict(sorted(found.items()))


def _differences(one: Bench, host: dict[str, Any]) -> set[Field]:
    plan = one.plan(one.spec(host))
    return {field_of(r.address.kind, change) for r in plan.resources for change in r.changes}


def caught_by(mutant: Field, laws: Mapping[str, Law], before: Bench) -> Iterator[str]:
    """The laws that a mutant breaks, in words."""
    yield from (name for name, law in laws.items() if _breaks(mutant, before, law))


def _breaks(mutant: Field, before: Bench, law: Law) -> bool:
    one = before.fork(f"mutant{len(list(before.folder.iterdir()))}")
    one.kinds = blind(mutant)
    try:
        law(one)
    except AssertionError:
        return True
    return False


def main() -> None:
    """Print each mutant and what catches it."""
    with bench() as fresh:
        before = applied(fresh)
        for mutant, laws in fields(before).items():
            caught = list(caught_by(mutant, laws, before))
            print(f"{'caught' if caught else 'MISSED'}  {mutant}: {'; '.join(caught) or 'nothing'}")


if __name__ == "__main__":
    main()
