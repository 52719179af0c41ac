"""What rules see: the resources of a spec, by the model that says what may be written of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.core.reconciler import Resource
from cxlstate.spec.tree import Tree

Resources = Sequence[Resource[Any]]
Rule = Callable[[Resources], Iterator[Diagnostic]]
"""A rule within one machine: it sees the resources of a host, or those of a guest."""

TreeRule = Callable[[Tree], Iterator[Diagnostic]]
"""A rule between the machines of a file."""

S = TypeVar("S")


def of(resources: Resources, model: type[S]) -> list[Resource[S]]:
    """Those of one kind, in the order of the file."""
    return [me for me in resources if isinstance(me.spec, model)]
