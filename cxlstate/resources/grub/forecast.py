"""What grub-mkconfig will write for a boot entry, told from what stands there now.

Source: GRUB 2.12 `util/grub.d/10_linux.in` with Debian's and Ubuntu's patches. A normal entry has
`GRUB_CMDLINE_LINUX` and `GRUB_CMDLINE_LINUX_DEFAULT`; a recovery entry `GRUB_CMDLINE_LINUX_RECOVERY`,
words of the script's own, and `GRUB_CMDLINE_LINUX`. On btrfs `rootflags=subvol=…` goes in front of
`GRUB_CMDLINE_LINUX`; Ubuntu puts `$vt_handoff` at the end where `splash` is among the defaults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cxlstate.formats import grub_script
from cxlstate.formats.grub_cfg import Entry
from cxlstate.formats.grub_drop_in import CommandLines

SCRIPTS_OWN: Final = frozenset({"single", "recovery", "nomodeset", "dis_ucode_ldr"})
"""What 10_linux itself puts into recovery entries; no configuration takes it away."""

_ROOTFLAGS: Final = "rootflags=subvol="
_VT_HANDOFF: Final = "$vt_handoff"

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """`words` will be the entry's arguments."""

    entry: Entry
    words: Words

    def foreign(self, is_ours: Callable[[str], bool]) -> Words:
        """What comes (`+ word`) or goes (`- word`) besides our own words; empty for nothing.

        Somebody edited the defaults and did not regenerate grub.cfg, or edited grub.cfg.
        """

        def others(words: Words) -> Words:
            return tuple(word for word in words if word != _VT_HANDOFF and not is_ours(word))

        now, then = others(self.entry.words), others(self.words)
        come, gone = Counter(then) - Counter(now), Counter(now) - Counter(then)
        words = (*(f"+ {word}" for word in come.elements()), *(f"- {word}" for word in gone.elements()))
        return words or (() if now == then else ("another order",))


def forecast(entry: Entry, so_far: Sequence[CommandLines], then: CommandLines) -> Forecast:
    """`so_far`: the values that grub.cfg may have been made with; the first is the hand-written one."""
    around = (one for lines in so_far if (one := _around(entry, lines)) is not None)
    return Forecast(entry, _compose(entry, next(around, None) or _guess(entry, so_far[0]), then))


@dataclass(frozen=True, slots=True)
class _Around:
    """What the script itself put before and after the configured words."""

    head: Words = ()
    tail: Words = ()


def _around(entry: Entry, lines: CommandLines) -> _Around | None:
    """None where the entry was not made from these values."""
    linux, have = grub_script.split(lines.linux), entry.words
    if entry.recovery:
        count = len(have) - len(linux)
        recovery = grub_script.split(lines.recovery)
        own = have[len(recovery) : count]
        fits = count >= 0 and have[count:] == linux and have[: len(recovery)] == recovery
        return _Around(own) if fits and all(map(_is_own, own)) else None
    core = linux + grub_script.split(lines.default)
    for head in {have[:1] if have and have[0].startswith(_ROOTFLAGS) else (), ()}:
        for tail in {have[-1:] if have[-1:] == (_VT_HANDOFF,) else (), ()}:
            if have == head + core + tail:
                return _Around(head, tail)
    return None


def _guess(entry: Entry, lines: CommandLines) -> _Around:
    have = entry.words
    if entry.recovery:
        recovery, linux = grub_script.split(lines.recovery), grub_script.split(lines.linux)
        start = len(recovery) if have[: len(recovery)] == recovery else 0
        end = start
        # A word of the script's own may be the first of the configured ones as well (nomodeset).
        while end < len(have) and _is_own(have[end]) and not (linux and have[end:][: len(linux)] == linux):
            end += 1
        return _Around(have[start:end])
    return _Around(
        have[:1] if have and have[0].startswith(_ROOTFLAGS) else (),
        have[-1:] if have[-1:] == (_VT_HANDOFF,) else (),
    )


def _is_own(word: str) -> bool:
    return word in SCRIPTS_OWN or word.startswith(_ROOTFLAGS)


def _compose(entry: Entry, around: _Around, then: CommandLines) -> Words:
    linux, default = grub_script.split(then.linux), grub_script.split(then.default)
    if entry.recovery:
        return grub_script.split(then.recovery) + around.head + linux
    tail = around.tail if "splash" in default else ()
    return around.head + linux + default + tail
