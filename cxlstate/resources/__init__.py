"""One folder a kind: what you may say (spec), what to read (probe), what to do (reconcile)."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from cxlstate.core.reconciler import Reconciler


@cache
def kinds() -> dict[str, Reconciler[Any, Any]]:
    """Every kind there is, by name: the packages in this folder, and no list to keep."""
    found = [import_module(f"{__name__}.{module.name}").reconciler for module in iter_modules(__path__)]
    return {kind.kind: kind for kind in sorted(found, key=lambda kind: str(kind.kind))}
