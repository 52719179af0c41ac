"""Kinds whose `assess` ignores one field: for each, the laws 6 and 7 must cry out. Run it to see which do.

python -m tests.laws.mutations
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from cxlstate.core.assessment import Assessment
from cxlstate.core.change import Change
from cxlstate.core.reconciler import Reconciler
from cxlstate.resources import kinds
from tests.assessing import answering
from tests.laws.bench import Bench, bench
from tests.laws.sight import CHANGED, RICH, UNDONE, applied, is_not_in_sync, is_seen, where, with_leaf


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

    return {**kinds(), to.kind: answering(kinds()[to.kind], without)}


def fields(before: Bench) -> list[Field]:
    """Every kind of difference that shows on the way to the rich spec or away from it."""
    specs = [RICH, *(with_leaf(RICH, path, value) for path, value, _ in CHANGED)]
    found = set()
    with bench() as fresh:
        for number, (one, host) in enumerate([(fresh, RICH), *((before, host) for host in specs)]):
            found |= _differences(one.fork(f"leaf{number}"), host)
    for number, (_, undo) in enumerate(UNDONE.values()):
        one = before.fork(f"undone{number}")
        undo(one)
        found |= _differences(one, RICH)
    return sorted(found)


def _differences(one: Bench, host: dict[str, Any]) -> set[Field]:
    plan = one.plan(one.spec(host))
    return {field_of(r.address.kind, change) for r in plan.resources for change in r.changes}


def caught_by(mutant: Field, before: Bench) -> Iterator[str]:
    """The laws that a mutant breaks, in words."""
    of_kind = [(name, what) for name, (what, _) in UNDONE.items()]
    for name, address in of_kind:
        if where(address).address.kind == mutant.kind and _breaks(
            mutant, before, lambda one, n=name: is_seen(one, n)
        ):
            yield f"undone: {name}"
    for path, value, address in CHANGED:
        if where(address).address.kind == mutant.kind and _breaks(
            mutant, before, lambda one, leaf=(path, value, address): is_not_in_sync(one, *leaf)
        ):
            yield f"changed: {'.'.join(map(str, path))}"


def _breaks(mutant: Field, before: Bench, law: Any) -> bool:
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
        for mutant in fields(before):
            caught = list(caught_by(mutant, before))
            print(f"{'caught' if caught else 'MISSED'}  {mutant}: {'; '.join(caught) or 'nothing'}")


if __name__ == "__main__":
    main()
