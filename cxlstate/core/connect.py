"""How a machine is reached, as the spec says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxlstate.core.address import Address


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

Via = Literal["ssh", "agent"]


@dataclass(frozen=True, slots=True)
class Through:
    """A guest, by way of its host: over SSH through the host's connection, or over the QEMU guest agent.

    `vm` is a resource of the host. The address and the host key of the guest are known once its VM runs.
    """

    vm: Address
    user: str | None = None
    via: Via = "ssh"
    port: int | None = None
