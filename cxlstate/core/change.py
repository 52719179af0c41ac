"""One difference between what the spec says and what is there."""

from __future__ import annotations

from dataclasses import dataclass

from cxlstate.core.path import Path
from cxlstate.core.secret import Secret

Leaf = str | int | bool | None | Secret


@dataclass(frozen=True, slots=True)
class Change:
    """`path` is relative to the resource. `old`/`new` are shown to people; None is *not there*.

    `pending` marks a difference that only an activation (a reboot, a VM restart) closes: the
    persistent state is right already. `entry` is what people call the entry of a list in which it is (`vda`,
    `slot 1`): an index means nothing to who reads a plan.
    """

    path: Path
    old: Leaf
    new: Leaf
    pending: bool = False
    entry: str = ""

    def as_json(self) -> dict[str, object]:
        """The shape of an entry of `changes` in `plan --json`."""
        return {"path": list(self.path), "from": _plain(self.old), "to": _plain(self.new)}


def _plain(value: Leaf) -> str | int | bool | None:
    return str(value) if isinstance(value, Secret) else value
