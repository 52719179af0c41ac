"""Users and groups, in `etc/passwd` and `etc/group`: getent, gpasswd, usermod, groupadd.

Texts and statuses as of Debian's passwd package; passwd(5), group(5), getent(1), gpasswd(1), usermod(8).
"""

from __future__ import annotations

from collections.abc import Sequence

from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.files import Files

GROUP = "/etc/group"
USERS = "/etc/passwd"
SHADOW = "/etc/shadow"
_DATABASES = {"group": GROUP, "passwd": USERS, "shadow": SHADOW}
_GETENT_NOT_FOUND = 2
_GPASSWD_FAILED = 3
_USERMOD_NOT_FOUND = 6
_FIRST_SYSTEM_GID = 100


class Accounts:
    """The accounts of one machine; every change is written to its files."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def getent(self, words: Sequence[str]) -> Ended:
        """`getent group|passwd [KEY…]`: status 2 where any key is missing; the others are still shown."""
        database, *keys = words
        if database not in _DATABASES:
            return unknown(("getent", *words))
        try:
            lines = self._files.text(_DATABASES[database]).splitlines()
        except PermissionError:
            return Ended(_GETENT_NOT_FOUND)  # as getent(1): it does not say why
        if not keys:
            return Ended(stdout="".join(f"{line}\n" for line in lines))
        found = [_find(lines, key) for key in keys]
        shown = "".join(f"{line}\n" for line in found if line is not None)
        return Ended(_GETENT_NOT_FOUND if None in found else 0, stdout=shown)

    def gpasswd(self, words: Sequence[str]) -> Ended:
        """`gpasswd -a|-d USER GROUP`."""
        match list(words):
            case [("-a" | "--add") as verb, user, group] | [("-d" | "--delete") as verb, user, group]:
                adds = verb in ("-a", "--add")
            case _:
                return unknown(("gpasswd", *words))
        members = self._members(group)
        if not self._user_exists(user) and adds:
            return _gpasswd_failed(f"user '{user}' does not exist")
        if members is None:
            return _gpasswd_failed(f"group '{group}' does not exist in {GROUP}")
        did = f"Adding user {user} to group {group}" if adds else f"Removing user {user} from group {group}"
        if not adds and user not in members:
            failed = _gpasswd_failed(f"user '{user}' is not a member of '{group}'")
            return Ended(failed.status, f"{did}\n", failed.stderr)
        self._set_members(group, [*(one for one in members if one != user), *([user] if adds else [])])
        return Ended(stdout=f"{did}\n")

    def usermod(self, words: Sequence[str]) -> Ended:
        """`usermod -aG GROUP[,GROUP…] USER` (also written `-a -G`, `--append --groups`)."""
        match list(words):
            case ["-aG", names, user] | ["-a", "-G", names, user] | ["--append", "--groups", names, user]:
                groups = names.split(",")
            case _:
                return unknown(("usermod", *words))
        if not self._user_exists(user):
            return Ended(_USERMOD_NOT_FOUND, stderr=f"usermod: user '{user}' does not exist\n")
        missing = [group for group in groups if self._members(group) is None]
        if missing:
            said = "".join(f"usermod: group '{group}' does not exist\n" for group in missing)
            return Ended(_USERMOD_NOT_FOUND, stderr=said)
        for group in groups:
            members = self._members(group) or []
            if user not in members:
                self._set_members(group, [*members, user])
        return Ended()

    def set_hash(self, user: str, hash_: str) -> Ended:
        """`chpasswd --encrypted` of one user."""
        lines = self._files.text(SHADOW).splitlines()
        if not self._user_exists(user):
            said = f"chpasswd: (user {user}) pam_chauthtok() failed, error:\n"
            return Ended(1, stderr=f"{said}chpasswd: (line 1, user {user}) password not changed\n")
        kept = [line for line in lines if line.split(":")[0] != user]
        self._write([*kept, f"{user}:{hash_}:20000:0:99999:7:::"], SHADOW, mode=0o640)
        return Ended()

    def add_group(self, name: str) -> None:
        """Make a system group, as a package's script does; one that is there stays as it is."""
        lines = self._files.text(GROUP).splitlines()
        if _find(lines, name) is not None:
            return
        taken = {int(line.split(":")[2]) for line in lines}
        number = next(gid for gid in range(999, _FIRST_SYSTEM_GID, -1) if gid not in taken)
        self._write([*lines, f"{name}:x:{number}:"])

    def _user_exists(self, name: str) -> bool:
        return _find(self._files.text(USERS).splitlines(), name) is not None

    def _members(self, group: str) -> list[str] | None:
        line = _find(self._files.text(GROUP).splitlines(), group)
        return None if line is None else [name for name in line.split(":")[3].split(",") if name]

    def _set_members(self, group: str, members: list[str]) -> None:
        self._write(
            [
                ":".join([*line.split(":")[:3], ",".join(members)]) if line.split(":")[0] == group else line
                for line in self._files.text(GROUP).splitlines()
            ]
        )

    def _write(self, lines: Sequence[str], path: str = GROUP, mode: int = 0o644) -> None:
        self._files.write(path, "".join(f"{line}\n" for line in lines).encode(), mode=mode)


def _find(lines: Sequence[str], key: str) -> str | None:
    """The line of a name or of a number."""
    for line in lines:
        fields = line.split(":")
        if key in (fields[0], fields[2]):
            return line
    return None


def _gpasswd_failed(reason: str) -> Ended:
    return Ended(_GPASSWD_FAILED, stderr=f"gpasswd: {reason}\n")
