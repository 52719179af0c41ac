"""What may be said of the first boot of a guest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.first_boot import Account
from cxlstate.core.model import Model, check, problem
from cxlstate.core.reference import SecretReference
from cxlstate.core.secret import Secret
from cxlstate.words.accounts import AbsolutePath, GroupName, Keys, UserName, lines

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL})*"
_HOST_MOST = 64  # HOST_NAME_MAX of Linux


def _hostname(text: str) -> str:
    if len(text) > _HOST_MOST or not re.fullmatch(_HOST, text):
        raise problem(
            "CXP410",
            "invalid host name",
            found=text[:80],
            expected=f"letters, digits, hyphens and dots, at most {_HOST_MOST}",
            hint=f"write {text.replace('_', '-')}" if re.fullmatch(_HOST, text.replace("_", "-")) else None,
        )
    return text


HostName = Annotated[
    str,
    AfterValidator(_hostname),
    WithJsonSchema({"type": "string", "pattern": f"^{_HOST}$", "maxLength": _HOST_MOST}),
]


class NewUser(Model):
    """A user of the new guest."""

    groups: Annotated[tuple[GroupName, ...], Field(strict=False)] = Field(default=(), examples=[["sudo"]])
    """Groups that it is in; those that the image does not have are made."""

    shell: AbsolutePath | None = Field(default=None, examples=["/bin/bash"])
    """What it works in once it has logged in."""

    sudo: bool = False
    """Whether it may become root without a password, as cxlstate itself has to, where it logs in by SSH."""

    authorized_keys: Keys = Field(default=(), examples=[[{"file": "~/.ssh/id_ed25519.pub"}]])
    """Public keys that it can log in with: lines, or files beside the spec."""

    password: SecretReference | None = Field(default=None, examples=[{"env": "CXL_VMX_PASSWORD"}])
    """Its password, by reference. It is hashed on this computer, and is for the console: SSH takes none."""

    def account(self, name: str) -> Account:
        """As the seed has it. The newline at the end of a file or of what a command prints is no password."""
        secret = None
        if self.password and self.password.secret is not None:
            secret = Secret(self.password.value.reveal().rstrip(b"\r\n"), self.password.value.reference)
        keys = lines(self.authorized_keys)
        return Account(name, self.groups, self.shell or "", self.sudo, keys, secret)


class FirstNetwork(Model):
    """The network of the new guest."""

    dhcp4: bool
    """Whether each of the `interfaces` of the VM, known by its MAC address, asks for an IPv4 address."""


class Provision(Model):
    """What the first boot makes of the image. Done once, when the spec makes the VM and its disk."""

    method: Literal["cloud-init", "virt-customize"] = Field(examples=["cloud-init"])
    """`cloud-init`: a seed (NoCloud) that the guest finds at its first boot, and that is taken away then.
    `virt-customize`: the image itself, before there is a VM; the guest needs no cloud-init."""

    hostname: HostName | None = Field(default=None, examples=["cxl-vmx"])
    """What the guest is called."""

    users: Mapping[UserName, NewUser] = Field(default_factory=dict)
    """Who can log in, by name. Whoever the image has besides stays as it is."""

    network: FirstNetwork | None = None
    """The network. Left to the image unless written."""

    @property
    def seeded(self) -> bool:
        """Whether the VM is given a seed."""
        return self.method == "cloud-init"

    @check
    def _root_is_told(self) -> Iterator[Diagnostic]:
        if "root" in self.users and self.users["root"].authorized_keys:
            yield Diagnostic(
                "CXP405",
                "root can log in over SSH",
                Severity.WARNING,
                path=("users", "root", "authorized_keys"),
                found="authorized keys of root",
                expected="a user who may become root by sudo",
                hint="move the keys to a user with `sudo: true`",
            )
