"""The way into a guest: what its VM exports, what a spec adds, and whether a host key is the guest's own.

A key is never believed because it was offered: it is one that is kept on the host, or the hypervisor says it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cxlstate.core.connect import Through
from cxlstate.core.machine import MachineId


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key of an SSH server: its type (`ssh-ed25519`) and the key in base64, as in known_hosts."""

    kind: str
    key: str

    @property
    def signatures(self) -> tuple[str, ...]:
        """The algorithms by which it signs: of an ssh-rsa key, those of RFC 8332."""
        return ("rsa-sha2-512", "rsa-sha2-256") if self.kind == "ssh-rsa" else (self.kind,)

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        digest = hashlib.sha256(base64.b64decode(self.key)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


class Source(StrEnum):
    """Who vouches for a host key."""

    KEPT = "the host"
    AGENT = "the guest agent"
    CONSOLE = "the serial console"


@dataclass(frozen=True, slots=True)
class GuestAccess:
    """How a guest can be reached, as its VM exports it.

    `running`: None where it is not known. `addresses`: reservation, lease, in this order. `keys` are
    the host keys that the host keeps, `kept` the SHA-256 of the file that holds them (None: there is none).
    `agent`: the VM has a channel for the guest agent. `console`: the file on the host that holds what the
    VM's serial console has said; empty without one. `defined`: whether there is such a VM at all.
    `first_boot`: it has the seed of its first boot, which is not proven to be done.
    """

    running: bool | None
    addresses: tuple[str, ...] = ()
    keys: tuple[HostKey, ...] = ()
    kept: str | None = None
    agent: bool = False
    console: str = ""
    defined: bool = True
    first_boot: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """The whole way to one guest: what the spec says, and what its VM exports.

    User and port that the spec does not say are left to the SSH configuration of a host that is called like
    the VM, and so is the identity.
    """

    machine: MachineId
    through: Through
    access: GuestAccess

    @property
    def vm(self) -> str:
        """The name of its domain."""
        return self.through.vm.name


@dataclass(frozen=True, slots=True)
class Said:
    """What one source says: the guest's host keys, or none and `reason`, which says why it says nothing."""

    keys: tuple[HostKey, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The key is the guest's. Unless `by` is KEPT it is new, and an apply keeps it."""

    key: HostKey
    by: Source

    @property
    def is_new(self) -> bool:
        """Whether the host does not keep it yet."""
        return self.by is not Source.KEPT


@dataclass(frozen=True, slots=True)
class Changed:
    """The key is another than `by` says. `reasons`: why nobody confirms the one that was offered."""

    found: HostKey
    expected: tuple[HostKey, ...]
    by: Source
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CannotTell:
    """Nobody vouches for any key of the guest. `reasons`: why, of each that was asked."""

    found: HostKey
    reasons: tuple[str, ...]


Verdict = Accepted | Changed | CannotTell


def judge(
    offered: HostKey, kept: Sequence[HostKey], ask: Sequence[tuple[Source, Callable[[], Said]]]
) -> Verdict:
    """Whether `offered` is the guest's. The sources are asked in order, and only as far as needed.

    What the hypervisor says now overrules what is kept: a guest that was made anew has new keys.
    """
    if offered in kept:
        return Accepted(offered, Source.KEPT)
    reasons: list[str] = []
    for source, said in ((source, question()) for source, question in ask):
        if offered in said.keys:
            return Accepted(offered, source)
        if said.keys:
            return Changed(offered, said.keys, source, tuple(reasons))
        reasons.append(said.reason)
    if kept:
        return Changed(offered, tuple(kept), Source.KEPT, tuple(reasons))
    return CannotTell(offered, tuple(reasons))
