"""Look at trees of machines, several at once, and plan. Holds nothing that could change one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cxlstate.adapters.open_reader import open_reader
from cxlstate.core.defect import defect
from cxlstate.core.diagnostic import CxlstateError, Diagnostic
from cxlstate.core.read import Read
from cxlstate.engine.assess import assess_tree
from cxlstate.engine.observe import Kinds
from cxlstate.engine.plan import MachinePlan, Plan, Reach, Reached
from cxlstate.engine.reading import AT_ONCE, Opener, Readers, TreeReader
from cxlstate.spec.names import Only
from cxlstate.spec.tree import Tree

if TYPE_CHECKING:
    from cxlstate.engine.measuring import Wanted


def survey(  # noqa: PLR0913  # what only `show` asks for is given by name
    trees: Sequence[Tree],
    kinds: Kinds,
    only: Only | None = None,
    opener: Opener = open_reader,
    *,
    closer: bool = False,
    more: Collection[Read] = (),
    measure: Wanted | None = None,
) -> list[Plan]:
    """The plan of every tree in `only`. One whose host cannot be reached has that as its diagnostic.

    `closer` has kinds look closer than a plan needs to. `more` is asked along: its answers, and all
    others, are then in the plan. So is what is to be `measure`d, after all was read.
    """
    todo = narrowed(trees, only)
    if len(todo) == 1:
        return [look(todo[0], kinds, only, opener, closer=closer, more=more, measure=measure)]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # slow to load, and seldom needed

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ask = partial(look, kinds=kinds, only=only, opener=opener, closer=closer, more=more, measure=measure)
        return list(pool.map(ask, todo))


def narrowed(trees: Sequence[Tree], only: Only | None) -> list[Tree]:
    """The trees of which anything is in `only`."""
    return [tree for tree in trees if only is None or any(one.id in only for one in tree.machines)]


def look(  # noqa: PLR0913  # as above
    tree: Tree,
    kinds: Kinds,
    only: Only | None = None,
    opener: Opener = open_reader,
    *,
    closer: bool = False,
    more: Collection[Read] = (),
    measure: Wanted | None = None,
) -> Plan:
    """One exchange with each machine of a tree, and the plan that follows from it.

    What goes wrong is a diagnostic of this tree, whatever it is: the others get their plans.
    """
    readers = Readers(opener)
    try:
        try:
            seen = TreeReader(tree, kinds, readers, closer=closer, more=more).read()
            plan = assess_tree(tree, seen, kinds, only)
            if measure is None:
                return plan
            from cxlstate.engine.measuring import measured  # noqa: PLC0415  # slow to load, and seldom needed

            return measured(plan, measure, kinds, readers)
        finally:
            readers.close()
    except CxlstateError as error:
        return without_plan(tree, error.diagnostics)
    except Exception as error:  # noqa: BLE001  # as told above
        return without_plan(tree, (defect(error),))


def without_plan(tree: Tree, problems: Sequence[Diagnostic]) -> Plan:
    """A tree of which nothing could be planned, and why."""
    found = tuple(one.on(tree.host.id) for one in problems)
    reached = Reached(Reach.UNKNOWN, found[0].message if found else None)
    host = MachinePlan(tree.host, reached, diagnostics=found)
    return Plan(tree, (host, *(MachinePlan(guest, reached) for guest in tree.guests)))
