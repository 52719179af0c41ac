"""Users and groups, in `etc/passwd` and `etc/group`: getent, gpasswd, usermod, groupadd.

Texts and statuses as of Debian's passwd package; passwd(5), group(5), getent(1), gpasswd(1), usermod(8).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

from cxlstate.core.answers import Answer
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
_FIRST_PERSON, _LAST_PERSON = 1000, 60000
_SHELL = 3  # words of `--shell SHELL USER`


class Accounts:
    """The accounts of one machine; every change is written to its files."""

    def __init__(self, files: Files, owners: dict[str, str], stat: Callable[[str], str] = str) -> None:
        self._files = files
        self._owners = owners
        self._stat = stat

    def getent(self, words: Sequence[str]) -> Ended:
        """`getent group|passwd [KEY…]`: status 2 where any key is missing; the others are still shown."""
        database, *keys = [word for word in words if word != "--service=files"]
        if database == "initgroups":
            numbers = {name: self._numbers(name) for name in keys}
            return Ended(stdout="".join(f"{name:<21} {' '.join(of)}\n" for name, of in numbers.items()))
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

    def useradd(self, words: Sequence[str]) -> Ended:
        """`useradd --create-home --home-dir HOME [--shell SHELL] (--user-group | --gid GROUP) USER`."""
        match list(words):
            case ["--create-home", "--home-dir", home, *more, "--user-group", name]:
                group = name
            case ["--create-home", "--home-dir", home, *more, "--gid", group, name]:
                pass
            case _:
                return unknown(("useradd", *words))
        shell = more[1] if len(more) == 2 and more[0] == "--shell" else "/bin/sh"  # noqa: PLR2004  # and its value
        users, groups = self._lines(USERS), self._lines(GROUP)
        if _find(users, name) is not None:
            return Ended(9, stderr=f"useradd: user '{name}' already exists\n")
        if "--user-group" in words and _find(groups, name) is not None:
            said = f"useradd: group {name} exists - if you want to add this user to that group, use -g.\n"
            return Ended(9, stderr=said)
        number = (
            max(int(line.split(":")[2]) for line in (*users, *groups) if line.split(":")[2] < "60000") + 1
        )
        number = max(number, _FIRST_PERSON)
        if "--user-group" in words:
            self._write([*groups, f"{group}:x:{number}:"])
        gid = (_find(self._lines(GROUP), group) or "::100").split(":")[2]
        self._write([*users, f"{name}:x:{number}:{gid}::{home}:{shell}"], USERS)
        self._write([*self._lines(SHADOW), f"{name}:!:20000:0:99999:7:::"], SHADOW, mode=0o640)
        self._files.real(home).mkdir(parents=True, exist_ok=True)
        self._owners[home] = f"{name}:{group}"
        return Ended()

    def userdel(self, words: Sequence[str]) -> Ended:
        """`userdel [--remove] USER`."""
        *options, name = words
        if options not in ([], ["--remove"]):
            return unknown(("userdel", *words))
        users = self._lines(USERS)
        line = _find(users, name)
        if line is None:
            return Ended(_USERMOD_NOT_FOUND, stderr=f"userdel: user '{name}' does not exist\n")
        self._write([one for one in users if one != line], USERS)
        for path, mode in ((GROUP, 0o644), (SHADOW, 0o640)):
            kept = [one for one in self._lines(path) if one.split(":")[0] != name]
            self._write(kept, path, mode)
        for group in [one.split(":")[0] for one in self._lines(GROUP)]:
            members = self._members(group) or []
            self._set_members(group, [one for one in members if one != name])
        home = line.split(":")[5]
        if options and self._files.exists(home):
            shutil.rmtree(self._files.real(home))
            for path in [one for one in self._owners if one == home or one.startswith(f"{home}/")]:
                del self._owners[path]
        return Ended()

    def login_group(self, name: str) -> str:
        """The name of a user's primary group."""
        gid = (_find(self._lines(USERS), name) or ":::").split(":")[3]
        return (_find(self._lines(GROUP), gid) or "").split(":")[0]

    def _numbers(self, name: str) -> list[str]:
        lines = [line.split(":") for line in self._lines(GROUP)]
        return [line[2] for line in lines if name in line[3].split(",")]

    def groups(self, name: str) -> list[str]:
        """All of a user's, as id(1) prints them: the primary one first."""
        lines = [line.split(":") for line in self._lines(GROUP)]
        others = [line[0] for line in lines if name in line[3].split(",")]
        return [one for one in dict.fromkeys([self.login_group(name), *others]) if one]

    def authorized_keys(self, name: str) -> Answer:
        """The answer to `AuthorizedKeys`."""
        line = _find(self._lines(USERS), name)
        if line is None:
            return Answer(_GETENT_NOT_FOUND)
        home = self._files.inside(line.split(":")[5])
        paths = [home, f"{home}/.ssh", f"{home}/.ssh/authorized_keys"]
        there = [path for path in paths if self._files.exists(path) or self._files.link(path) is not None]
        said = "".join(f"{self._stat(path)}" for path in there)
        content = self._files.read(paths[2]) if self._files.is_file(paths[2]) else b""
        return Answer(0, f"home {home}\n{said}content\n".encode() + content)

    def usermod(self, words: Sequence[str]) -> Ended:
        """`usermod -aG GROUP[,GROUP…] USER` (also written `-a -G`, `--append --groups`), `--shell`."""
        if len(words) == _SHELL and words[0] == "--shell":
            return self._set_shell(words[1], words[2])
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

    def _set_shell(self, shell: str, name: str) -> Ended:
        users = self._lines(USERS)
        line = _find(users, name)
        if line is None:
            return Ended(_USERMOD_NOT_FOUND, stderr=f"usermod: user '{name}' does not exist\n")
        changed = ":".join((*line.split(":")[:6], shell))
        self._write([changed if one == line else one for one in users], USERS)
        return Ended()

    def _lines(self, path: str) -> list[str]:
        return self._files.text(path).splitlines()

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
