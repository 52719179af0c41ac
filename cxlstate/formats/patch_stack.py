"""Patches that lie upon each other in one tree: which are in, and what the tree is with all of them in.

Two patches may touch the same lines. So those that are in are taken off from the top, as far as they can be,
and then all are put on in their order; what is judged is always the tree below a patch. Nothing is lost on
the way: what is taken off and put on again are the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxlstate.formats.patching import Standing, Tree, Verdict, judge
from cxlstate.formats.unified_diff import Patch


@dataclass(frozen=True, slots=True)
class Series:
    """A patch by its name, in the forms that it has for different kernels: the first that fits counts."""

    name: str
    variants: tuple[Patch, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that any of its forms names."""
        return tuple(dict.fromkeys(file.path for patch in self.variants for file in patch.files))


@dataclass(frozen=True, slots=True)
class Stacked:
    """How one of the patches stands, by its form that counts, and what of it is not in yet."""

    name: str
    verdict: Verdict
    standing: Standing
    missing: Patch | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """How each patch stands, those that are wanted and those that are not, and the tree as it is to be."""

    wanted: tuple[Stacked, ...]
    unwanted: tuple[Stacked, ...]
    tree: Tree


def stack(wanted: Sequence[Series], unwanted: Sequence[Series], tree: Tree) -> Stack:
    """Of a tree that holds every file that they name (None: not there). Names are told apart by place."""
    below = dict(tree)
    order = (*unwanted, *wanted)
    lifted = _lift(order, below)
    gone = []
    for index, series in enumerate(unwanted):
        one = lifted.get(index)
        if one is None:
            verdict = fitting(series, below)
            one = Stacked(series.name, verdict, verdict.standing)
            if verdict.standing is Standing.PARTLY:
                below.update(verdict.taken_back)
        gone.append(one)
    there = []
    for index, series in enumerate(wanted, len(unwanted)):
        verdict = fitting(series, below)
        if verdict.standing is not Standing.FAILS:
            below.update(verdict.patched)
        known = lifted.get(index)
        if known and verdict.standing is Standing.APPLIES:
            there.append(known)
        else:
            there.append(Stacked(series.name, verdict, verdict.standing, verdict.missing))
    return Stack(tuple(there), tuple(gone), below)


def _lift(order: Sequence[Series], below: dict[str, str | None]) -> dict[int, Stacked]:
    """Take off what is in, by index, from the top; again, as long as something comes off."""
    lifted: dict[int, Stacked] = {}
    while True:
        before = len(lifted)
        for index in reversed(range(len(order))):
            if index in lifted:
                continue
            verdict = fitting(order[index], below)
            if verdict.standing is Standing.IN:
                lifted[index] = Stacked(order[index].name, verdict, Standing.IN)
                below.update(verdict.taken_back)
        if len(lifted) == before:
            return lifted


def fitting(series: Series, tree: Tree) -> Verdict:
    """The verdict of the form that counts: one that is in, one that applies, else the closest."""
    verdicts = [judge(patch, tree) for patch in series.variants]
    for standing in (Standing.IN, Standing.APPLIES, Standing.PARTLY):
        for verdict in verdicts:
            if verdict.standing is standing:
                return verdict
    return max(verdicts, key=lambda one: sum(place.agreeing for place in one.places))
