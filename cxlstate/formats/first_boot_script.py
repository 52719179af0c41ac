"""What virt-customize does to the disk of a new guest: the same that a seed has cloud-init do. Pure.

Verbs of `first_boot.sh`, called in quoted words. Host keys are made in the guest's own file system by its own
`ssh-keygen -A`, so that no private half is ever anywhere else, and their public halves are read from the disk
afterwards (`TOLD`): that is written last, and so says as well that all of it was done.

Sources: virt-customize(1) of guestfs-tools 1.48 and 1.52, `customize/customize_run.ml`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files

from cxlstate.core.first_boot import Account, FirstBoot
from cxlstate.core.secret import Secret
from cxlstate.formats import guest_files
from cxlstate.formats.sh import quote

TOLD = "/var/lib/cxlstate/provisioned"
"""In the guest: its instance, and then the public halves of its host keys."""

ROOT = "root"


def script(boot: FirstBoot, hashed: Callable[[Secret], str]) -> str:
    """All of it, with the hashes of passwords: for a file that root alone can read."""
    calls = (" ".join((verb, *map(quote, words))) for verb, *words in _calls(boot, hashed))
    return _verbs() + "\n".join(calls) + "\n"


def _calls(boot: FirstBoot, hashed: Callable[[Secret], str]) -> Iterator[tuple[str, ...]]:
    """What may be refused comes first, and what tells that all is done last."""
    yield ("new_machine",)
    if boot.hostname:
        yield ("call_it", boot.hostname)
    for one in boot.accounts:
        yield ("account", *_account(one, hashed))
    if boot.macs:
        yield ("network", "yes" if boot.dhcp4 else "no", *boot.macs)
    names = [one.name for one in boot.accounts]
    yield ("server", "prohibit-password" if ROOT in names else "no", *(one for one in names if one != ROOT))
    yield ("tell", boot.instance)


def _account(one: Account, hashed: Callable[[Secret], str]) -> tuple[str, ...]:
    sudo = "yes" if one.sudo else ""
    secret = hashed(one.password) if one.password else ""
    return (one.name, one.shell, sudo, secret, "\n".join(one.keys), *one.groups)


@cache
def _verbs() -> str:
    return files("cxlstate.formats").joinpath("first_boot.sh").read_text(encoding="utf-8")


# What its host keeps of it ------------------------------------------------------------------------------


def disk(vm: str) -> str:
    """A link to the image that was customised."""
    return guest_files.path(vm, "disk")


def identity(vm: str) -> str:
    """Which file that was, as stat(1) prints `IDENTITY` of it: its path may lead to a new image by now."""
    return guest_files.path(vm, "disk_identity")


def log(vm: str) -> str:
    """What virt-customize said of it."""
    return guest_files.path(vm, "virt-customize.log")


IDENTITY = "%i %W"
"""Inode and birth: they stay as long as it is this file. An inode alone may be another file's after it."""
