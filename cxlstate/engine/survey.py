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

AT_ONCE = 8


def survey(  # noqa: PLR0913  # what only `show` asks for is given by name
    specs: Sequence[MachineSpec],
    kinds: Kinds,
    only: frozenset[Address] | None = None,
    opener: Opener = open_reader,
    *,
    closer: bool = False,
    more: Collection[Read] = (),
) -> list[MachinePlan]:
    """The plan of every machine. One that cannot be reached is a plan with that as its diagnostic.

    `closer` has kinds look closer than a plan needs to. `more` is asked along: its answers, and all
    others, are then in the plan.
    """
    if len(specs) == 1:
        return [look(specs[0], kinds, only, opener, closer=closer, more=more)]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # slow to load, and seldom needed

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ask = partial(look, kinds=kinds, only=only, opener=opener, closer=closer, more=more)
        return list(pool.map(ask, specs))


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
