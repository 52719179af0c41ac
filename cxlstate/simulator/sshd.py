"""sshd(8) of the simulated machine: what it has in force, and whether it takes its configuration.

Texts and statuses as of OpenSSH 9.2 and 10.0. Of the keywords only those of `sshd` in a spec have values, and
those that name users and groups; lines with any other that it knows are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cxlstate.formats.sshd_config import FOLDER, MAIN, Directive, directives, plain
from cxlstate.simulator.accounts import Accounts
from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.files import Files
from cxlstate.simulator.world import World

_DEFAULTS = {
    "permitrootlogin": "without-password",
    "pubkeyauthentication": "yes",
    "passwordauthentication": "yes",
    "kbdinteractiveauthentication": "yes",
    "allowtcpforwarding": "yes",
}
_BOOLEAN = ("yes", "no")
_VALUES = {
    "permitrootlogin": (*_BOOLEAN, "prohibit-password", "forced-commands-only"),
    "allowtcpforwarding": (*_BOOLEAN, "all", "local", "remote"),
}
_LISTS = ("allowusers", "denyusers", "allowgroups", "denygroups")
_KNOWN = {
    *_DEFAULTS,
    *_LISTS,
    "usepam",
    "x11forwarding",
    "printmotd",
    "acceptenv",
    "subsystem",
    "port",
    "loglevel",
}
_INVALID = 255


class Sshd:
    """The server by the files of one machine."""

    def __init__(self, world: World, files: Files) -> None:
        self._world = world
        self._files = files

    def run(self, words: Sequence[str]) -> Ended:
        """`sshd -t`, `-T`, `-G`, and `-T -C` for nobody that a line is about."""
        if list(words[:1]) not in (["-t"], ["-T"], ["-G"]) or list(words[1:2]) not in ([], ["-C"]):
            return unknown(("sshd", *words))
        if "openssh-server" not in self._world.installed:
            return Ended(127, stderr="sh: sshd: not found\n")
        if not self._world.login.root:
            return Ended(1, stderr="sshd: no hostkeys available -- exiting.\n")
        if "ssh.service" not in self._world.running.units and words[0] != "-G" and not self._has_folder:
            return Ended(_INVALID, stderr="Missing privilege separation directory: /run/sshd\n")
        if complaint := next(self._complaints(), None):
            return Ended(_INVALID, stderr=complaint)
        return Ended() if words[0] == "-t" else Ended(stdout=self._effective(None))

    def login(self) -> str:
        """The answer to `SshLogin`: simulated machines are reached as if by SSH."""
        user = self._world.login.user
        told = "" if next(self._complaints(), None) else self._effective(user)
        groups = " ".join(Accounts(self._files, self._world.owners).groups(user))
        return f"login user {user}\nlogin client 192.0.2.1\nlogin groups {groups}\n{told}"

    @property
    def _has_folder(self) -> bool:
        return self._files.real("/run/sshd").is_dir()

    def _effective(self, user: str | None) -> str:
        values: dict[str, str] = {}
        found = list(self._directives())
        for one in (*(one for one in found if one.match and _matches(one.match, user)), *found):
            if one.keyword in _DEFAULTS and (one.match is None or _matches(one.match, user)):
                values.setdefault(one.keyword, plain(one.value))
        shown = {**_DEFAULTS, **values}
        words = {key: value.replace("prohibit-password", "without-password") for key, value in shown.items()}
        lists = [f"{key} {one}\n" for key in _LISTS for one in self._listed(found, key, user)]
        return "".join([*(f"{key} {value}\n" for key, value in words.items()), *lists])

    @staticmethod
    def _listed(found: list[Directive], key: str, user: str | None) -> list[str]:
        """All lines together; those of a `Match` take the place of the others."""
        of = [one for one in found if one.keyword == key]
        within = [one for one in of if one.match and _matches(one.match, user)]
        outside = [one for one in of if one.match is None]
        return [name for one in within or outside for name in one.value.split()]

    def _directives(self) -> Iterator[Directive]:
        paths = [MAIN, *self._files.glob(f"{FOLDER}/*")]
        return directives({path: self._files.text(path) for path in paths if self._files.is_file(path)})

    def _complaints(self) -> Iterator[str]:
        for one in self._directives():
            if one.keyword not in _KNOWN:
                end = f"{one.file}: terminating, 1 bad configuration options\n"
                yield f"{one.file}: line {one.line}: Bad configuration option: {one.keyword}\n{end}"
            elif one.keyword in _DEFAULTS and plain(one.value) not in _VALUES.get(one.keyword, _BOOLEAN):
                yield f'{one.file} line {one.line}: unsupported option "{one.value}".\n'


def _matches(rule: str, user: str | None) -> bool:
    """`Match all` and `Match User NAME[,NAME…]`."""
    match rule.lower().split():
        case ["all"]:
            return True
        case ["user", names]:
            return user is not None and user in names.split(",")
    return False
