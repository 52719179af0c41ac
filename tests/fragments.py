"""The fragments of the boot script that kinds bring, and steps by their words alone."""

from __future__ import annotations

from importlib import import_module

from cxlstate.core.action import Step
from cxlstate.core.fragment import Fragment
from cxlstate.formats import ours

FRAGMENTS = {kind: import_module(f"cxlstate.resources.{kind}.verbs").FRAGMENT for kind in ours.restored()}
NONE = Fragment("none", 1, "")


def step(*words, shown=""):
    """A verb names its kind."""
    return Step(FRAGMENTS[words[0].partition("_")[0]], words, shown)
