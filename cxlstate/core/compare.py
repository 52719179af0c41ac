"""Where two documents differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final


class Missing(Enum):
    """What stands for a value where a document has none: None is a value of JSON."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Difference:
    """One place, by keys and places in lists, and what is there in either document."""

    path: tuple[str | int, ...]
    before: Any
    after: Any


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """All of them, ordered by place: none exactly if the documents are equal."""
    from deepdiff import DeepDiff  # noqa: PLC0415  # slow to import, and only for a plan that is stale
    from deepdiff.helper import notpresent  # noqa: PLC0415

    def value(found: Any) -> Any:
        return MISSING if found is notpresent else found

    return sorted(
        (
            Difference(tuple(level.path(output_format="list")), value(level.t1), value(level.t2))
            for levels in DeepDiff(before, after, view="tree", threshold_to_diff_deeper=0).values()
            for level in levels
        ),
        key=lambda difference: [str(step) for step in difference.path],
    )
