"""Look at machines, several at once, and plan. Holds nothing that could change one."""

from __future__ import annotations

from collections.abc import Sequence

from cxlstate.core.address import Address
from cxlstate.core.diagnostic import CxlstateError
from cxlstate.engine.observe import Kinds, observe
from cxlstate.engine.plan import MachinePlan, make_plan
from cxlstate.machine.open import Opener, open_reader
from cxlstate.spec.load import MachineSpec

AT_ONCE = 8


def survey(
    specs: Sequence[MachineSpec],
    kinds: Kinds,
    only: frozenset[Address] | None = None,
    opener: Opener = open_reader,
) -> list[MachinePlan]:
    """The plan of every machine. One that cannot be reached is a plan with that as its diagnostic."""
    if len(specs) == 1:
        return [look(specs[0], kinds, only, opener)]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # slow to load, and seldom needed

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda spec: look(spec, kinds, only, opener), specs))


def look(
    spec: MachineSpec,
    kinds: Kinds,
    only: frozenset[Address] | None = None,
    opener: Opener = open_reader,
) -> MachinePlan:
    """One exchange with one machine, and the plan that follows from it."""
    try:
        reader = opener(spec.connect, spec.name)
        try:
            return make_plan(spec, observe(reader, spec, kinds), kinds, only)
        finally:
            reader.close()
    except CxlstateError as error:
        return MachinePlan(spec, diagnostics=tuple(d.on(spec.name) for d in error.diagnostics))
