"""What is to be done, as data. One executor performs it; one renderer shows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cxlstate.core.address import Address
from cxlstate.core.file import FileEffect
from cxlstate.core.image import ImageEffect
from cxlstate.core.libvirt import LibvirtEffect


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
class WriteFile:
    """Replace a file atomically. Owner and mode of an existing file are kept; `mode` is for a new one.

    `expected` is the SHA-256 of the content that was seen at plan time (None: the file was absent):
    another content at that moment stops the action, so that nobody's edit is lost.
    """

    path: str
    content: bytes
    expected: str | None = None
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Remove a file if its content still has the SHA-256 `expected`."""

    path: str
    expected: str


@dataclass(frozen=True, slots=True)
class Run:
    """Run a program: a list of arguments, never a shell string.

    Actions of several resources with the same `argv` are run once with all their `operands`.
    `shown` is `argv` as a person would have typed it, for plans that people read; operands follow it.
    `unless` is a path: where there is anything at that moment, the machine is not as the plan saw it,
    and the program is not run.
    """

    argv: tuple[str, ...]
    operands: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    timeout: int = 1800
    shown: str = ""
    unless: str = ""


@dataclass(frozen=True, slots=True)
class Generate:
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


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the script that also runs at boot (`formats.restore`): a verb and its words.

    What it acts on is found on the machine at that moment, by address or by content. `shown` is what
    it comes to, as a person would have typed it.
    """

    words: tuple[str, ...]
    shown: str
    timeout: int = 600


@dataclass(frozen=True, slots=True)
class Reboot:
    """Reboot the machine and wait for a new boot id."""


@dataclass(frozen=True, slots=True)
class Span:
    """Physical memory from `start` up to but not including `end`, in bytes."""

    start: int
    end: int


Effect = WriteFile | RemoveFile | Run | Step | Generate | Reboot | FileEffect | LibvirtEffect | ImageEffect


@dataclass(frozen=True, slots=True)
class Action:
    """One step of what closes a difference.

    `activation` marks one that only puts into force what is already written: without consent it
    stays *pending*, where any other leaves the whole resource untouched and *refused*.
    `suspends` is memory that nobody may use meanwhile: the engine puts before it what takes the
    devices of that memory out of use, and behind it what puts them back. `interrupts` is whom the risk
    is about, where that is not the resource itself: consent may name either.
    """

    does: str
    effect: Effect
    risk: Risk = Risk.LIVE
    why: str = ""
    undo: tuple[Effect, ...] = ()
    activation: bool = False
    suspends: tuple[Span, ...] = ()
    interrupts: Address | None = None
