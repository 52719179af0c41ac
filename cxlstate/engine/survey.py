"""Look at machines, several at once, and plan. Holds nothing that could change one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from cxlstate.adapters.open_reader import Opener, open_reader
from cxlstate.core.address import Address
from cxlstate.core.defect import defect
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.core.read import Read
from cxlstate.engine.observe import Kinds, observe
from cxlstate.engine.plan import MachinePlan
from cxlstate.engine.planner import make_plan
from cxlstate.spec.load import MachineSpec
from cxlstate.spec.names import Only

AT_ONCE = 8


def survey(  # noqa: PLR0913  # what only `show` asks for is given by name
    specs: Sequence[MachineSpec],
    kinds: Kinds,
    only: Only | None = None,
    opener: Opener = open_reader,
    *,
    closer: bool = False,
    more: Collection[Read] = (),
) -> list[MachinePlan]:
    """The plan of every machine in `only`. One that cannot be reached has that as its diagnostic.

    `closer` has kinds look closer than a plan needs to. `more` is asked along: its answers, and all
    others, are then in the plan.
    """
    ask = partial(look, kinds=kinds, opener=opener, closer=closer, more=more)
    todo = [(spec, only[spec.name] if only else None) for spec in narrowed(specs, only)]
    if len(todo) == 1:
        return [ask(spec, only=its) for spec, its in todo]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # slow to load, and seldom needed

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda each: ask(each[0], only=each[1]), todo))


def narrowed(specs: Sequence[MachineSpec], only: Only | None) -> list[MachineSpec]:
    """The machines in `only`."""
    return [spec for spec in specs if only is None or spec.name in only]


def look(  # noqa: PLR0913  # as above
    spec: MachineSpec,
    kinds: Kinds,
    only: frozenset[Address] | None = None,
    opener: Opener = open_reader,
    *,
    closer: bool = False,
    more: Collection[Read] = (),
) -> MachinePlan:
    """One exchange with one machine, and the plan that follows from it.

    What goes wrong is a diagnostic of this machine, whatever it is: the others get their plans.
    """
    try:
        reader = opener(spec.connect, spec.name)
        try:
            return make_plan(spec, observe(reader, spec, kinds, closer=closer, more=more), kinds, only)
        finally:
            reader.close()
    except CxlstateError as error:
        found = error.diagnostics
    except Exception as error:  # noqa: BLE001  # as told above
        found = (defect(error),)
    return MachinePlan(spec, diagnostics=tuple(d.on(spec.name) for d in found))
