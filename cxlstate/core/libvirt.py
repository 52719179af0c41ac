"""What can be done to libvirt, as data: one value a call, or a few calls that belong together.

The executor makes them through a connection of its own; nothing here knows the library. Sizes are
bytes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from cxlstate.core.domain import Domain
from cxlstate.core.effect import Effect
from cxlstate.core.units import format_cpus


class LibvirtEffect(Effect):
    """What is told to libvirt about one domain or network. Its commands are virsh's.

    The XML may hold what is nobody's business: it is neither shown nor journalled.
    """

    __slots__ = ()
    name: str

    def journalled(self) -> dict[str, object]:
        """`EditDomain` is `edit-domain`."""
        return {**super().journalled(), "name": self.name}

    @property
    def quoted(self) -> str:
        """Its name for a command line."""
        return shlex.quote(self.name)


class DomainEffect(LibvirtEffect):
    """What is about a domain."""

    __slots__ = ()


class NetworkEffect(LibvirtEffect):
    """What is about a network."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class DefineDomain(DomainEffect):
    """Define a domain that is not there yet, checked against libvirt's schema. STALE if it is there."""

    name: str
    xml: str

    def shown(self) -> str:
        """The changes tell what is in it: the XML is too long for a line."""
        return f"virsh define {shlex.quote(f'{self.name}.xml')}"


@dataclass(frozen=True, slots=True)
class EditDomain(DomainEffect):
    """Change the persistent definition in the owned fields of `wish`, and in nothing else.

    The XML is read with its secrets at that moment, edited (`formats.domain_xml.merge`), and defined
    again under its own UUID, checked against libvirt's schema. `expected` is the SHA-256 of the
    definition without secrets as the plan has seen it: another one is STALE.
    """

    name: str
    wish: Domain
    expected: str

    def shown(self) -> str:
        """No command: `virsh edit` opens an editor, and what is done is to read, change and define."""
        return f"edit the definition of {self.quoted}"


@dataclass(frozen=True, slots=True)
class UndefineDomain(DomainEffect):
    """Forget a domain that is off. Its NVRAM, disks and their contents are kept.

    Fails where it has a managed save image, snapshots or checkpoints.
    """

    name: str

    def shown(self) -> str:
        """As virsh(1)."""
        return f"virsh undefine {self.quoted} --keep-nvram"


@dataclass(frozen=True, slots=True)
class StartDomain(DomainEffect):
    """Start a domain; nothing where it runs.

    `devices` are paths that have to lead to a character device of the dax bus at that moment, links
    followed: without it QEMU would make a plain file of the name.
    """

    name: str
    devices: tuple[str, ...] = ()

    def shown(self) -> str:
        """As virsh(1)."""
        return f"virsh start {self.quoted}"


AGAIN = "it runs again"
AS_IT_RAN = f"{AGAIN}, with the definition that it ran with before; the edited one was taken back"
"""What a writer says when it has restored a domain."""


@dataclass(frozen=True, slots=True)
class RestoreDomain(DomainEffect):
    """Start a domain that this run has shut down, as it ran; nothing where it runs.

    Where its persistent definition is another by now, it gets the one back that it ran with, secrets
    included: the writer has read that before it shut the domain down, and keeps it in memory only.
    Its NVDIMMs have to lead to dax devices, as those of `StartDomain`.
    """

    name: str

    def shown(self) -> str:
        """As virsh(1), which knows no definition that it ran with."""
        return f"virsh start {self.quoted}"


@dataclass(frozen=True, slots=True)
class StopDomain(DomainEffect):
    """Ask the guest to shut down, and wait `timeout` seconds for it; nothing where it is off.

    One that still runs then is powered off if `power_off` (set by the executor from what was allowed),
    or else REFUSED: it goes on running. One that is transient would be gone: FAILED.
    """

    name: str
    timeout: int = 120
    power_off: bool = False

    def shown(self) -> str:
        """As virsh(1)."""
        return f"virsh shutdown {self.quoted}"


@dataclass(frozen=True, slots=True)
class AutostartDomain(DomainEffect):
    """Start it with the host, or not."""

    name: str
    on: bool

    def shown(self) -> str:
        """As virsh(1)."""
        return f"virsh autostart {self.quoted}" + ("" if self.on else " --disable")


class PinOf(StrEnum):
    """Which threads of a domain are pinned."""

    VCPU = "vcpu"
    EMULATOR = "emulator"
    IOTHREAD = "iothread"


@dataclass(frozen=True, slots=True)
class PinDomain(DomainEffect):
    """Pin a thread of the running domain (`--live` alone; the definition is edited by itself).

    `number` is that of the vCPU or of the I/O thread.
    """

    name: str
    of: PinOf
    cpus: frozenset[int]
    number: int = 0

    def shown(self) -> str:
        """As virsh(1): a command for each sort of thread."""
        number = "" if self.of is PinOf.EMULATOR else f" {self.number}"
        return f"virsh {self.of.value}pin {self.quoted}{number} {format_cpus(self.cpus)} --live"


@dataclass(frozen=True, slots=True)
class TuneNuma(DomainEffect):
    """Give the running domain another node set for its memory; libvirt allows it in some modes only."""

    name: str
    nodeset: frozenset[int]

    def shown(self) -> str:
        """As virsh(1)."""
        return f"virsh numatune {self.quoted} --nodeset {format_cpus(self.nodeset)} --live"


@dataclass(frozen=True, slots=True)
class LinkInterface(DomainEffect):
    """Plug the cable of a running domain's interface in, or pull it out."""

    name: str
    mac: str
    up: bool

    def shown(self) -> str:
        """As virsh(1)."""
        return f"virsh domif-setlink {self.quoted} {self.mac} {'up' if self.up else 'down'}"


@dataclass(frozen=True, slots=True)
class DetachDisk(DomainEffect):
    """Take the disk with the source `path` out of a definition, and then, while the domain runs, out of that.

    Nothing where it has none. FAILED where the guest does not let go of it within `timeout` seconds: it has
    it until it is off.
    """

    name: str
    path: str
    timeout: int = 60

    def shown(self) -> str:
        """As virsh(1), which also takes the source for the target."""
        return f"virsh detach-disk {self.quoted} {shlex.quote(self.path)} --persistent"


@dataclass(frozen=True, slots=True)
class DefineNetwork(NetworkEffect):
    """Define a network, or define it anew under its own UUID.

    `expected` is the SHA-256 of the persistent definition as the plan has seen it, None where there was
    none: otherwise STALE.
    """

    name: str
    xml: str
    expected: str | None = None

    def shown(self) -> str:
        """An edit has no command, as that of a domain."""
        if self.expected is not None:
            return f"edit the definition of the network {self.quoted}"
        return f"virsh net-define {shlex.quote(f'{self.name}.xml')}"


class Update(StrEnum):
    """Commands of virNetworkUpdate."""

    MODIFY = "modify"
    DELETE = "delete"
    ADD_LAST = "add-last"


@dataclass(frozen=True, slots=True)
class UpdateNetwork(NetworkEffect):
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

    def shown(self) -> str:
        """As virsh(1)."""
        return f"virsh net-update {self.quoted} {' '.join(self._words())}"

    def _words(self) -> Iterator[str]:
        yield from (self.command.value, self.section, shlex.quote(self.xml))
        if self.parent >= 0:
            yield f"--parent-index {self.parent}"
        if self.live:
            yield "--live"
        if self.config:
            yield "--config"


@dataclass(frozen=True, slots=True)
class StartNetwork(NetworkEffect):
    """Start a network; nothing where it is active."""

    name: str

    def shown(self) -> str:
        """As virsh(1)."""
        return f"virsh net-start {self.quoted}"


@dataclass(frozen=True, slots=True)
class StopNetwork(NetworkEffect):
    """Stop a network (`net-destroy`); nothing where it is not active."""

    name: str

    def shown(self) -> str:
        """As virsh(1)."""
        return f"virsh net-destroy {self.quoted}"


@dataclass(frozen=True, slots=True)
class AutostartNetwork(NetworkEffect):
    """Start it with libvirt, or not."""

    name: str
    on: bool

    def shown(self) -> str:
        """As virsh(1)."""
        return f"virsh net-autostart {self.quoted}" + ("" if self.on else " --disable")


@dataclass(frozen=True, slots=True)
class UndefineNetwork(NetworkEffect):
    """Forget a network that is not active."""

    name: str

    def shown(self) -> str:
        """As virsh(1)."""
        return f"virsh net-undefine {self.quoted}"
