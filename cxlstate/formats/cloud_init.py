"""cloud-init's NoCloud seed, what `cloud-init status` says, and what a seed leaves in a guest. Pure.

Sources: cloud-init 22.4.2 and 25.1.4, `sources/DataSourceNoCloud.py`, `distros/__init__.py` (create_user),
`distros/ug_util.py`, `config/cc_set_passwords.py`, `cc_ssh.py`, `cmd/status.py`, `tools/ds-identify`; and a
first boot of Debian 13 with 25.1.4, where a seed is taken from a disk on virtio, and `leftovers` are all.
Texts are JSON, which is YAML that no parser takes for a date, a sexagesimal number or a boolean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cxlstate.core.first_boot import Account, FirstBoot
from cxlstate.core.secret import Secret
from cxlstate.formats import guest_files, ours

DISABLED: Final = "/etc/cloud/cloud-init.disabled"
"""Where it is there, cloud-init is not started at a boot (doc/rtd/howto/disable_cloud_init.rst)."""

LABEL: Final = "/dev/disk/by-label/cidata"
"""The seed, as a guest sees it."""

_FIRST_BOOT: Final = "first_boot"
_STATE: Final = "/var/lib/cloud/instances"
_LEFT: Final = ("user-data.txt", "user-data.txt.i", "cloud-config.txt", "obj.pkl")
_LEFT_IN_MEMORY: Final = (
    "/run/cloud-init/combined-cloud-config.json",
    "/run/cloud-init/instance-data-sensitive.json",
)
_ASKS_NOTHING: Final = "/etc/ssh/sshd_config.d/01-cxlstate-provision.conf"
_NO_QUESTIONS: Final = "KbdInteractiveAuthentication no\n"
"""`ssh_pwauth` is about PasswordAuthentication alone: PAM may ask for a password all the same."""
_ANY_COMMAND: Final = "ALL=(ALL) NOPASSWD:ALL"  # sudoers(5), as images give it to their own user

Hash = Callable[[Secret], str]
"""From a password to its hash, as crypt(5) has it."""


def seed(vm: str) -> str:
    """Where the host has the seed of a guest: in a folder that QEMU's user can enter."""
    return ours.seed(vm)


def made_from(vm: str) -> str:
    """Where the host keeps what the seed of a guest was made from."""
    return guest_files.path(vm, _FIRST_BOOT)


def made_from_all() -> str:
    """A pattern for that of each guest."""
    return guest_files.of_all(_FIRST_BOOT)


def instance(vm: str) -> str:
    """What a guest knows itself by: of its VM's name, so that a seed given again never makes it new.

    cloud-init takes a disk on which it finds another for a new machine, and deletes its host keys.
    """
    return f"cxlstate-{vm}"


# The seed --------------------------------------------------------------------------------------------


def files(boot: FirstBoot, hashed: Hash) -> Mapping[str, bytes]:
    """The files of the seed by name."""
    made = {
        "meta-data": _text(_meta_data(boot)),
        "user-data": f"#cloud-config\n{_text(_user_data(boot, hashed))}",
    }
    if boot.macs:
        made["network-config"] = _text(_network(boot))
    return {name: text.encode() for name, text in sorted(made.items())}


def _text(value: Mapping[str, Any]) -> str:
    """With YAML's own escape for what is not ASCII: some of it YAML takes for the end of a line."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return re.sub(r"[^\n -~]", lambda odd: f"\\U{ord(odd[0]):08x}", text)


def _meta_data(boot: FirstBoot) -> dict[str, Any]:
    return {"instance-id": boot.instance} | ({"local-hostname": boot.hostname} if boot.hostname else {})


def _user_data(boot: FirstBoot, hashed: Hash) -> dict[str, Any]:
    """Nobody logs in with a password, and root not at all unless it is among the users.

    `default` keeps the image's own user, as it is without a seed: nobody can log in as that one. Host keys
    that came with the image are made anew, and shown on the console, where the hypervisor can read them.
    """
    hashes = {one.name: hashed(one.password) for one in boot.accounts if one.password}
    of_root = any(one.name == "root" for one in boot.accounts)
    said: dict[str, Any] = {
        "users": ["default", *(_user(one, hashes.get(one.name)) for one in boot.accounts)],
        "ssh_pwauth": False,
        "write_files": [{"path": _ASKS_NOTHING, "content": _NO_QUESTIONS, "permissions": "0600"}],
        "disable_root": not of_root,
        "ssh_deletekeys": True,
        "ssh": {"emit_keys_to_console": True},
    }
    if boot.hostname:
        said |= {"hostname": boot.hostname, "preserve_hostname": False, "manage_etc_hosts": "localhost"}
    if hashes:
        # Once more: of the image's own user, what its configuration says (locked) beats what is said above.
        of_users = [{"name": name, "password": one, "type": "hash"} for name, one in hashes.items()]
        said["chpasswd"] = {"expire": False, "users": of_users}
    return said


def _user(one: Account, hashed: str | None) -> dict[str, Any]:
    """Never locked: that would take a password from a user who has one. A new user without one has `!`."""
    said: dict[str, Any] = {"name": one.name, "lock_passwd": False}
    said |= {"groups": list(one.groups)} if one.groups else {}
    said |= {"shell": one.shell} if one.shell else {}
    said |= {"sudo": _ANY_COMMAND} if one.sudo else {}
    said |= {"ssh_authorized_keys": list(one.keys)} if one.keys else {}
    return said | ({"hashed_passwd": hashed} if hashed else {})


def _network(boot: FirstBoot) -> dict[str, Any]:
    """By MAC address: what an interface is called is not known before the first boot."""
    ports = {
        f"port{number}": {"match": {"macaddress": mac}, "dhcp4": boot.dhcp4}
        for number, mac in enumerate(boot.macs)
    }
    return {"version": 2, "ethernets": ports}


# In the guest ----------------------------------------------------------------------------------------


def leftovers(name: str) -> tuple[str, ...]:
    """What holds the hashes of the seed after the boot of the instance `name`."""
    return (*(f"{_STATE}/{name}/{file}" for file in _LEFT), *_LEFT_IN_MEMORY)


@dataclass(frozen=True, slots=True)
class Status:
    """What cloud-init says of this boot: `running`, `done`, `error`, `disabled`, `not run`, and why."""

    state: str
    why: str = ""
    errors: tuple[str, ...] = ()
    recoverable: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether it is not at work any more, or never was."""
        return self.state not in ("running", "not run", "not started")


def status(text: str) -> Status:
    """Of `cloud-init status --format json`, whose exit status is 0 for *disabled*, too. ValueError."""
    try:
        said = json.loads(text)
        recoverable = said.get("recoverable_errors", {}).values()  # since 23.4: lists of texts by level
        return Status(
            state=str(said["status"]),
            why=str(said.get("boot_status_code") or said.get("detail") or ""),
            errors=tuple(map(str, said.get("errors", ()))),
            recoverable=tuple(dict.fromkeys(str(one) for several in recoverable for one in several)),
        )
    except (KeyError, TypeError, AttributeError) as odd:
        raise ValueError(f"{type(odd).__name__}: {odd}") from odd
