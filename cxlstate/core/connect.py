"""How a machine is reached, as the spec says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Local:
    """The machine we run on."""


@dataclass(frozen=True, slots=True)
class Ssh:
    """Over SSH; `host` may be an alias of `~/.ssh/config`, which also fills what is None."""

    host: str
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Sim:
    """A simulated machine in a folder."""

    directory: Path


Connect = Local | Ssh | Sim
