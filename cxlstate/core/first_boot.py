"""What the first boot of a guest makes of its image, as data, and what is done for it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Protocol

from cxlstate.core.effect import Effect
from cxlstate.core.secret import Secret


class Provisioning(Protocol):
    """What a VM is told of the spec of its guest's first boot."""

    @property
    def seeded(self) -> bool:
        """Whether the VM is given a seed for it."""
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """A user who can log in. `password` is the password itself: it is hashed when the seed is written.

    `keys` are lines of authorized_keys(5). `sudo`: root without a password.
    """

    name: str
    groups: tuple[str, ...] = ()
    shell: str = ""
    sudo: bool = False
    keys: tuple[str, ...] = ()
    password: Secret | None = None


@dataclass(frozen=True, slots=True)
class FirstBoot:
    """All of it. `instance` is what the guest knows itself by, and never changes.

    `macs` are the MAC addresses of the interfaces that are configured; none: as the image does it. `dhcp4`:
    these ask for an IPv4 address.
    """

    instance: str
    hostname: str = ""
    accounts: tuple[Account, ...] = ()
    macs: tuple[str, ...] = ()
    dhcp4: bool = True


@dataclass(frozen=True, slots=True)
class WriteSeed(Effect):
    """Write the NoCloud seed of a guest: an ISO 9660 image that root alone reads.

    Passwords are hashed on this computer, at that moment, each time with another salt. STALE where something
    is there already, unless it `replaces` an earlier seed.
    """

    path: str
    boot: FirstBoot
    replaces: bool = False

    def shown(self) -> str:
        """As cloud-localds(1), whose files are made here."""
        return f"cloud-localds {shlex.quote(self.path)} user-data meta-data"

    def journalled(self) -> dict[str, object]:
        """Without what is in it."""
        return {"effect": "write-seed", "path": self.path, "instance": self.boot.instance}


@dataclass(frozen=True, slots=True)
class CustomizeImage(Effect):
    """Make of a disk image what a first boot is to find, by virt-customize, before there is a VM.

    It is done to a copy, which takes the place of the image whole: what stops half way leaves the image as it
    was. FAILED, and nothing done, where the image holds anything else than the `source` that it was made
    from, is in use, or has a file system that was not unmounted. The host keeps the guest's public host keys,
    `made_from`, and which file it is; `log` keeps what virt-customize says, while it runs and afterwards.
    """

    vm: str
    path: str
    format: str
    source: str
    boot: FirstBoot
    made_from: str
    log: str = field(compare=False)
    timeout: int = 3600

    def shown(self) -> str:
        """As virt-customize(1). The script is a file that root alone reads: hashes of passwords are in it."""
        return f"virt-customize --format {self.format} --add {shlex.quote(self.path)} --run first-boot"

    def journalled(self) -> dict[str, object]:
        """Without what is done to it."""
        return {"effect": "customize-image", "path": self.path, "instance": self.boot.instance}


@dataclass(frozen=True, slots=True)
class AwaitFirstBoot(Effect):
    """Wait in a guest until cloud-init has done all that it does at a boot. FAILED where it tells an error.

    What it could go on from (exit status 2) is none.
    """

    timeout: int = 1800

    def shown(self) -> str:
        """As cloud-init(1)."""
        return "cloud-init status --wait"
