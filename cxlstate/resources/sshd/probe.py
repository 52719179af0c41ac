"""What sshd has in force, for anybody and for us, and whether the daemon has read our drop-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cxlstate.core.answers import Answers, ReadFailed, failure
from cxlstate.core.read import Command, Included, Read, SshLogin
from cxlstate.formats import sshd_config, sshd_login, units
from cxlstate.formats.inode import inode_of, stat
from cxlstate.formats.sshd_config import DROP_IN, FOLDER, MAIN
from cxlstate.formats.sshd_login import Comer

# `-T` needs the keys of the host and /run/sshd, which is there while the daemon runs; `-G` (OpenSSH 9.3)
# needs neither. Where there is a `Match`, 7.7 and some that follow want to be told of a connection
# ("'Match User' in configuration but 'user' not in connection test specification").
EFFECTIVE: Final = Command(
    ("sshd", "-T", "-C", "user=,host=,addr=192.0.2.1,laddr=192.0.2.2,lport=1")  # nobody that a line is about
)
WITHOUT_DAEMON: Final = Command(("sshd", "-G"))
NO_FOLDER: Final = "Missing privilege separation directory"
FILES: Final = Included(MAIN)
# A unit last changed its state when it was reloaded or later (unit_notify in systemd's src/core/unit.c).
UNITS: Final = Command(
    ("systemctl", "show", "--property=Id,Names,LoadState,ActiveState,StateChangeTimestamp"),
    ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket"),
)
_STATS: Final = (stat(DROP_IN), stat(MAIN), stat(FOLDER))
READS: Final[tuple[Read, ...]] = (EFFECTIVE, WITHOUT_DAEMON, SshLogin(), FILES, *_STATS, UNITS)
CHALLENGE: Final = "ChallengeResponseAuthentication"
_INVALID: Final = 255
_ACTIVE: Final = ("active", "reloading")


@dataclass(frozen=True, slots=True)
class Unit:
    """The daemon's: `since` is when it last read its configuration, seconds since the epoch."""

    name: str
    active: bool
    since: int


@dataclass(frozen=True, slots=True)
class Login:
    """Our own way in; without a client it was none by SSH. `closed` is what does not let us in any more."""

    user: str
    client: str | None
    effective: Mapping[str, str]
    closed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SshdLive:
    """`broken` is what sshd says to a configuration that it does not take; then `effective` is empty.

    `files` are all that sshd reads, by path; `changed` is when our drop-in was written. Behind a `socket` the
    daemon does not listen itself.
    """

    effective: Mapping[str, str]
    broken: str | None
    login: Login
    files: Mapping[str, str]
    changed: int | None
    unit: Unit | None
    lacks_folder: bool = False
    socket: bool = False
    others: Mapping[str, int] = field(default_factory=dict)  # when the main file and the folder were changed

    @property
    def ours(self) -> str | None:
        """Our drop-in."""
        return self.files.get(DROP_IN)

    @property
    def two_words(self) -> bool:
        """Whether challenge-response is a word of its own, which opens what the other closed (before 8.7)."""
        return CHALLENGE.lower() in self.effective

    @property
    def outdated(self) -> str | None:
        """What was changed after the daemon had read it: our drop-in, the main file, or the folder."""
        unit = self.unit
        if unit is None or not unit.active:
            return None
        ours = {} if self.changed is None else {DROP_IN: self.changed}
        return next((path for path, at in {**ours, **self.others}.items() if at > unit.since), None)


def parse(answers: Answers) -> SshdLive:
    """Raises ReadFailed."""
    files = answers.files(FILES)
    inode = inode_of(DROP_IN, answers)
    unit, socket = (
        unit_of(answers),
        any(one["Id"].endswith(".socket") and _runs(one) for one in _units(answers)),
    )
    effective, broken, lacks_folder = _effective(answers)
    changed = inode.changed if inode else None
    others = dict(_changes(answers))
    return SshdLive(effective, broken, _login(answers), files, changed, unit, lacks_folder, socket, others)


def _changes(answers: Answers) -> Iterator[tuple[str, int]]:
    """A line that decided before, and is gone, still holds in a daemon that has not been reloaded."""
    for path in (MAIN, FOLDER):
        if inode := inode_of(path, answers):
            yield path, inode.changed


def unit_of(answers: Answers) -> Unit | None:
    """`ssh` on Debian, `sshd` elsewhere; None: systemd knows neither. Raises ReadFailed."""
    for said in _units(answers):
        if said["Id"].endswith(".service") and said.get("LoadState") == "loaded":
            try:
                since = units.since(said.get("StateChangeTimestamp", ""))
            except ValueError as error:
                raise ReadFailed(UNITS, f"systemctl does not say since when {said['Id']} is so") from error
            return Unit(said["Id"], _runs(said), since)
    return None


def _units(answers: Answers) -> list[dict[str, str]]:
    blocks = answers.text(UNITS).split("\n\n")
    found = [dict(line.partition("=")[::2] for line in one.splitlines() if "=" in line) for one in blocks]
    return [one for one in found if "Id" in one]


def _runs(unit: Mapping[str, str]) -> bool:
    return unit.get("ActiveState") in _ACTIVE


def _effective(answers: Answers) -> tuple[Mapping[str, str], str | None, bool]:
    """Values, or what sshd has against the configuration; and whether /run/sshd is missing."""
    answer = answers.raw(EFFECTIVE)
    lacks_folder = NO_FOLDER in answer.stderr
    if lacks_folder and answers.raw(WITHOUT_DAEMON).status == 0:
        answer = answers.raw(WITHOUT_DAEMON)
    if answer.status == 0:
        return sshd_config.effective(answer.text), None, lacks_folder
    if lacks_folder:
        raise ReadFailed(EFFECTIVE, f"sshd: {NO_FOLDER}: /run/sshd, and its -G option is not there")
    # 255: it does not take its configuration; 1: no host keys (sshd.c). All else is none of that.
    if answer.status == _INVALID and answer.stderr.strip():
        return {}, answer.stderr.strip().splitlines()[0], lacks_folder
    raise failure(EFFECTIVE, answer)


def _login(answers: Answers) -> Login:
    """What sshd says of a broken configuration is told by `EFFECTIVE`."""
    lines = answers.raw(SshLogin()).text.splitlines()
    said = dict(line.split(" ", 2)[1:] for line in lines if line.startswith("login ") and line.count(" ") > 1)
    if "user" not in said:
        answers.text(SshLogin())  # it failed: ReadFailed
        raise ReadFailed(SshLogin(), "the machine does not say who we are")
    effective = "\n".join(line for line in lines if not line.startswith("login "))
    groups = frozenset(said["groups"].split()) if said.get("groups") else None
    comer = Comer(said["user"], groups, said.get("client", ""), said.get("server", ""), said.get("keys"))
    closed = dict(sshd_login.closing(effective, comer))
    return Login(said["user"], said.get("client"), sshd_config.effective(effective), closed)
