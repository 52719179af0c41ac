"""What can be done to libvirt, as data: one value a call, or a few calls that belong together.

The executor makes them through a connection of its own; nothing here knows the library. Sizes are
bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cxlstate.core.domain import Domain


@dataclass(frozen=True, slots=True)
class DefineDomain:
    """Define a domain that is not there yet, checked against libvirt's schema. STALE if it is there."""

    name: str
    xml: str


@dataclass(frozen=True, slots=True)
class EditDomain:
    """Change the persistent definition in the owned fields of `wish`, and in nothing else.

    The XML is read with its secrets at that moment, edited (`formats.domain_xml.merge`), and defined
    again under its own UUID, checked against libvirt's schema. `expected` is the SHA-256 of the
    definition without secrets as the plan has seen it: another one is STALE.
    """

    name: str
    wish: Domain
    expected: str


@dataclass(frozen=True, slots=True)
class UndefineDomain:
    """Forget a domain that is off. Its NVRAM, disks and their contents are kept.

    Fails where it has a managed save image, snapshots or checkpoints.
    """

    name: str


@dataclass(frozen=True, slots=True)
class StartDomain:
    """Start a domain; nothing where it runs.

    `devices` are paths that have to lead to a character device of the dax bus at that moment, links
    followed: without it QEMU would make a plain file of the name.
    """

    name: str
    devices: tuple[str, ...] = ()


AGAIN = "it runs again"
AS_IT_RAN = f"{AGAIN}, with the definition that it ran with before; the edited one was taken back"
"""What a writer says when it has restored a domain."""


@dataclass(frozen=True, slots=True)
class RestoreDomain:
    """Start a domain that this run has shut down, as it ran; nothing where it runs.

    Where its persistent definition is another by now, it gets the one back that it ran with, secrets
    included: the writer has read that before it shut the domain down, and keeps it in memory only.
    Its NVDIMMs have to lead to dax devices, as those of `StartDomain`.
    """

    name: str


@dataclass(frozen=True, slots=True)
class StopDomain:
    """Ask the guest to shut down, and wait `timeout` seconds for it; nothing where it is off.

    One that still runs then is powered off if `power_off` (set by the executor from what was allowed),
    or else REFUSED: it goes on running. One that is transient would be gone: FAILED.
    """

    name: str
    timeout: int = 120
    power_off: bool = False


@dataclass(frozen=True, slots=True)
class AutostartDomain:
    """Start it with the host, or not."""

    name: str
    on: bool


class PinOf(StrEnum):
    """Which threads of a domain are pinned."""

    VCPU = "vcpu"
    EMULATOR = "emulator"
    IOTHREAD = "iothread"


@dataclass(frozen=True, slots=True)
class PinDomain:
    """Pin a thread of the running domain (`--live` alone; the definition is edited by itself).

    `number` is that of the vCPU or of the I/O thread.
    """

    name: str
    of: PinOf
    cpus: frozenset[int]
    number: int = 0


@dataclass(frozen=True, slots=True)
class TuneNuma:
    """Give the running domain another node set for its memory; libvirt allows it in some modes only."""

    name: str
    nodeset: frozenset[int]


@dataclass(frozen=True, slots=True)
class LinkInterface:
    """Plug the cable of a running domain's interface in, or pull it out."""

    name: str
    mac: str
    up: bool


@dataclass(frozen=True, slots=True)
class DefineNetwork:
    """Define a network, or define it anew under its own UUID.

    `expected` is the SHA-256 of the persistent definition as the plan has seen it, None where there was
    none: otherwise STALE.
    """

    name: str
    xml: str
    expected: str | None = None


class Update(StrEnum):
    """Commands of virNetworkUpdate."""

    MODIFY = "modify"
    DELETE = "delete"
    ADD_LAST = "add-last"


@dataclass(frozen=True, slots=True)
class UpdateNetwork:
    """Change one entry of `<dhcp>` without taking the network down.

    `section` is `ip-dhcp-host` or `ip-dhcp-range`, in virsh's words. `live` and `config` say which of the
    two definitions; both at once is one call. `parent` is the number of the `<ip>` that the `<dhcp>` stands
    in; -1 where there is only one.
    """

    name: str
    command: Update
    section: str
    xml: str
    live: bool
    config: bool
    parent: int = -1


@dataclass(frozen=True, slots=True)
class StartNetwork:
    """Start a network; nothing where it is active."""

    name: str


@dataclass(frozen=True, slots=True)
class StopNetwork:
    """Stop a network (`net-destroy`); nothing where it is not active."""

    name: str


@dataclass(frozen=True, slots=True)
class AutostartNetwork:
    """Start it with libvirt, or not."""

    name: str
    on: bool


@dataclass(frozen=True, slots=True)
class UndefineNetwork:
    """Forget a network that is not active."""

    name: str


DomainEffect = (
    DefineDomain
    | EditDomain
    | UndefineDomain
    | StartDomain
    | RestoreDomain
    | StopDomain
    | AutostartDomain
    | PinDomain
    | TuneNuma
    | LinkInterface
)
NetworkEffect = (
    DefineNetwork | UpdateNetwork | StartNetwork | StopNetwork | AutostartNetwork | UndefineNetwork
)
LibvirtEffect = DomainEffect | NetworkEffect
