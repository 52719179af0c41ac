"""What is to be done, as data: actions, and the effects on files and programs that any kind may use."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from cxlstate.core.address import Address
from cxlstate.core.effect import Effect
from cxlstate.core.fragment import Fragment
from cxlstate.core.secret import Secret


class Risk(StrEnum):
    """What an action interrupts or destroys. No class implies another."""

    LIVE = "live"
    NETWORK_BLIP = "network-blip"
    RESTART_VM = "restart-vm"
    POWER_OFF_VM = "power-off-vm"
    REBOOT_GUEST = "reboot-guest"
    REBOOT_HOST = "reboot-host"
    FOREIGN_BOOT = "foreign-boot"
    DESTROY_DATA = "destroy-data"


@dataclass(frozen=True, slots=True)
class WriteFile(Effect):
    """Replace a file atomically. Owner and mode of an existing file are kept; `mode` is for a new one.

    `expected` is the SHA-256 of the content that was seen at plan time (None: the file was absent):
    another content at that moment stops the action, so that nobody's edit is lost.
    """

    path: str
    content: bytes
    expected: str | None = None
    mode: int = 0o644

    def shown(self) -> str:
        """Without the content, which may be long."""
        return f"write {shlex.quote(self.path)}"

    def journalled(self) -> dict[str, object]:
        """With the hash of what the file then holds: what it held is in the store."""
        return {"effect": "write-file", "path": self.path, "after": sha256(self.content).hexdigest()}


@dataclass(frozen=True, slots=True)
class RemoveFile(Effect):
    """Remove a file if its content still has the SHA-256 `expected`; of a `Secret` nothing is kept."""

    path: str
    expected: str | Secret

    @property
    def expects(self) -> str:
        """The hash of what is there, for what compares it."""
        return self.expected.reveal().decode() if isinstance(self.expected, Secret) else self.expected

    @property
    def secret(self) -> bool:
        """Whether nothing of the content may be kept or shown."""
        return isinstance(self.expected, Secret)

    def shown(self) -> str:
        """As rm(1)."""
        return f"rm {shlex.quote(self.path)}"

    def journalled(self) -> dict[str, object]:
        """With its path: what the file held is in the store, unless it is secret."""
        return {"effect": "remove-file", "path": self.path}


@dataclass(frozen=True, slots=True)
class Run(Effect):
    """Run a program: a list of arguments, never a shell string.

    Actions of several resources with the same `argv` are run once with all their `operands`.
    `typed` is `argv` as a person would have typed it, for plans that people read; operands follow it.
    `unless` is a path: where there is anything at that moment, the machine is not as the plan saw it,
    and the program is not run. `log` is a file that keeps what it says, while it runs and afterwards.
    """

    argv: tuple[str, ...]
    operands: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    timeout: int = 1800
    typed: str = field(default="", compare=False)
    unless: str = ""
    log: str = field(default="", compare=False)

    def shown(self) -> str:
        """Without what only matters to a program."""
        return self._line(self.typed or shlex.join(self.argv))

    def exact(self) -> str:
        """With every argument."""
        return self._line(shlex.join(self.argv))

    def journalled(self) -> dict[str, object]:
        """With all arguments, and without the environment."""
        return {"effect": "run", "argv": [*self.argv, *self.operands]}

    def _line(self, command: str) -> str:
        return " ".join((command, *map(shlex.quote, self.operands)))


@dataclass(frozen=True, slots=True)
class Generate(Effect):
    """Let a program write a file to a place of its own, look at it, and only then put it in place.

    `argv` is completed with the path of the temporary file. `predicted` is what the file must be,
    runs of blanks counted as one: any other difference from it is not ours, and is refused unless
    `foreign` says that there is consent. `must_hold` are texts every one of which has to be in it,
    whatever else is.
    """

    path: str
    argv: tuple[str, ...]
    predicted: bytes
    must_hold: tuple[str, ...] = ()
    expected: str | None = None
    foreign: bool = False
    timeout: int = 600

    def shown(self) -> str:
        """As if the program wrote to the place itself."""
        return shlex.join((*self.argv, self.path))

    def journalled(self) -> dict[str, object]:
        """With its path: what the file held is in the store."""
        return {"effect": "generate", "path": self.path}


@dataclass(frozen=True, slots=True)
class Step(Effect):
    """One step of the script that also runs at boot: a verb of a kind's fragment and its words.

    What it acts on is found on the machine at that moment, by address or by content. `typed` is what
    it comes to, as a person would have typed it.
    """

    fragment: Fragment
    words: tuple[str, ...]
    typed: str = field(compare=False)
    timeout: int = 600

    def shown(self) -> str:
        """What it comes to."""
        return self.typed

    def journalled(self) -> dict[str, object]:
        """With its words, and without the script."""
        return {"effect": "step", "words": list(self.words)}


@dataclass(frozen=True, slots=True)
class Reboot(Effect):
    """Reboot the machine and wait for a new boot id."""

    def shown(self) -> str:
        """As systemctl(1)."""
        return "systemctl reboot"


@dataclass(frozen=True, slots=True)
class Span:
    """Physical memory from `start` up to but not including `end`, in bytes."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Action:
    """One step of what closes a difference.

    `activation` marks one that only puts into force what is already written: without consent it
    stays *pending*, where any other leaves the whole resource untouched and *refused*.
    `suspends` is memory that nobody may use meanwhile: the engine puts before it what takes the
    devices of that memory out of use, and behind it what puts them back. `interrupts` is whom the risk
    is about, where that is not the resource itself: consent may name either. `undo` leads back where a
    later action of the resource fails: in the order in which it is written, and with no undo of its own.
    What allowed the action allows its way back. `on_parent`: of a guest's resource, done on its host, and
    so is its undo.
    """

    does: str
    effect: Effect
    risk: Risk = Risk.LIVE
    why: str = ""
    undo: tuple[Action, ...] = ()
    activation: bool = False
    suspends: tuple[Span, ...] = ()
    interrupts: Address | None = None
    on_parent: bool = False


def effect_types(actions: Iterable[Action]) -> tuple[type[Effect], ...]:
    """Of all that they may do: their undo included, each once."""
    every = (one for action in actions for one in (action, *action.undo))
    return tuple(dict.fromkeys(type(one.effect) for one in every))


def undoing(*effects: Effect) -> tuple[Action, ...]:
    """The way back by these effects, in this order, each told as the command that it is."""
    return tuple(Action(effect.shown(), effect) for effect in effects)
