"""`/etc/grub.d/10_linux`: which words the script puts on a `linux` line besides the configured ones.

Versions and distributions differ, so that the script that lies on the machine is read. It is never run:
only its assignments to `GRUB_CMDLINE_LINUX*`, its calls of `linux_entry` and its `linux` lines are looked
at, each with every outcome of the conditions around it. What else touches these variables is
`NotUnderstood`. Which of the possible lines an entry was made from is told by the entry itself.

Read for it: Debian 11 and 12 (GRUB 2.06: sets `GRUB_CMDLINE_LINUX_RECOVERY` whatever the user wrote,
`init=` entries), Debian 13 (2.12: `: ${GRUB_CMDLINE_LINUX_RECOVERY:=single}`), Ubuntu (`nomodeset`,
`dis_ucode_ldr`, `$vt_handoff`, `panic=-1` of an entry without initrd), `10_linux_zfs`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

PREFIX: Final = "GRUB_CMDLINE_LINUX"


class Slot(Enum):
    """A configured value."""

    LINUX = PREFIX
    DEFAULT = f"{PREFIX}_DEFAULT"
    RECOVERY = f"{PREFIX}_RECOVERY"


@dataclass(frozen=True, slots=True)
class Else:
    """The configured recovery value, or `words` where it is empty."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Begins:
    """A word of the script's own that begins so: the rest is told at its run (`init=…`)."""

    text: str


@dataclass(frozen=True, slots=True)
class Rest:
    """All words that follow, which the script takes from elsewhere; the last part of a template."""


Part = str | Slot | Else | Begins | Rest
Template = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """The lines that the script may write, as templates, for normal and for recovery entries."""

    normal: tuple[Template, ...]
    recovery: tuple[Template, ...]


class NotUnderstood(Exception):
    """The script uses the variables in a way that cannot be told without running it."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line
        self.why = why


_ASSIGNMENT: Final = re.compile(
    rf"(?:.*\)\s*)?({PREFIX}(?:_DEFAULT|_RECOVERY)?)=(\"[^\"`]*\"|[^\s\"'`;]*)\s*(?:;;)?"
)
_UNLESS_SET: Final = re.compile(rf": \"?\$\{{({PREFIX}_RECOVERY):=([^}}\"]*)\}}\"?")
_CALL: Final = re.compile(r"linux_entry\s.*\s\"([^\"]*)\"")
_LINE: Final = re.compile(r"(?:echo\s+\")?(?:.*\s)?linux(?:efi|16)?\s.*\sro\s+(.*?)\$\{?args\}?\s*(.*)")
_LOOP: Final = re.compile(r"for \w+ in .*; do")
_WORD: Final = re.compile(r"(\\)?\$\{?(\w+)\}?(.*)")
_OF_XEN: Final = f"{PREFIX}_XEN_REPLACE"
_MOST: Final = 512
_LONGEST: Final = 1024  # characters of a line: time for a pattern grows with their cube

_Values = dict[Slot, frozenset[Template]]


_OPENS: Final = re.compile(r"if\b(?!.*;\s*fi\b)|(?:for|while)\b(?!.*;\s*done\b)|case\b(?!.*\besac\b)")
_BRANCHES: Final = re.compile(r"(elif|else)\b")
_CLOSES: Final = re.compile(r"(?:fi|done|esac)\b")


_CONSTANT: Final = re.compile(r"(\w+)=\"([01])\"")
_SWITCH: Final = re.compile(r"if \[ \"\$\{?(\w+)\}?\" = ([01]) \]; then")


@dataclass(slots=True)
class _Block:
    """A compound command: the values before it, and those that its branches so far lead to."""

    before: _Values
    never: bool = False
    branches: _Values | None = None
    exhaustive: bool = False

    def next_branch(self, values: _Values, *, last: bool) -> _Values:
        self.branches = values if self.branches is None else _either(self.branches, values)
        self.exhaustive, self.never = last, False
        return self.before

    def after(self, values: _Values) -> _Values:
        if self.never:
            return self.before
        if self.branches is not None:
            values = _either(self.branches, values)
        return values if self.exhaustive else _either(values, self.before)


def read(text: str) -> Script:
    """What a script may write. NotUnderstood where that cannot be told."""
    values: _Values = {slot: frozenset({(slot,)}) for slot in Slot}
    constants: dict[str, str] = {}
    blocks: list[_Block] = []
    normal: list[Template] = []
    recovery: list[Template] = []
    around: list[tuple[Template, Template]] = []
    for number, line in _lines(text):
        if constant := _CONSTANT.fullmatch(line):
            constants[constant[1]] = constant[2]
        elif _OPENS.match(line):
            blocks.append(_Block(values, _never(line, constants)))
        elif blocks and (branch := _BRANCHES.match(line)):
            values = blocks[-1].next_branch(values, last=branch[1] == "else")
        elif blocks and _CLOSES.match(line):
            values = blocks.pop().after(values)
        elif PREFIX in line:
            if call := _CALL.fullmatch(line):
                entries = recovery if f"{PREFIX}_RECOVERY" in call[1] else normal
                entries += _templates(call[1], values, number)
            elif not _LOOP.fullmatch(line):
                values = _assigned(line, values, number)
        elif made := _LINE.fullmatch(line):
            around.append((_words(made[1]), _words(made[2])))
    return Script(_framed(normal, around), _framed(recovery, around))


def _never(line: str, constants: dict[str, str]) -> bool:
    """Whether a switch that the distribution has set (`vt_handoff="0"`) leaves a branch out."""
    switch = _SWITCH.fullmatch(line)
    return switch is not None and constants.get(switch[1], switch[2]) != switch[2]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines without their indentation; comments left out, which a backslash does not continue."""
    held, start = "", 0
    for number, raw in enumerate(map(str.strip, text.split("\n")), 1):
        if not held and raw.startswith("#"):
            continue
        start = start if held else number
        held += raw if not held else " " + raw
        if len(held) > _LONGEST:
            raise NotUnderstood(start, f"a line of more than {_LONGEST} characters")
        if held.endswith("\\"):
            held = held[:-1].rstrip()
            continue
        if held:
            yield start, held
        held = ""


def _assigned(line: str, values: _Values, number: int) -> _Values:
    if default := _UNLESS_SET.fullmatch(line):
        words = tuple(default[2].split())
        return {**values, Slot.RECOVERY: frozenset(_unless_set(one, words) for one in values[Slot.RECOVERY])}
    found = _ASSIGNMENT.fullmatch(line)
    if found is None:
        if _OF_XEN in line:
            return values
        raise NotUnderstood(number, f"{PREFIX}… is used in a way that is not known: {line[:80]}")
    made = frozenset(_templates(found[2].strip('"'), values, number))
    slot = Slot(found[1])
    one_of_several = found.start(1) > 0  # behind the pattern of a `case`
    return {**values, slot: made | values[slot] if one_of_several else made}


def _unless_set(template: Template, words: tuple[str, ...]) -> Template:
    return tuple(Else(words) if part is Slot.RECOVERY else part for part in template)


def _either(left: _Values, right: _Values) -> _Values:
    return {slot: left[slot] | right[slot] for slot in left}


def _templates(source: str, values: _Values, number: int) -> list[Template]:
    """Every template that a text in double quotes may come to."""
    found: list[Template] = [()]
    for word in source.split():
        choices = _choices(word, values, number)
        found = [(*template, *choice) for template in found for choice in choices]
        if len(found) > _MOST:
            raise NotUnderstood(number, "it has too many forms")
    return list(dict.fromkeys(found))


def _choices(word: str, values: _Values, number: int) -> Sequence[Template]:
    variable = _WORD.fullmatch(word)
    if variable is None:
        begin, dollar, _ = word.partition("$")
        if not dollar or begin.endswith("\\"):
            return [(word.replace("\\$", "$"),)]
        if begin:
            return [(Begins(begin),)]
    elif variable[1]:
        return [(word.removeprefix("\\"),)]
    elif not variable[3] and (slot := next((one for one in Slot if one.value == variable[2]), None)):
        return sorted(values[slot], key=repr)
    raise NotUnderstood(number, f"{word} cannot be told without running the script")


def _words(source: str) -> Template:
    """Fixed words of a `linux` line; what the shell puts in there is not known."""
    words = source.strip().strip('"').split()
    return tuple(Begins(word.partition("$")[0]) if "$" in word else word for word in words)


def _framed(templates: list[Template], around: list[tuple[Template, Template]]) -> tuple[Template, ...]:
    frames = dict.fromkeys(around or [((), ())])
    return tuple(dict.fromkeys((*head, *template, *tail) for template in templates for head, tail in frames))


def _known() -> Script:
    """All forms of the versions that were read, for a machine whose script cannot be.

    Those that keep the configured recovery words come first: where they fit, nothing speaks against them.
    """
    recovery: list[Template] = [(Else((word,)),) for word in ("single", "recovery")]
    recovery += [(word,) for word in ("single", "recovery")]
    recovery = [(*one, *more) for one in recovery for more in _RECOVERY]
    linux: list[Template] = [(Slot.LINUX,), (Begins("rootflags=subvol="), Slot.LINUX)]
    normal: list[Template] = [(*one, Slot.DEFAULT) for one in linux]
    normal += [(*one, word) for one in normal for word in ("$vt_handoff", "${vt_handoff}")]
    normal += [(*one, Begins("init=")) for one in normal]
    recovery = [(*one, *other) for one in recovery for other in linux]
    return Script(_framed(normal, _FRAMES), _framed(recovery, _FRAMES))


_RECOVERY: Final[list[Template]] = [
    *((), ("nomodeset",), ("dis_ucode_ldr",), ("nomodeset", "dis_ucode_ldr")),
]
_FRAMES: Final[list[tuple[Template, Template]]] = [((), ()), ((), ("panic=-1",))]
KNOWN: Final = _known()
_HEADS: Final[list[Template]] = [(), (Begins("rootflags=subvol="),)]
OF_MODULES: Final = Script(
    tuple((*head, Slot.LINUX, Slot.DEFAULT, Rest()) for head in _HEADS),
    tuple(
        (recovery, *head, Slot.LINUX, Rest())
        for recovery in ("single", Slot.RECOVERY, Else(("single",)))
        for head in _HEADS
    ),
)
"""20_linux_xen of GRUB 2.06 (`single`) and 2.12 (Debian's has the configured value, or nothing);
20_linux_tboot and 20_linux_xen_tboot of tboot 1.10, which add words of /etc/default/grub-tboot."""
