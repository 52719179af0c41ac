"""What systemd says of a unit, and of the socket that may start it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from cxlstate.core.answers import Answers, ReadFailed
from cxlstate.core.read import Command

# org.freedesktop.systemd1(5). `show` prints a block of `Key=value` lines a unit, blank lines between;
# keys come in an order of its own, those a unit does not have are missing.
_PROPERTIES = (
    *("Id", "Names", "LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload"),
    *("Result", "Type", "RemainAfterExit", "TriggeredBy", "Conflicts", "FragmentPath"),
)
_UP = ("active", "reloading", "refreshing")


def show(unit: str) -> Command:
    """One call for all units. The socket is asked for along: whether it is active belongs to the answer."""
    argv = ("systemctl", "show", f"--property={','.join(_PROPERTIES)}")
    return Command(argv, (unit, *([_socket_of(unit)] if unit.endswith(".service") else [])))


@dataclass(frozen=True, slots=True)
class UnitLive:
    """A unit that systemd knows. `socket` is its active socket, if it has one; `path` is its unit file."""

    id: str
    names: frozenset[str]
    load: str
    active: str
    sub: str
    file: str
    result: str
    needs_reload: bool
    runs_once: bool
    socket: str | None
    conflicts: frozenset[str] = frozenset()
    path: str = ""

    @property
    def masked(self) -> bool:
        """Linked to /dev/null, for good or until the next boot (`masked-runtime`)."""
        return self.load == "masked"

    @property
    def masked_for_good(self) -> bool:
        """By a link below /etc."""
        return self.masked and self.file != "masked-runtime"

    @property
    def enabled(self) -> bool:
        """By a link below /etc: `enabled-runtime` is gone at the next boot."""
        return self.file == "enabled"

    @property
    def running(self) -> bool:
        """Up, or with its socket in one of the states that it goes through by itself, again and again.

        `activating (auto-restart)` is none of them: so is a unit called that crashes all the time.
        """
        starts = self.active == "activating" and self.sub.startswith("start")
        by_itself = starts or self.active in ("inactive", "deactivating")
        return self.active in _UP or (by_itself and self.socket is not None)

    @property
    def state(self) -> str:
        """The state in words, for people: `failed (exit-code)`, `activating (auto-restart)`."""
        if self.active == "failed":
            return f"failed ({self.result})"
        return self.active if self.active in (*_UP, "inactive") else f"{self.active} ({self.sub})"


def parse(unit: str, answers: Answers) -> UnitLive | None:
    """None where there is no such unit. Raises ReadFailed."""
    read = show(unit)
    blocks = _blocks(answers.text(read))
    if unit not in blocks:
        raise ReadFailed(read, f"systemctl says nothing of {unit}")
    block = blocks[unit]
    if block.get("LoadState") == "not-found" and block.get("ActiveState") == "inactive":
        return None
    return UnitLive(
        id=block.get("Id", unit),
        names=frozenset(block.get("Names", "").split()),
        load=block.get("LoadState", ""),
        active=block.get("ActiveState", ""),
        sub=block.get("SubState", ""),
        file=block.get("UnitFileState", ""),
        result=block.get("Result", ""),
        needs_reload=block.get("NeedDaemonReload") == "yes",
        runs_once=block.get("Type") == "oneshot" and block.get("RemainAfterExit") == "no",
        socket=_active_socket(unit, block, blocks),
        conflicts=frozenset(block.get("Conflicts", "").split()),
        path=block.get("FragmentPath", ""),
    )


def _active_socket(
    unit: str, block: Mapping[str, str], blocks: Mapping[str, Mapping[str, str]]
) -> str | None:
    socket = _socket_of(unit)
    listens = blocks.get(socket, {}).get("ActiveState") == "active"
    return socket if listens and socket in block.get("TriggeredBy", "").split() else None


def _socket_of(unit: str) -> str:
    return f"{unit.removesuffix('.service')}.socket"


@lru_cache(maxsize=4)
def _blocks(text: str) -> Mapping[str, Mapping[str, str]]:
    """Every block under each of the unit's names: `ssh.service` is also `sshd.service`."""
    blocks: dict[str, Mapping[str, str]] = {}
    for part in text.split("\n\n"):
        block = dict(line.partition("=")[::2] for line in part.splitlines() if "=" in line)
        for name in {block.get("Id", ""), *block.get("Names", "").split()}:
            blocks[name] = block
    return blocks
