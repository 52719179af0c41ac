"""What is said of a guest to be by either method."""

from __future__ import annotations

from collections.abc import Iterator

from cxlstate.core.diagnostic import Diagnostic, Severity
from cxlstate.core.exports import GuestToBe
from cxlstate.core.reconciler import Resource
from cxlstate.resources.provision import made
from cxlstate.resources.provision.spec import Provision

Me = Resource[Provision]


def was_there(vm: str) -> Diagnostic:
    """A guest of which nothing says that it was provisioned."""
    return Diagnostic(
        "CXP402",
        f"the guest in {vm} was there before, and is not provisioned",
        Severity.WARNING,
        found=f"a VM {vm} of which nothing says that cxlstate has provisioned it",
        expected="a VM and a disk that this spec makes",
        hint="remove `provision`, and say the rest with `users`, `sshd` and `files` of the guest",
    )


def otherwise(me: Me, vm: GuestToBe, kept: str) -> Iterator[Diagnostic]:
    """A spec that says something else than what the guest was made from."""
    if differs := made.otherwise(kept, me.spec, vm.macs):
        yield Diagnostic(
            "CXP403",
            f"the guest in {me.vm} was provisioned otherwise",
            Severity.WARNING,
            found=f"{', '.join(differs)}: not as when it was provisioned",
            expected="what it was made from: a guest is provisioned once",
            hint="say it with `users`, `sshd` and `files` of the guest, which change one that is there",
        )


def impossible(me: Me, vm: GuestToBe) -> Iterator[Diagnostic]:
    """What no guest can be made from."""
    if me.spec.network and not vm.macs:
        yield Diagnostic(
            "CXP407",
            f"{me.vm} has no interface that could ask for an address",
            path=("network",),
            found="no `interfaces` in the VM",
            expected="an interface with its MAC address",
            hint=f"add one to vms.{me.vm}.interfaces, or remove `network`",
        )
    for name, user in me.spec.users.items():
        secret = user.account(name).password
        if secret is not None and (not secret.reveal() or b"\0" in secret.reveal()):
            yield Diagnostic(
                "CXP406",
                f"{name} cannot have this password",
                path=("users", name, "password"),
                found=f"what {user.password} gives is empty, or has a NUL in it",
                expected="a password",
                hint="see what is there; remove `password` for a user who logs in with a key",
            )
