"""Which entry a grub.cfg boots: the values that `default` may have once GRUB has run the file.

Sources: GRUB 2.12 `grub-core/script/parser.y` (`if`, `for`, `while`, functions; a `menuentry` is run when it
is chosen), `util/grub.d/00_header.in` (`next_entry` goes before the default), `10_linux` of Debian
and Ubuntu (`title_correction_code`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cxlstate.formats.grub_menu import ONE_LINE, lines, plain

_DEFAULT: Final = re.compile(r"(?:set\s+)?default=(.*)")
_TIMEOUT: Final = re.compile(r"(?:set\s+)?timeout=(.*)")
_CORRECTION: Final = re.compile(r"""if \[ "x\$default" = '(.*?)' \]; then default='(.*?)'; fi;""")
_STATEMENT: Final = re.compile(r"(?:[^;\"'\\#]|\\.|\"(?:[^\"\\]|\\.)*\"|'[^']*'|(?<=\S)#)+")
_OPENS: Final = frozenset({"if", "for", "while", "until"})
_HEADER: Final = "00_header"
_CLOSES: Final = frozenset({"fi", "done", "}"})

_Set = tuple[str, str]  # the value as it is written, and the script that wrote it


@dataclass(frozen=True, slots=True)
class Default:
    """A value that `default` may have, and what says so. `certain`: no condition decides on it."""

    value: str
    source: str
    certain: bool = True


def defaults(text: str, environment: Mapping[str, str]) -> tuple[Default, ...]:
    """What a grub.cfg may boot: grubenv's `next_entry`, its `saved_entry`, or what grub.cfg says."""
    if following := environment.get("next_entry"):
        return (Default(following, "next_entry in /boot/grub/grubenv"),)
    corrected = {f"x{before}": after for before, after in _CORRECTION.findall(text)}
    found: dict[str, str] = {}
    for value, section in _run(text):
        if "saved_entry" in value:
            found.setdefault(environment.get("saved_entry", ""), "saved_entry in /boot/grub/grubenv")
        elif "$" not in value:
            found.setdefault(plain(value), _who_set_it(section))
    found = found or {"0": _who_set_it(_HEADER)}
    # 10_linux corrects titles of GRUB 1.99, of entries that are in a submenu since (title_correction_code)
    right = ((corrected.get(f"x{value}") or corrected.get(value) or value, by) for value, by in found.items())
    return tuple(Default(value, source, len(found) == 1) for value, source in right)


def limits(text: str) -> tuple[tuple[str, str], ...]:
    """The values that `timeout` may have at the menu, each with the script that wrote it."""
    return tuple(_run(text, _TIMEOUT, first="5"))


@dataclass(slots=True)
class _Block:
    """A compound command: the values before it, and those that its branches so far lead to.

    `apart`: it is an entry of the menu, and not run before that is shown.
    """

    before: tuple[_Set, ...]
    branches: list[_Set] = field(default_factory=list)
    exhaustive: bool = False
    apart: bool = False

    def after(self, values: tuple[_Set, ...]) -> tuple[_Set, ...]:
        if self.apart:
            return self.before
        return _either(*self.branches, *values, *(() if self.exhaustive else self.before))


def _either(*values: _Set) -> tuple[_Set, ...]:
    return tuple(dict.fromkeys(values))


def _run(text: str, setting: re.Pattern[str] = _DEFAULT, first: str = "0") -> Iterable[_Set]:
    """The values that are left in the end. Which branch of a condition is taken is not looked at."""
    values: tuple[_Set, ...] = ((first, _HEADER),)
    blocks: list[_Block] = []
    for statement, section in _statements(text):
        word = statement.split(maxsplit=1)[0]
        if word in _OPENS or statement.endswith("{"):
            blocks.append(_Block(values, apart=word in ("menuentry", "submenu")))
        elif word in ("elif", "else") and blocks:
            blocks[-1].branches += values
            blocks[-1].exhaustive = word == "else"
            values = blocks[-1].before
        elif word in _CLOSES and blocks:
            values = blocks.pop().after(values)
        elif found := setting.fullmatch(statement):
            values = ((found[1], section),)
    return values


def _statements(text: str) -> Iterator[tuple[str, str]]:
    """One command each, without `then` and `do`, and the script that wrote it."""
    for _, section, line in lines(text, _HEADER):
        for statement in map(str.strip, () if ONE_LINE.fullmatch(line) else _cut(line)):
            word, _, rest = statement.partition(" ")
            if word == "else" and rest:
                yield word, section
            command = rest.strip() if word in ("then", "do", "else") and rest else statement
            if command and command not in ("then", "do"):
                yield command, section


def _cut(line: str) -> list[str]:
    return _STATEMENT.findall(_CORRECTION.sub("", line))


def _who_set_it(section: str) -> str:
    if section == _HEADER:
        return "GRUB_DEFAULT in /etc/default/grub"
    return f"`set default` in {f'/etc/grub.d/{section}' if section else '/boot/grub/custom.cfg'}"
