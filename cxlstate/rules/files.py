"""Files of a spec, and those that other resources keep."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from cxlstate.core.diagnostic import Diagnostic
from cxlstate.resources import kinds
from cxlstate.resources.file.spec import FileSpec
from cxlstate.rules.words import Resources, Rule, TreeRule, of


def files_are_nobody_elses(resources: Resources) -> Iterator[Diagnostic]:
    """CXR301: a file that another kind writes would be written by both, in turn."""
    declared = of(resources, FileSpec)
    kept = [(pattern, kind) for kind in kinds().values() for pattern in kind.keeps] if declared else []
    for one in declared:
        kind = next((kind for pattern, kind in kept if fnmatchcase(one.name, pattern)), None)
        if kind is not None:
            word = "cxlstate itself" if kind.kind == "file" else kind.place.key
            yield Diagnostic(
                "CXR301",
                f"{one.name} belongs to {word}",
                path=one.path,
                address=one.address,
                found=f"a file that {word} keeps",
                expected="a file that nothing else in the spec writes",
                hint="remove it" if kind.kind == "file" else f"remove it, and use `{word}`",
            )


RULES: Final[tuple[Rule, ...]] = (files_are_nobody_elses,)
BETWEEN: Final[tuple[TreeRule, ...]] = ()
