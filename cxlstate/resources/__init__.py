"""One folder a kind: what you may say (spec), what to read (probe), what to do (reconcile)."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from cxlstate.core.reconciler import Kind


@cache
def kinds() -> dict[str, Kind]:
    """Every kind there is, by name: the packages in this folder, and no list to keep.

    Each as its package declares it. What else it has is loaded when it is first needed.
    """
    found: list[Kind] = [import_module(f"{__name__}.{module.name}").kind for module in iter_modules(__path__)]
    return {kind.kind: kind for kind in sorted(found, key=lambda kind: kind.kind)}
