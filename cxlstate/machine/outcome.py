"""What a machine says of an effect, and what its journal keeps of it. Data alone: nothing here can write."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Result(Enum):
    """How an effect ended."""

    DONE = "done"
    FAILED = "failed"
    STALE = "stale"  # the file is not what it was when the plan was made; nothing was written
    FOREIGN = "foreign"  # what was generated has changes that are not ours; nothing was written
    REFUSED = "refused"  # a guest would have to be powered off for it, and that was not allowed


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an effect ended, and what was said (the last 64 KiB; a unified diff for FOREIGN)."""

    result: Result
    status: int = 0
    output: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal says of an effect, besides when, and how it ended."""

    run: str
    addresses: tuple[str, ...]
    does: str
    risk: str
