"""cloud-init of the machine in a domain: its first boot with a NoCloud seed, and what it says of it.

Sources: as `formats/cloud_init.py`. It begins anew where the seed has another instance than the disk.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cxlstate.formats import cloud_init, first_boot_script, seed_iso
from cxlstate.simulator.accounts import USERS, Accounts
from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.files import Files
from cxlstate.simulator.world import World

_RESULT: Final = "/run/cloud-init/status.json"
_INSTANCE: Final = "/var/lib/cloud/data/instance-id"
_INSTANCES: Final = "/var/lib/cloud/instances"
OFFLINE: Final = "offline"
"""A file that says of those of a seed that virt-customize has done what they say."""
_MARK: Final = b"\n-- customized --\n"
_ESCAPED: Final = re.compile(r"\\U([0-9a-f]{8})")


def seed_of(content: bytes) -> dict[str, bytes] | None:
    """The files of a seed; None of another disk."""
    try:
        label, files = seed_iso.read(content)
    except ValueError:
        return None
    return files if label == seed_iso.LABEL and {"meta-data", "user-data"} <= files.keys() else None


def kept(seed: Mapping[str, bytes]) -> bytes:
    """How an image holds it, behind its header."""
    return _MARK + json.dumps({name: b64encode(one).decode() for name, one in seed.items()}).encode()


def made_of(image: bytes) -> dict[str, bytes] | None:
    """What virt-customize made of the system in an image, as the files of a seed."""
    _, mark, text = image.partition(_MARK)
    return {name: b64decode(one) for name, one in json.loads(text).items()} if mark else None


class CloudInit:
    """One machine's."""

    def __init__(self, world: World, files: Files) -> None:
        self._files = files
        self._accounts = Accounts(files, world.owners)
        self._owners = world.owners
        self._running = world.running.files

    def boot(self, seed: dict[str, bytes] | None) -> None:
        """What it does when the machine boots: nothing without a seed, or where it is kept from starting."""
        if seed is None or self._files.exists(cloud_init.DISABLED):
            return
        if OFFLINE in seed:
            self._customized(seed)
            return
        try:
            name = str(_read(seed["meta-data"])["instance-id"])
            if self._files.text(_INSTANCE).strip() != name:
                self._first(name, seed["user-data"])
            said = {"status": "done", "boot_status_code": "enabled-by-generator", "errors": []}
        except (KeyError, TypeError, ValueError) as odd:
            said = {"status": "error", "boot_status_code": "enabled-by-generator", "errors": [str(odd)]}
        self._running[_RESULT] = json.dumps({**said, "recoverable_errors": {}})

    def _customized(self, seed: dict[str, bytes]) -> None:
        """The disk that it boots from has all of it already, and cloud-init is off."""
        self._make(_read(seed["user-data"].removeprefix(b"#cloud-config\n")))
        name = _read(seed["meta-data"])["instance-id"]
        self._files.write(first_boot_script.TOLD, f"{name}\n".encode(), mode=0o644)
        self._files.write(cloud_init.DISABLED, b"", mode=0o644)

    def run(self, words: Sequence[str]) -> Ended:
        """`cloud-init status [--format json]`, or `--wait`: it is always done by the time it is asked."""
        if list(words) not in (["status", "--format", "json"], ["status", "--wait", "--long"]):
            return unknown(("cloud-init", *words))
        text = self._running.get(_RESULT) or json.dumps(
            {"status": "disabled", "boot_status_code": self._why()}
        )
        return Ended(int(json.loads(text)["status"] == "error"), f"{text}\n")

    def _why(self) -> str:
        marked = self._files.exists(cloud_init.DISABLED)
        return "disabled-by-marker-file" if marked else "disabled-by-generator"

    def _first(self, name: str, user_data: bytes) -> None:
        if not user_data.startswith(b"#cloud-config\n"):
            raise ValueError("user-data is no cloud-config")
        self._make(_read(user_data.removeprefix(b"#cloud-config\n")))
        for path in cloud_init.leftovers(name):
            self._files.write(path, user_data, mode=0o600)
        self._files.write(f"{_INSTANCES}/{name}/boot-finished", b"", mode=0o644)
        self._files.write(_INSTANCE, f"{name}\n".encode(), mode=0o644)

    def _make(self, said: dict[str, Any]) -> None:
        for user in said["users"]:
            if user != "default":
                self._user(user)
        if hostname := said.get("hostname"):
            self._files.write("/etc/hostname", f"{hostname}\n".encode(), mode=0o644)

    def _user(self, said: dict[str, Any]) -> None:
        name = said["name"]
        home = "/root" if name == "root" else f"/home/{name}"
        if f"\n{name}:" not in f"\n{self._files.text(USERS)}":
            shell = ["--shell", said["shell"]] if "shell" in said else []
            self._accounts.useradd(["--create-home", "--home-dir", home, *shell, "--user-group", name])
            for group in said.get("groups", ()):
                self._accounts.add_group(group)
                self._accounts.gpasswd(["--add", name, group])
        if "hashed_passwd" in said:
            self._accounts.set_hash(name, said["hashed_passwd"])
        if keys := said.get("ssh_authorized_keys"):
            path = f"{home}/.ssh/authorized_keys"
            self._files.write(path, "".join(f"{key}\n" for key in keys).encode(), mode=0o600)
            group = self._accounts.login_group(name)
            self._owners |= dict.fromkeys((path, f"{home}/.ssh"), f"{name}:{group}")


def _read(content: bytes) -> Any:
    """JSON with YAML's escape for what is not ASCII, which is all that our own seeds are."""
    return json.loads(_ESCAPED.sub(lambda one: json.dumps(chr(int(one[1], 16)))[1:-1], content.decode()))
